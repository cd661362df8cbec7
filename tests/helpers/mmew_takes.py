"""A few takes of MMEW without an error."""

from dataset_files import Take

TAKES = [
    Take(1, "S01-01-001", "happiness", 1, 3, 5),
    Take(1, "S01-04-001", "others", 2, 3, 6, first=1, last=8),
    Take(2, "S02-02-001", "surprise", 1, 2, 4),
    Take(12, "S12-07-003", "anger", 1, 4, 5),
]
GOOD = {take.name for take in TAKES}
