"""Layout ``casme2``: 200 frames a second; ``CASME2-RAW/sub01/EP02_01f/img46.jpg``, selected or cropped, and a workbook.

Yan, Li, Wang, Zhao, Liu, Chen, Fu: CASME II, PLoS ONE 2014.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from merflow.datasets.entries import Entry, Rules
from merflow.datasets.folders import no_such_part, parents_of, subfolders, subject_number
from merflow.datasets.index import Index
from merflow.datasets.layouts import (  # fmt: skip
    COLUMNS,
    chosen_variant,
    finish,
    images_root,
    root_of,
    unlisted,
    workbook_rows,
)

TREE = "CASME2-RAW/sub01/EP02_01f/img46.jpg"
PERSON = r"s(ub)?[_ -]?\d+"


def index(name: str, settings: Mapping[str, Any]) -> Index:
    """Index CASME II.

    File names repeat from subject to subject, so a clip is named by both: ``sub01/EP02_01f``.

    Raises:
        InputError: no folder of subjects, or no workbook with the columns of the release.
    """
    root = images_root(settings)
    table, rows, notes = workbook_rows(
        name, settings, r"casme.?(2|ii).*cod", "CASME2-coding-20140508.xlsx", COLUMNS
    )  # fmt: skip
    found = parents_of(root, PERSON)
    if not found:
        raise no_such_part(root, "folders of subjects (sub01, sub02, ...)", TREE)
    frames, of_choice = chosen_variant(name, root_of(settings), found)
    people = {subject_number(f.name): f for f in subfolders(frames) if re.fullmatch(PERSON, f.name, re.IGNORECASE)}
    folders = {f"{p.name}/{clip.name}": clip for p in people.values() for clip in subfolders(p)}
    named = {(key.split("/")[0], folder.name.casefold()): folder for key, folder in folders.items()}
    within = frames.relative_to(root_of(settings)) if frames != root_of(settings) else Path(frames.name)
    cropped = "crop" in str(within).lower()
    entries = []
    for row in rows:
        clip, number = row.cells["filename"], subject_number(row.cells["subject"])
        person = f"sub{number:02d}" if isinstance(number, int) else str(number)
        own = people.get(number, frames / person)
        folder = named.get((own.name, clip.casefold()), own / clip)
        entry = Entry(f"{person}/{clip or f'row-{row.number}'}", person, str(folder), "micro", str(table), row.number)
        entry.name, entry.fps, entry.align = clip, "200", "auto" if cropped else "detect"
        entry.numbers = {key: row.cells[key] for key in ("onset", "apex", "offset")}
        entry.source = {**row.source, "estimated_emotion": row.cells["emotion"]}
        if not clip:
            entry.found.append(("frames", "Filename is empty"))
        if not isinstance(number, int):
            entry.found.append(("subject", f"{row.cells['subject']!r} is no subject number"))
        entries.append(entry)
    return finish(
        name, settings, Rules("casme2"), entries, notes + of_choice + unlisted(name, folders, entries, table)
    )  # fmt: skip
