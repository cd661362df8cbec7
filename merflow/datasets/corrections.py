"""A user's corrections of an annotation: which field of which clip is wrong, the right value, and why."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from merflow.datasets.folders import subject_number
from merflow.datasets.labels import plain_name
from merflow.datasets.workbook import read_workbook
from merflow.errors import InputError

COLUMNS = ("dataset", "subject", "clip", "field", "value", "reason")
NUMBERS = ("onset", "apex", "offset")
FIELDS = (*NUMBERS, "fps", "label", "subject", "exclude")
"""What can be corrected in every dataset, beside its own columns of labels."""


@dataclass(frozen=True)
class Correction:
    """One row. ``field``: onset, apex, offset, fps, label, exclude, or a column of the dataset's own table."""

    file: str
    row: int
    subject: str
    clip: str
    field: str
    value: str
    reason: str

    def fits(self, clip: str, name: str, subject: str, row: int | None = None) -> bool:
        """Whether a clip is meant: by its name in the index or in the dataset; the subject in any spelling.

        ``NAME (row N)``, as the index calls the second of two clips of one name, means that of row N alone.
        """
        wanted, number = self.clip, None
        if exact := re.fullmatch(r"(.+) \(row (\d+)\)", self.clip):
            wanted, number = exact[1], int(exact[2])
        if wanted.casefold() not in (clip.casefold(), (name or clip).casefold()) or number not in (None, row):
            return False
        if self.field == "subject":
            return True
        own = self.subject.rpartition("/")[2]
        return not own or subject_number(own) == subject_number(subject)


def read_corrections(file: str | Path, dataset: str, datasets: Collection[str] = ()) -> list[Correction]:
    """The corrections of one dataset, in the order of the file.

    Args:
        file: CSV (or workbook) with :data:`COLUMNS`.
        dataset: name of the dataset in the configuration.
        datasets: all names of the configuration; if given, rows of other datasets are an error (a slip of the pen would
            else pass unseen).

    Raises:
        InputError: the file cannot be read, or rows of it are wrong; all of them are listed.
    """
    if not os.path.isfile(file):
        raise InputError(f"corrections {file} does not exist; it should have the columns {', '.join(COLUMNS)}")
    wrong, found, seen = [], [], {}
    for row in read_workbook(Path(file), {name: [name] for name in COLUMNS}):
        cells = row.cells
        field = plain_name(cells["field"]).removesuffix("_frame")
        field = {"onsetframe": "onset", "apexframe": "apex", "offsetframe": "offset"}.get(field, field)
        if datasets and cells["dataset"] not in datasets:
            wrong.append(f"row {row.number}: no dataset {cells['dataset']!r}; there are: {', '.join(datasets)}")
        for name in ("clip", "field", "reason"):
            if not cells[name]:
                wrong.append(f"row {row.number}: {name} is empty")
        if field in NUMBERS and not cells["value"].isdecimal() and not (field == "apex" and not cells["value"]):
            wrong.append(f"row {row.number}: {field} {cells['value']!r} is not a frame number")
        same = (cells["dataset"], cells["subject"], cells["clip"], field)
        if same in seen:
            wrong.append(f"row {row.number}: {field} of {cells['clip']} is corrected in row {seen[same]} too")
        seen[same] = row.number
        if cells["dataset"] == dataset:
            found.append(
                Correction(
                    str(file), row.number, cells["subject"], cells["clip"], field, cells["value"], cells["reason"]
                )
            )
    if wrong:
        raise InputError(f"{file} cannot be used:\n" + "\n".join(f"  - {text}" for text in wrong))
    return found
