"""Layout ``casme2``: ``CASME2-RAW/sub01/EP02_01f/img46.jpg``, or selected or cropped frames, and a workbook.

Yan, Li, Wang, Zhao, Liu, Chen, Fu: CASME II, PLoS ONE 2014.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from merflow.datasets.folders import parents_of, subfolders, subject_number
from merflow.datasets.index import Index, Problem
from merflow.datasets.layouts import (
    choose_variant,
    finish,
    images_root,
    root_of,
    unlisted_folders,
    workbook_clip,
    workbook_rows,
)  # fmt: skip
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.settings import DatasetSettings
from merflow.datasets.workbook import Row

TREE = "CASME2-RAW/sub01/EP02_01f/img46.jpg"
PERSON = r"s(ub)?[_ -]?\d+"


def index(name: str, settings: DatasetSettings) -> Index:
    """Index CASME II."""
    table, rows, notes = workbook_rows(name, settings, r"casme.?(2|ii).*cod", "CASME2-coding-20140508.xlsx")
    raw_clips, more = subject_clips(name, settings, table, rows, TREE, "estimated_emotion")
    return finish(name, settings, raw_clips, notes + more)


def subject_clips(
    name: str, settings: DatasetSettings, table: Path, rows: Sequence[Row], tree: str, label: str
) -> tuple[list[RawClip], list[Problem]]:
    """The clips of the rows of a workbook, in folders such as ``sub01/EP02_01f``, and notes on the folders.

    File names repeat from subject to subject, so that a clip's name has both: ``sub01/EP02_01f``.
    """
    variants = parents_of(images_root(settings), PERSON)
    frames, notes = choose_variant(name, settings, variants, "folders of subjects (sub01, sub02, ...)", tree)
    people = {subject_number(f.name): f for f in subfolders(frames) if re.fullmatch(PERSON, f.name, re.IGNORECASE)}
    folders = {f"{p.name}/{clip.name}": clip for p in people.values() for clip in subfolders(p)}
    by_name = {(key.split("/")[0], folder.name.casefold()): folder for key, folder in folders.items()}
    within = frames.relative_to(root_of(settings)) if frames != root_of(settings) else Path(frames.name)
    cropped = "crop" in str(within).lower()
    raw_clips = []
    for row in rows:
        clip, number = row.cells["filename"], subject_number(row.cells["subject"])
        person = f"sub{number:02d}" if isinstance(number, int) else str(number)
        subject_folder = people.get(number, frames / person)
        folder = by_name.get((subject_folder.name, clip.casefold()), subject_folder / clip)
        raw = workbook_clip(row, f"{person}/{clip or f'row-{row.number}'}", person, folder, table, label)
        raw.name, raw.align = clip, "auto" if cropped else "detect"
        if not isinstance(number, int):
            raw.problems.append(("subject", f"{row.cells['subject']!r} is not a subject number"))
        raw_clips.append(raw)
    return raw_clips, notes + unlisted_folders(name, folders, raw_clips, table)
