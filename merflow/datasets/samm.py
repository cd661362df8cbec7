"""Layout ``samm``: ``006/006_1_2/006_05562.jpg``, grey, from onset to offset, and a workbook.

Davison, Lansley, Costen, Tan, Yap: SAMM: a spontaneous micro-facial movement dataset, IEEE TAC 2018.
"""

import re

from merflow.datasets.folders import parents_of, subfolders, subject_number
from merflow.datasets.index import Index
from merflow.datasets.layouts import (
    choose_variant,
    finish,
    images_root,
    unlisted_folders,
    workbook_clip,
    workbook_rows,
)  # fmt: skip
from merflow.datasets.settings import DatasetSettings

OPTIONAL = {"objective": ("Objective Classes", "Objective Class")}
"""Older workbooks lack this column; only class sets that read it need it."""
TREE = "006/006_1_2/006_05562.jpg"


def index(name: str, settings: DatasetSettings) -> Index:
    """Index SAMM."""
    table, rows, notes = workbook_rows(
        name, settings, r"samm.*(facs|micro|code)", "SAMM_Micro_FACS_Codes_v2.xlsx", "MICRO_ONLY", OPTIONAL
    )
    variants = parents_of(images_root(settings), r"\d{1,3}")
    frames, choice = choose_variant(name, settings, variants, "folders of subjects (006, 007, ...)", TREE)
    people = {int(f.name): f for f in subfolders(frames) if f.name.isdecimal()}
    by_name = {(int(f.parent.name), f.name.casefold()): f for person in people.values() for f in subfolders(person)}
    folders = {f"{person.name}/{clip.name}": clip for person in people.values() for clip in subfolders(person)}
    raw_clips = []
    for row in rows:
        clip, subject = row.cells["filename"], re.sub(r"\.0+$", "", row.cells["subject"])
        owner = clip.split("_")[0]
        number = subject_number(subject)
        person = f"{number:03d}" if isinstance(number, int) else subject
        owner_number = int(owner) if owner.isdecimal() else -1
        folder = by_name.get((owner_number, clip.casefold()), people.get(owner_number, frames / owner) / clip)
        raw = workbook_clip(row, clip or f"row-{row.number}", person, folder, table)
        if row.cells["objective"]:
            raw.source["objective_classes"] = row.cells["objective"]
        if clip and (not owner.isdecimal() or int(owner) != number):
            raw.problems.append(("subject", f"subject {subject!r} contradicts the file name {clip}"))
        raw_clips.append(raw)
    notes += choice + unlisted_folders(name, folders, raw_clips, table)
    return finish(name, settings, raw_clips, notes)
