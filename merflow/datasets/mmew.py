"""Layouts ``mmew-micro`` (face crops of about 231 x 231 and a workbook) and ``mmew-macro`` (single images).

Ben, Ren, Zhang, Wang, Kpalma, Meng, Liu: Video-based facial micro-expression analysis, TPAMI 2021.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from merflow.datasets.folders import clip_folders, folders_named, no_such_part, subfolders
from merflow.datasets.index import Index
from merflow.datasets.labels import plain_word
from merflow.datasets.layouts import finish, images_root, unlisted_folders, workbook_clip, workbook_rows
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.settings import DatasetSettings
from merflow.footage.frames import image_paths

CODES = {1: "happiness", 2: "surprise", 3: "disgust", 4: "others", 5: "fear", 6: "sadness", 7: "anger"}
"""Second part of a file name, S01-EE-NNN."""
NAME = re.compile(r"s(\d+)-(\d+)-(\d+)", re.IGNORECASE)
MICRO_TREE = "Micro_Expression/happiness/S01-01-001/1.jpg or Micro_Expression/S01/happiness/S01-01-001/1.jpg"
MACRO_TREE = "Macro_Expression/S01/happiness/S01-01-001.jpg"


def index_micro(name: str, settings: DatasetSettings) -> Index:
    """Index the micro-expressions of MMEW; subject or emotion may be the outer folder."""
    root = images_root(settings)
    table, rows, notes = workbook_rows(name, settings, r"mmew.*micro", "MMEW_Micro_Exp.xlsx")
    tops = folders_named(root, r"micro[ _-]?expressions?") or [root]
    folders: dict[str, Path] = {}
    twice: dict[str, Path] = {}
    for path in clip_folders(tops[0], NAME.pattern, 4):
        (twice if path.name.upper() in folders else folders)[path.name.upper()] = path
    if not folders:
        raise no_such_part(root, "folders of clips (S01-01-001, ...)", MICRO_TREE)
    raw_clips = []
    for row in rows:
        clip = row.cells["filename"]
        parts = NAME.fullmatch(clip)
        folder = folders.get(clip.upper())
        subject = _person(row.cells["subject"])
        raw = workbook_clip(row, clip or f"row-{row.number}", subject, folder or tops[0] / "..." / clip, table)
        raw.align = "auto"
        if clip.upper() in twice:
            raw.problems.append(("frames", f"{clip} exists twice: {folder} and {twice[clip.upper()]}"))
        elif clip and folder is None:
            raw.problems.append(("frames", f"no folder {clip} in {tops[0]}"))
        if parts is None and clip:
            raw.problems.append(("filename", f"{clip!r} is not a name such as S01-01-001"))
        elif parts is not None:
            if subject != f"S{int(parts[1]):02d}":
                raw.problems.append(("subject", f"subject {row.cells['subject']!r} contradicts the file name {clip}"))
            people, emotions = _outer_folders(folder) if folder is not None else (set(), set())
            if others := people - {subject}:
                raw.problems.append(("subject", f"{folder} is in the folder of {others.pop()}"))
            label, said = plain_word("mmew-micro", row.cells["emotion"]), CODES.get(int(parts[2]))
            if label in CODES.values():
                text = f"the workbook says {label}, {{}}; the workbook is used"
                if said not in (None, label):
                    raw.notes.append(("label", text.format(f"the file name {said} ({int(parts[2]):02d})")))
                if emotions and label not in emotions:
                    raw.notes.append(("label", text.format(f"the folder {emotions.pop()}")))
        raw_clips.append(raw)
    notes += unlisted_folders(name, folders, raw_clips, table)
    return finish(name, settings, raw_clips, notes)


def _person(text: str) -> str:
    number = re.fullmatch(r"[sS]?(\d+)(\.0+)?", text.strip())
    return f"S{int(number[1]):02d}" if number else text


def _outer_folders(path: Path) -> tuple[set[str], set[str]]:
    """Return the subjects and the emotions that the two folders around a clip name."""
    names = path.parts[-3:-1]
    people = {_person(name) for name in names if re.fullmatch(r"[sS]\d+", name)}
    return people, {plain_word("mmew-micro", name) for name in names} & set(CODES.values())


def index_macro(name: str, settings: DatasetSettings) -> Index:
    """Index the macro-expressions of MMEW: one image each, whose name holds the label."""
    root = images_root(settings)
    tops = folders_named(root, r"macro[ _-]?expressions?") or [root]
    raw_clips: list[RawClip] = []
    for image in _images(tops[0]):
        parts = NAME.fullmatch(image.stem)
        if parts is None:
            continue
        emotion = CODES.get(int(parts[2]), "")
        raw = RawClip(image.stem, f"S{int(parts[1]):02d}", str(image), "still", str(image))
        raw.source, raw.align = {"emotion": emotion or f"number {parts[2]}"}, "auto"
        people, emotions = _outer_folders(image)
        if emotions and emotion and emotion not in emotions:
            raw.problems.append(("label", f"folder {emotions.pop()} contradicts the name {image.name} ({emotion})"))
        if people and raw.subject not in people:
            raw.problems.append(("subject", f"folder {people.pop()} contradicts the name {image.name}"))
        raw_clips.append(raw)
    if not raw_clips:
        raise no_such_part(root, "images such as S01-01-001.jpg", MACRO_TREE)
    return finish(name, settings, raw_clips)


def _images(folder: Path, depth: int = 3) -> Iterator[Path]:
    """Yield the images up to ``depth`` levels below a folder, by name."""
    yield from sorted(map(Path, image_paths(folder)), key=lambda f: os.path.basename(f))
    if depth:
        for inner in subfolders(folder):
            yield from _images(inner, depth - 1)
