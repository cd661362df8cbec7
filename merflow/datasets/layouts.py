"""What the layouts of distributed datasets share: settings, workbook, class set and corrections, read in one way."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from merflow.datasets.corrections import read_corrections
from merflow.datasets.entries import Entry, Rules, assemble
from merflow.datasets.index import NOTED, Index, Problem
from merflow.datasets.labels import class_set
from merflow.datasets.workbook import Row, find_workbook, read_workbook
from merflow.errors import InputError
from merflow.footage.frames import own_numbers

COLUMNS = {
    "subject": ("Subject", "Subject ID", "Participant"),
    "filename": ("Filename", "File", "Clip"),
    "onset": ("OnsetFrame", "Onset", "Onset F"),
    "apex": ("ApexFrame", "Apex", "Apex F", "ApexF"),
    "offset": ("OffsetFrame", "Offset", "Offset F"),
    "emotion": ("Estimated Emotion", "Emotion"),
}
"""What every annotation workbook must hold, and the names under which it does, the usual one first."""


def finish(
    name: str,
    settings: Mapping[str, Any],
    rules: Rules,
    entries: Sequence[Entry],
    notes: Sequence[Problem] = (),
) -> Index:
    """The index of the entries of a layout, with the class set and the corrections of the settings."""
    labels = class_set(settings.get("classes"), f"datasets.{name}.classes", rules.layout)
    file = settings.get("corrections")
    corrections = read_corrections(file, name, settings.get("datasets", ())) if file else ()
    return assemble(name, settings, rules, entries, labels, corrections, notes)


def root_of(settings: Mapping[str, Any]) -> Path:
    """Folder of the dataset.

    Raises:
        InputError: it does not exist.
    """
    root = Path(settings["root"])
    if not os.path.isdir(root):
        raise InputError(f"folder {root} does not exist")
    return root


def images_root(settings: Mapping[str, Any]) -> Path:
    """Folder in which the frames are looked for: the root, or what ``images`` names in it.

    Raises:
        InputError: it does not exist.
    """
    folder = root_of(settings) / (settings.get("images") or "")
    if not os.path.isdir(folder):
        raise InputError(f"folder {folder} does not exist; `images` names a folder, relative to {settings['root']}")
    return folder


def workbook_rows(
    name: str,
    settings: Mapping[str, Any],
    pattern: str,
    example: str,
    columns: Mapping[str, Sequence[str]],
    sheet: str = "",
    optional: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Path, list[Row], list[Problem]]:
    """The annotation workbook of a dataset: its file, its rows, and a note where it was one of several."""
    file, others = find_workbook(root_of(settings), settings.get("table"), pattern, example)
    notes = []
    if others:
        rest = ", ".join(other.name for other in others)
        text = f"taken among {len(others) + 1} workbooks; the others: {rest}; `table` names one"
        notes.append(Problem(name, str(file), None, "", "table", text, NOTED))
    return file, read_workbook(file, columns, sheet, optional), notes


def chosen_variant(name: str, root: Path, found: Sequence[Path]) -> tuple[Path, list[Problem]]:
    """The folder of frames among several variants: raw before selected before cropped, and a note of the choice."""

    def rank(folder: Path) -> tuple[int, str]:
        path = str(folder.relative_to(root)).lower()
        return (2 if "crop" in path else 1 if "select" in path else 0), path

    best, *others = sorted(found, key=rank)
    if not others:
        return best, []
    rest = ", ".join(str(folder.relative_to(root)) for folder in others)
    text = f"frames are read from {best.relative_to(root)}; also there: {rest}; `images` names one"
    return best, [Problem(name, str(root), None, "", "images", text, NOTED)]


def unlisted(name: str, folders: Mapping[str, Path], entries: Sequence[Entry], table: Path) -> list[Problem]:
    """A note for every folder of frames that no row of the workbook is about."""
    known = {entry.frames for entry in entries}
    return [
        Problem(name, str(folder), None, clip, "frames", f"{table.name} has no row for this folder", NOTED)
        for clip, folder in folders.items()
        if str(folder) not in known
    ]


def ends(images: Sequence[str], entry: Entry) -> tuple[str, str]:
    """First and last frame number of a clip without annotation, as text; empty, and noted, where names give none."""
    numbers = own_numbers(images)
    if images and numbers is None:
        entry.notes.append(("frames", "the names of the images do not give one number each; they are taken in order"))
    return (str(min(numbers)), str(max(numbers))) if numbers else ("", "")
