"""What the layouts of distributed datasets share: their folders, workbook, class set and corrections."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from merflow.datasets.assemble import assemble
from merflow.datasets.corrections import read_corrections
from merflow.datasets.folders import no_such_part
from merflow.datasets.index import NOTED, Index, Problem
from merflow.datasets.labels import class_set
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.registry import LAYOUTS
from merflow.datasets.settings import DatasetSettings
from merflow.datasets.workbook import Row, find_workbook, read_workbook
from merflow.errors import InputError
from merflow.footage.frames import frames_in_order

COLUMNS = {
    "subject": ("Subject", "Subject ID", "Participant"),
    "filename": ("Filename", "File", "Clip"),
    "onset": ("OnsetFrame", "Onset", "Onset F"),
    "apex": ("ApexFrame", "Apex", "Apex F", "ApexF"),
    "offset": ("OffsetFrame", "Offset", "Offset F"),
    "emotion": ("Estimated Emotion", "Emotion"),
}
"""Columns that every annotation workbook must have, with the names that the releases use, the usual one first."""


def finish(name: str, settings: DatasetSettings, raw_clips: Sequence[RawClip], notes: Sequence[Problem] = ()) -> Index:
    """The index of the clips of a layout, with the class set and the corrections of the settings."""
    labels = class_set(settings.classes, f"datasets.{name}.classes", settings.layout)
    file = settings.corrections
    notes = [*notes, *_unverified(name, settings, raw_clips)]
    corrections = read_corrections(file, name, settings.dataset_names, settings.layout) if file else ()
    return assemble(name, settings.layout, settings.root, raw_clips, labels, corrections, notes, align=settings.align)


def _unverified(name: str, settings: DatasetSettings, raw_clips: Sequence[RawClip]) -> Iterator[Problem]:
    """Yield what was found of a layout that was not checked on a real copy, for the user to compare."""
    layout = LAYOUTS[settings.layout]
    if layout.unverified and raw_clips:
        column = next(iter(layout.labels), "emotion")
        words = Counter(raw.source.get(column, "").strip() or "(empty)" for raw in raw_clips)
        summary = f"{len(raw_clips)} clips of {len({raw.subject for raw in raw_clips})} people"
        summary += f"; {column}: {', '.join(f'{word} {count}' for word, count in words.most_common(20))}"
        summary += f"; columns: {', '.join(raw_clips[0].source)}"
        text = f"not checked on a real copy: {layout.unverified}; compare what was found: {summary}"
        yield Problem(name, raw_clips[0].file, None, "", "layout", text, NOTED)


def root_of(settings: DatasetSettings) -> Path:
    """Folder of the dataset.

    Raises:
        InputError: it does not exist.
    """
    root = Path(settings.root)
    if not os.path.isdir(root):
        raise InputError(f"folder {root} does not exist")
    return root


def images_root(settings: DatasetSettings) -> Path:
    """Folder in which the frames are searched: the root, or the folder that ``images`` names in it.

    Raises:
        InputError: it does not exist.
    """
    folder = root_of(settings) / (settings.images or "")
    if not os.path.isdir(folder):
        raise InputError(f"folder {folder} does not exist; `images` names a folder, relative to {settings.root}")
    return folder


def workbook_rows(
    name: str,
    settings: DatasetSettings,
    pattern: str,
    example: str,
    sheet: str = "",
    optional: Mapping[str, Sequence[str]] | None = None,
    columns: Mapping[str, Sequence[str]] = COLUMNS,
) -> tuple[Path, list[Row], list[Problem]]:
    """The annotation workbook of a dataset: its file, its rows, and a note if it was chosen among several.

    ``pattern`` matches the file's name without suffix, ``example`` is that of the release, ``sheet`` is read first, and
    ``optional`` columns may be missing, unlike ``columns``.
    """
    file, notes = find_table(name, settings, pattern, example)
    return file, read_workbook(file, columns, sheet, optional), notes


def find_table(name: str, settings: DatasetSettings, pattern: str, example: str) -> tuple[Path, list[Problem]]:
    """The annotation workbook of a dataset, and a note if it was chosen among several; see :func:`workbook_rows`."""
    file, others = find_workbook(root_of(settings), settings.table, pattern, example)
    notes: list[Problem] = []
    if others:
        rest = ", ".join(other.name for other in others)
        text = f"chosen among {len(others) + 1} workbooks; the others: {rest}; set `table` to read another"
        notes.append(Problem(name, str(file), None, "", "table", text, NOTED))
    return file, notes


def workbook_clip(
    row: Row, clip: str, subject: str, folder: Path, table: Path, label: str = "estimated_emotion"
) -> RawClip:
    """The micro-expression that a row of the workbook describes; a problem if the row names no file.

    The column of the emotion is called ``label`` in the index. A workbook may have no column of apexes or emotions.
    """
    raw = RawClip(clip, subject, str(folder), "micro", str(table), row.number)
    raw.numbers = {key: row.cells.get(key) for key in ("onset", "apex", "offset")}
    raw.source = {**row.source, label: row.cells.get("emotion", "")}
    if not row.cells["filename"]:
        raw.problems.append(("frames", "Filename is empty"))
    return raw


def choose_variant(
    name: str, settings: DatasetSettings, folders: Sequence[Path], parts: str, tree: str
) -> tuple[Path, list[Problem]]:
    """The folder of frames among several variants (raw, else selected, else cropped), and a note of the choice.

    Raises:
        InputError: there is none, so that ``parts`` of ``tree`` are missing.
    """
    root = root_of(settings)
    if not folders:
        raise no_such_part(images_root(settings), parts, tree)

    def rank(folder: Path) -> tuple[int, str]:
        path = str(folder.relative_to(root)).lower()
        return (2 if "crop" in path else 1 if "select" in path else 0), path

    best, *others = sorted(folders, key=rank)
    if not others:
        return best, []
    rest = ", ".join(str(folder.relative_to(root)) for folder in others)
    text = f"frames are read from {best.relative_to(root)}; other variants: {rest}; set `images` to read another"
    return best, [Problem(name, str(root), None, "", "images", text, NOTED)]


def unlisted_folders(
    name: str, folders: Mapping[str, Path], raw_clips: Sequence[RawClip], table: Path
) -> list[Problem]:
    """A note for every folder of frames that has no row in the workbook."""
    listed = {raw.frames for raw in raw_clips}
    return [
        Problem(name, str(folder), None, clip, "frames", f"{table.name} has no row for this folder", NOTED)
        for clip, folder in folders.items()
        if str(folder) not in listed
    ]


def first_and_last(images: Sequence[str]) -> tuple[str, str]:
    """First and last frame number of a clip without annotation, as text; empty if the order is not certain."""
    numbers, _ = frames_in_order(images)
    return (str(min(numbers)), str(max(numbers))) if numbers else ("", "")
