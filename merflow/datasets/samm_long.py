"""Layout ``samm-long``: SAMM's long videos, ``SAMM_longvideos/006_1/006_1_0001.jpg``, and a workbook.

Yap, Kendrick, Yap: SAMM Long Videos, FG 2020. The emotions are those of the micro-expressions in SAMM's own workbook.
"""

from merflow.datasets.folders import parents_of, subfolders, subject_number
from merflow.datasets.index import NOTED, Index, Problem
from merflow.datasets.layouts import (
    COLUMNS,
    choose_variant,
    finish,
    images_root,
    root_of,
    workbook_clip,
    workbook_rows,
)  # fmt: skip
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.settings import DatasetSettings
from merflow.datasets.workbook import find_workbook, read_workbook
from merflow.errors import InputError

LONG_COLUMNS = {name: names for name, names in COLUMNS.items() if name != "emotion"} | {"type": ("Type",)}
TREE = "SAMM_longvideos/006_1/006_1_0001.jpg"
VIDEO = r"\d{3}_\d+"


def index(name: str, settings: DatasetSettings) -> Index:
    """Index the expressions of ``settings.kind``; frame numbers are not those of SAMM."""
    example, sheet = "SAMM_LongVideos_V2_Release.xlsx", "FACS_Movement_Only"
    table, rows, notes = workbook_rows(name, settings, r"samm.?long", example, sheet, columns=LONG_COLUMNS)
    variants = parents_of(images_root(settings), VIDEO)
    frames, choice = choose_variant(name, settings, variants, "folders of videos (006_1, 006_2, ...)", TREE)
    videos = {folder.name: folder for folder in subfolders(frames)}
    emotions, more = _emotions(name, settings) if settings.kind == "micro" else ({}, [])
    raw_clips = []
    for row in rows:
        if not row.cells["type"].casefold().startswith(settings.kind):
            continue
        clip, number = row.cells["filename"], subject_number(row.cells["subject"])
        subject = f"{number:03d}" if isinstance(number, int) else number
        video = clip.rpartition("_")[0]
        raw = workbook_clip(
            row, clip or f"row-{row.number}", subject, videos.get(video, frames / (video or "...")), table
        )
        raw.kind, raw.video = settings.kind, video
        raw.source["estimated_emotion"] = emotions.get(clip.casefold(), "")
        if clip and subject_number(clip.partition("_")[0]) != number:
            raw.problems.append(("subject", f"subject {row.cells['subject']!r} contradicts the file name {clip}"))
        _round(raw)
        raw_clips.append(raw)
    return finish(name, settings, raw_clips, notes + choice + more)


def _emotions(name: str, settings: DatasetSettings) -> tuple[dict[str, str], list[Problem]]:
    """Estimated emotion of each file in SAMM's workbook, and a note if there is none."""
    root = root_of(settings)
    try:
        table, _ = find_workbook(root, None, r"samm.*facs", "SAMM_Micro_FACS_Codes_v2.xlsx")
    except InputError:
        text = "no workbook of SAMM such as SAMM_Micro_FACS_Codes_v2.xlsx, so no clip has an emotion; put it there"
        return {}, [Problem(name, str(root), None, "", "label", text, NOTED)]
    columns = {key: COLUMNS[key] for key in ("filename", "emotion")}
    rows = read_workbook(table, columns, "MICRO_ONLY")
    return {row.cells["filename"].casefold(): row.cells["emotion"] for row in rows}, []


def _round(raw: RawClip) -> None:
    """Round the fractions that one release has for frame numbers, with a note."""
    for key, text in raw.numbers.items():
        whole, dot, decimals = (text or "").partition(".")
        if whole.isdecimal() and dot and decimals.strip("0").isdecimal():
            raw.numbers[key] = str(round(float(text or 0)))
            raw.notes.append((key, f"{text} is no whole frame number; {raw.numbers[key]} is used"))
