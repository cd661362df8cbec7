"""Layout ``casme-squared``: long videos, ``rawpic/s15/15_0401girlcrashing/img001.jpg``, and a workbook without header.

Qu, Wang, Yan, Li, Wu, Fu: CAS(ME)², IEEE TAC 2018.
"""

import re
from collections import Counter
from collections.abc import Iterator

from merflow.datasets.checks import parse_frame_number
from merflow.datasets.folders import parents_of, subfolders
from merflow.datasets.index import Index
from merflow.datasets.layouts import choose_variant, find_table, finish, images_root
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.settings import DatasetSettings
from merflow.datasets.workbook import sheet_cells
from merflow.errors import InputError

TREE = "rawpic/s15/15_0401girlcrashing/img001.jpg"
CODES = {
    "disgust1": "0101", "disgust2": "0102", "anger1": "0401", "anger2": "0402", "happy1": "0502", "happy2": "0503",
    "happy3": "0505", "happy4": "0507", "happy5": "0508",
}  # fmt: skip
"""Code in the names of the videos, if the workbook lacks the sheet ``naming rule2``."""
PEOPLE = (15, 16, *range(19, 28), *range(29, 39), 40)
"""Folders of subjects 1 to 22, if the workbook lacks the sheet ``naming rule1``."""


def index(name: str, settings: DatasetSettings) -> Index:
    """Index the expressions of ``settings.kind``.

    A macro-expression may have the offset 0: it then ends at its apex. An apex of 0 is the middle. Both are noted.

    Raises:
        InputError: no sheet has rows that end in the columns of emotion and of ``micro-`` or ``macro-expression``.
    """
    table, notes = find_table(name, settings, r"code.?final", "CAS(ME)^2code_final.xlsx")
    sheets = sheet_cells(table)
    codes = CODES | {clip: code.zfill(4) for code, clip, *_ in _filled(sheets.get("naming rule2"), 2)}
    persons = dict(zip(map(str, range(1, 23)), (f"s{n}" for n in PEOPLE), strict=True))
    persons |= {number: folder for _, folder, number, *_ in _filled(sheets.get("naming rule1"), 3)}
    rows = max((list(_annotations(cells)) for cells in sheets.values()), key=len, default=[])
    if not rows:
        columns = "subject, clip, onset, apex, offset, action units, emotion, micro- or macro-expression"
        raise InputError(f"{table}: no row has the columns {columns}; the workbook has no header")
    variants = [f for f in parents_of(images_root(settings), r"s\d{1,2}") if "video" not in f.name.lower()]
    frames, choice = choose_variant(name, settings, variants, "folders of subjects (s15, s16, ...)", TREE)
    videos = {
        (person.name.casefold(), match[1]): video
        for person in subfolders(frames)
        for video in subfolders(person)
        if (match := re.search(r"_(\d{4})", video.name))
    }
    raw_clips, seen = [], Counter[str]()
    for number, cells, kind in rows:
        if not cells[kind].casefold().startswith(settings.kind):
            continue
        subject, clip = persons.get(cells[0], cells[0]), cells[1]
        stimulus = clip.partition("_")[0]
        code = codes.get(stimulus, stimulus)
        folder = videos.get((subject.casefold(), code), frames / subject / f"{subject[1:]}_{code}...")
        seen[f"{subject}/{clip}"] += 1
        unique = f"{subject}/{clip}" + (f"#{cells[2]}" if seen[f"{subject}/{clip}"] > 1 else "")
        raw = RawClip(unique, subject, str(folder), settings.kind, str(table), number, name=clip)
        raw.numbers = dict(zip(("onset", "apex", "offset"), cells[2:5], strict=True))
        raw.source = {"au": cells[kind - 2], "emotion": cells[kind - 1], "type": cells[kind]}
        raw.source["self_report"] = cells[kind + 1] if kind + 1 < len(cells) else ""
        raw.video, raw.align = f"{subject}/{folder.name}", "auto" if "crop" in str(frames).lower() else "detect"
        _fill_zeros(raw)
        raw_clips.append(raw)
    return finish(name, settings, raw_clips, notes + choice)


def _annotations(sheet: list[list[str]]) -> Iterator[tuple[int, list[str], int]]:
    """Yield the rows that describe an expression: row number, cells, and place of the kind of expression."""
    for number, cells in enumerate(sheet, 1):
        kinds = [i for i, cell in enumerate(cells) if re.fullmatch(r"m[ia]cro[- ]?expressions?", cell, re.IGNORECASE)]
        if kinds and kinds[0] >= 7:
            yield number, cells, kinds[0]


def _filled(cells: list[list[str]] | None, width: int) -> list[list[str]]:
    """The rows of a sheet that have ``width`` filled cells or more."""
    return [row for row in cells or () if len(row) >= width and all(row[:width])]


def _fill_zeros(raw: RawClip) -> None:
    """Replace an offset of 0 by the apex and an apex of 0 by the middle, with a note."""
    onset, apex, offset = (parse_frame_number(raw.numbers[key] or "") for key in ("onset", "apex", "offset"))
    if offset == 0 and apex:
        raw.numbers["offset"] = str(apex)
        raw.notes.append(("offset", f"0; the apex, {apex}, is used"))
    if apex == 0 and onset and offset:
        raw.numbers["apex"] = str((onset + offset) // 2)
        raw.notes.append(("apex", f"0; the middle, {raw.numbers['apex']}, is used"))
