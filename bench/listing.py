"""Seconds to list a dataset of 7,500 clips of 656 people with 200 frames each, in the layout of DFME.

    python bench/listing.py

The frames are hard links to one file, made in a temporary folder; nothing opens them. The target is one minute.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from common import REPO, parser, show

CLIPS, PEOPLE, FRAMES = 7500, 656, 200
MOST_LINKS = 30_000
"""Hard links to one file: file systems allow 32,000 or more."""


def write_tree(folder: Path) -> None:
    """Write the workbook and the folders of frames."""
    rows, links = [], 0
    for n in range(CLIPS):
        person, number = 1 + n % PEOPLE, 1 + n // PEOPLE
        name = f"sub{person:04d}_{number:02d}"
        rows.append([f"sub{person:04d}", name, 10, 60, 150, "happiness", "L12B+6", 500])
        clip = folder / "train_data" / name
        clip.mkdir(parents=True)
        for frame in range(FRAMES):
            if links % MOST_LINKS == 0:
                source = folder / f"frame-{links // MOST_LINKS}"
                source.write_bytes(b"frame")
            os.link(source, clip / f"{frame:05d}.png")
            links += 1
    names = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion", "AUs", "fps"]
    pd.DataFrame(rows, columns=names).to_excel(folder / "training_full_with_AU.xlsx", index=False)


def measure(folder: Path) -> dict[str, Any]:
    """Return the seconds of the first and the second listing, and the clips that can be used."""
    from merflow.datasets.index import index_dataset
    from merflow.datasets.settings import DatasetSettings

    settings = DatasetSettings("dfme", str(folder), None, None, "micro", "dfme-7", None, None, (), "skip-clip")
    seconds = []
    for _ in range(2):
        start = time.monotonic()
        index = index_dataset("dfme", settings)
        seconds.append(time.monotonic() - start)
    usable = sum(not clip.problem for clip in index.clips)
    people = len({clip.subject for clip in index.clips})
    return {"index_first_s": seconds[0], "index_s": seconds[1], "usable_clips": usable, "people": people}


def main() -> None:
    """Make the dataset, list it, and print the figures."""
    given = parser(__doc__ or "").parse_args()
    with tempfile.TemporaryDirectory(dir=REPO / "results") as folder:
        write_tree(Path(folder))
        figures = measure(Path(folder))
    late = [f"index_s {figures['index_s']:.0f} > 60"] if figures["index_s"] > 60 else []
    show({**figures, "missed": late}, given.json)


if __name__ == "__main__":
    main()
