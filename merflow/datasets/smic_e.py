"""Layout ``smic-e``: the extended clips of SMIC of one camera (HS, VIS or NIR) and their workbook, or its short clips.

Li, Hong, Moilanen, Huang, Pfister, Zhao, Pietikäinen: Towards reading hidden emotions, IEEE TAC 2018.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from merflow.datasets.checks import parse_frame_number
from merflow.datasets.folders import no_such_part, parents_of, subfolders, subject_number
from merflow.datasets.index import NOTED, Index, Problem
from merflow.datasets.layouts import choose_variant, finish, images_root, root_of, workbook_clip
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.settings import DatasetSettings
from merflow.datasets.smic import PERSON, short_clips
from merflow.datasets.workbook import find_workbook, read_workbook, sheet_cells
from merflow.footage.frames import FrameList

CAMERAS = {"hs": 100, "vis": 25, "nir": 25}
"""Frames per second of each camera. If there are several, the first one is read."""
TREE = "HS_long/SMIC-HS-E/HS/s01/s1_ne_01/image000001.jpg or VIS/s1/micro/negative/s1_ne_01"


def index(name: str, settings: DatasetSettings) -> Index:
    """Index SMIC-E, which has no apex.

    Raises:
        InputError: no camera's folder, or no workbook of its long clips.
    """
    root, wanted = images_root(settings), _camera(f"{settings.images or ''}/{settings.table or ''}")
    tops: dict[str, list[Path]] = {}
    for folder in parents_of(root, PERSON, 4):
        tops.setdefault(_camera(f"{root.name}/{folder.relative_to(root)}") or wanted or "hs", []).append(folder)
    camera = wanted or next((camera for camera in CAMERAS if camera in tops), "")
    if camera not in tops:
        raise no_such_part(root, f"folders of people (s01, s02, ...) of the camera {camera.upper()}", TREE)
    long = [top for top in tops[camera] if not any((person / "micro").is_dir() for person in subfolders(top))]
    frames, notes = choose_variant(name, settings, long or tops[camera], "folders of people (s01, s02, ...)", TREE)
    people = [person for person in subfolders(frames) if re.fullmatch(PERSON, person.name, re.IGNORECASE)]
    if others := ", ".join(other.upper() for other in tops if other != camera):
        text = f"the camera {camera.upper()} is read; others: {others}; set `images` to read another"
        notes.append(Problem(name, str(root_of(settings)), None, "", "images", text, NOTED))
    clips = _long_clips(settings, camera, people) if long else (raw for person in people for raw in short_clips(person))
    raw_clips = list(clips)
    for raw in raw_clips:
        raw.fps = str(CAMERAS[camera])
    return finish(name, settings, raw_clips, notes)


def _camera(path: str) -> str:
    """The camera that the end of a path names; empty if it names none."""
    named = [part for part in re.split(r"[^a-z]", path.lower()) if part in CAMERAS]
    return named[-1] if named else ""


def _long_clips(settings: DatasetSettings, camera: str, people: list[Path]) -> Iterator[RawClip]:
    """Yield the clips of a camera's workbook; a row with a second onset and offset describes a clip ``s1_ne_01#2`` too.

    Frame numbers are those of the files. If the onset lies outside them, it counts from the first file (FirstF).
    """
    example = f"SMIC-{camera.upper()}-E_annotation.xlsx"
    table, _ = find_workbook(root_of(settings), settings.table, rf"smic.?{camera}.?e.*annot", example, 3)
    columns: dict[str, tuple[str, ...]]
    columns = {key: (f"{word}F", f"{word}F {camera}") for key, word in (("onset", "Onset"), ("offset", "Offset"))}
    columns |= {"subject": ("Subject",), "filename": ("Filename",), "emotion": ("Emotion",)}
    folders = {(subject_number(p.name), _plain(clip.name)): clip for p in people for clip in subfolders(p)}
    rows = read_workbook(table, columns, optional={"first": ("FirstF", f"FirstF {camera}")})
    second = dict(_second_pairs(table))
    for row in rows:
        clip, number = row.cells["filename"], parse_frame_number(row.cells["subject"])
        if number is None:  # Notes below the table.
            continue
        person = next((p for p in people if subject_number(p.name) == number), people[0].parent / f"s{number:02d}")
        folder = folders.get((number, _plain(clip)), person / (clip or "..."))
        first, files = parse_frame_number(row.cells["first"]), FrameList(folder)
        pairs = [(row.cells["onset"], row.cells["offset"]), *filter(None, [second.get(row.number)])]
        for place, pair in enumerate(pairs, 1):
            raw = workbook_clip(
                row, clip if place == 1 else f"{clip}#{place}", f"s{number:02d}", folder, table, "emotion"
            )
            raw.numbers, raw.video = dict(zip(("onset", "apex", "offset"), (pair[0], None, pair[1]), strict=True)), clip
            onset, offset = map(parse_frame_number, pair)
            if len(pairs) > 1:
                raw.notes.append(("onset", f"expression {place} of {len(pairs)} of {clip}"))
            inside = onset is None or files.first <= onset <= files.last
            if len(files) and not inside and None not in (first, onset, offset):
                moved = files.first - (first or 0)
                raw.numbers |= {"onset": str((onset or 0) + moved), "offset": str((offset or 0) + moved)}
                raw.notes.append(("onset", f"frame {onset} does not exist; numbers count from FirstF {first} on"))
            yield raw


def _second_pairs(table: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield row number, onset and offset of the second expression of a row: two numbers to the right of OffsetF."""
    for cells in sheet_cells(table).values():
        for header, names in enumerate(cells):
            plain = [re.sub(r"\W", "", name).lower() for name in names]
            if (place := next((i for i, name in enumerate(plain) if name.startswith("offsetf")), 0)) and all(
                not name or re.search("onset|offset", name) for name in plain[place + 1 : place + 3]
            ):
                for number, row in enumerate(cells[header + 1 :], header + 2):
                    pair = row[place + 1 : place + 3]
                    if len(pair) == 2 and all(parse_frame_number(cell) for cell in pair):
                        yield number, (pair[0], pair[1])
                break


def _plain(clip: str) -> str:
    """A clip's name without case and without zeros before the number of the person."""
    return re.sub(r"^s0+", "s", clip.casefold())
