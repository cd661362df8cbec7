"""Layouts ``casme3-a`` (long videos, ``part_A/spNO.1/a/color/355.jpg``) and ``casme3-c`` (the mock crime).

Li, Dong, Lu, Wang, Yan, Huang, Liu, Huang, Liu, Fu: CAS(ME)³, TPAMI 2023.
"""

import re
from collections import Counter
from pathlib import Path

from merflow.datasets.folders import parents_of, subfolders, subject_number
from merflow.datasets.index import Index, Problem
from merflow.datasets.layouts import choose_variant, finish, images_root, workbook_clip, workbook_rows
from merflow.datasets.settings import DatasetSettings

COLUMNS_A = {name: (name,) for name in ("subject", "filename", "onset", "apex", "offset")}
OPTIONAL_A = {"emotion": ("emotion",), "type": ("Expression type",)}
COLUMNS_C = {"subject": ("sub",), "filename": ("count",)} | {name: (name,) for name in ("onset", "offset", "emotion")}
PERSON = r"(spNO\.?|sub|s)?\d{1,3}"
WORKBOOKS = {
    "micro": (r"me.?label", "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", "label"),
    "macro": (r"part.?a.?v\d", "CAS(ME)3_part_A_v2.xls", "AU+Emotion"),
}
"""Name, example and sheet of part A's workbook of each kind of expression."""


def index_a(name: str, settings: DatasetSettings) -> Index:
    """Index part A; a video holds several clips, so a clip is called ``spNO.1/a#355`` by its onset.

    The frames are those of the whole video. In the extracts that MEB makes, the second clip of video ``a`` in the order
    of the table is the folder ``a2``.
    """
    table, rows, notes = workbook_rows(
        name, settings, *WORKBOOKS[settings.kind], optional=OPTIONAL_A, columns=COLUMNS_A
    )
    people, choice = _people(name, settings, "a", "part_A/spNO.1/a/color/355.jpg")
    videos = {
        (number, video.name.casefold()): video for number, person in people.items() for video in subfolders(person)
    }
    extracts = any(re.fullmatch(r"[a-z]\d+", video) for _, video in videos)
    raw_clips, count = [], Counter[str]()
    for row in rows:
        subject, filename, kind = (row.cells[key] for key in ("subject", "filename", "type"))
        if kind and not kind.casefold().startswith(settings.kind):
            continue
        video, number = f"{subject}/{filename}", subject_number(subject)
        count[video.casefold()] += 1
        part = f"{filename}{count[video.casefold()]}" if extracts and count[video.casefold()] > 1 else filename
        person = people.get(number, Path(settings.root, "...", subject))
        folder = videos.get((number, part.casefold()), person / part) / "color"
        raw = workbook_clip(row, f"{video}#{row.cells['onset']}", subject, folder, table, "emotion")
        raw.kind, raw.video = settings.kind, video
        raw_clips.append(raw)
    return finish(name, settings, raw_clips, notes + choice)


def index_c(name: str, settings: DatasetSettings) -> Index:
    """Index part C: the frames of a clip lie in ``01/1/color``, as MEB extracts them, or in a folder of the person."""
    example = "CAS(ME)3_part_C_ME.xlsx"
    table, rows, notes = workbook_rows(name, settings, r"part.?c.?me", example, "mockCrimeME", columns=COLUMNS_C)
    people, choice = _people(name, settings, "c", "ME_C/01/1/color/90.jpg")
    raw_clips = []
    for row in rows:
        number = subject_number(row.cells["subject"])
        subject = f"{number:02d}" if isinstance(number, int) else number
        person = people.get(number, Path(settings.root, "...", subject))
        clip = f"{subject}/{row.cells['filename'] or f'row-{row.number}'}"
        places = [person / row.cells["filename"], person]
        folders = [inner for place in places for inner in (place / "color", place) if inner.is_dir()]
        folder = folders[0] if folders and row.cells["filename"] else places[0] / "color"
        raw = workbook_clip(row, clip, subject, folder, table, "emotion")
        raw.video = subject
        raw_clips.append(raw)
    return finish(name, settings, raw_clips, notes + choice)


def _people(name: str, settings: DatasetSettings, part: str, tree: str) -> tuple[dict[int | str, Path], list[Problem]]:
    """The folders of people of one part, by their number, and a note if they were chosen among several."""
    root = images_root(settings)
    variants = parents_of(root, PERSON)
    named = {
        folder: re.findall(r"(?:part|me)_?([abc])(?![a-z])", f"{root.name}/{folder.relative_to(root)}".lower())
        for folder in variants
    }
    chosen = [f for f, parts in named.items() if parts[-1:] == [part]] or [f for f, parts in named.items() if not parts]
    people, notes = choose_variant(name, settings, chosen, f"folders of people of part {part.upper()}", tree)
    return {subject_number(f.name): f for f in subfolders(people) if re.fullmatch(PERSON, f.name, re.IGNORECASE)}, notes
