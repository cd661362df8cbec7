"""Layout ``flow-images``: ready-made optical flow, one or several three-channel images per clip, and a CSV table.

Such sets circulate with public code (28 x 28 pixels: horizontal flow, vertical flow, optical strain, each scaled to
0..255), some with aligned faces. They have no frames: alignment and flow are skipped, the study starts at the cache.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from merflow.datasets.assemble import published_differences
from merflow.datasets.checks import NO_APEX, parse_frame_number
from merflow.datasets.index import NOTED, Index, Problem
from merflow.datasets.labels import class_set, class_sets
from merflow.datasets.layouts import finish, root_of
from merflow.datasets.manifest import read_table_of_clips
from merflow.datasets.raw_clip import ClipImages, RawClip
from merflow.datasets.registry import LAYOUTS, layout_of_database, plain_database
from merflow.datasets.settings import DatasetSettings
from merflow.footage.frames import IMAGES

NAMES = ["dataset", "subject", "clip"]
REQUIRED = [*NAMES, "label", "image"]
MARKED, UNMARKED = {"1", "1.0", "x", "y", "yes", "true"}, {*NO_APEX, "0", "0.0", "n", "no", "false"}
"""Cells of the column ``apex`` in the row of the image at the apex, and in the other rows of its clip."""


def index(name: str, settings: DatasetSettings) -> Index:
    """Index a table of flow images: ``dataset, subject, clip, label, image``, images relative to the table or the root.

    Clips are named ``dataset/subject/clip`` and subjects ``dataset/subject``, with the dataset of the table, so that
    results can be reported by database. With a column ``index``, a clip may have a row for each of several images;
    ``apex`` marks the one at the apex (without a mark: the last one). ``face`` names the face beside a flow image.
    """
    root = root_of(settings)
    table = root / (settings.table or LAYOUTS["flow-images"].table)
    label = class_set(settings.classes, f"datasets.{name}.classes", settings.layout).column(settings.layout)
    lines = read_table_of_clips(table, REQUIRED, ())
    rows = {line.number: line.cells for line in lines}
    by_clip: dict[str, dict[int, Mapping[str, str]]] = {}
    for number, row in rows.items():
        by_clip.setdefault("/".join(row[key] for key in NAMES), {})[number] = row
    numbered = len(by_clip) < len(rows) and all("index" in row for row in rows.values())
    groups = list(by_clip.values()) if numbered else [{number: row} for number, row in rows.items()]
    has_faces = any(row.get("face") for row in rows.values())
    raw_clips = [_read_clip(group, numbered, label, has_faces, table, root) for group in groups]
    typed = {line.number: line.typed for line in lines}
    for raw in raw_clips:
        raw.typed = typed[raw.row or 0]
    notes = [Problem(name, str(table), None, "", "dataset", text, NOTED) for text in _spellings(raw_clips)]
    notes += [Problem(name, str(table), None, "", "index", text, NOTED) for text in _fewer_images(raw_clips)]
    index = finish(name, settings, raw_clips, notes)
    index.problems += _by_database(name, table, index)
    return index


def _read_clip(
    rows: Mapping[int, Mapping[str, str]], numbered: bool, label: str, has_faces: bool, table: Path, root: Path
) -> RawClip:
    """Return the clip of some rows of the table, in the order of ``index`` if they are numbered by it.

    ``label`` is the column of the labels; ``has_faces`` says that every row must name a face.
    """
    problems = [(key, "empty") for key in NAMES if not next(iter(rows.values()))[key]]
    apex = len(rows) - 1
    if numbered:
        rows, apex, wrong = _in_order(rows, label)
        problems += wrong
    files: dict[str, list[str]] = {"image": [], "face": []}
    for number, row in rows.items():
        for field in ("image", "face") if has_faces else ("image",):
            file, problem = _find_image(field, row[field], table.parent, root)
            files[field].append(file)
            if problem:
                problems.append((field, f"row {number}: {problem}" if len(rows) > 1 else problem))
    number, row = list(rows.items())[apex]
    clip = "/".join(row[key] for key in NAMES)
    raw = RawClip(clip, row["subject"], files["image"][apex], "micro", str(table), number, row["clip"])
    raw.prefix, raw.problems, raw.images = row["dataset"], problems, ClipImages(files["image"], files["face"], apex)
    raw.source = {key: value for key, value in row.items() if key not in ("subject", "clip", "image")}
    return raw


def _in_order(
    rows: Mapping[int, Mapping[str, str]], label: str
) -> tuple[dict[int, Mapping[str, str]], int, list[tuple[str, str]]]:
    """Return the rows of a clip in the order of ``index``, the place of the apex in it, and what is wrong with them."""
    problems, where = [], f"row {', '.join(map(str, rows))}"
    labels = {row.get(label, "") for row in rows.values()}
    if len(labels) > 1:
        problems.append((label, f"{where}: {', '.join(sorted(labels))}; expected one label for the clip"))
    places = {number: parse_frame_number(row["index"]) for number, row in rows.items()}
    first = 0 if 0 in places.values() else 1
    expected = range(first, first + len(rows))
    if set(places.values()) != set(expected):
        cells, wanted = ", ".join(row["index"] or "empty" for row in rows.values()), ", ".join(map(str, expected))
        problems.append(("index", f"{where}: {cells}; expected {wanted}, each once, in any order"))
    ordered = dict(sorted(rows.items(), key=lambda item: places[item[0]] or 0))
    marks = [row.get("apex", "").lower() for row in ordered.values()]
    marked = [place for place, mark in enumerate(marks) if mark not in UNMARKED]
    if unknown := [mark for mark in marks if mark not in MARKED | UNMARKED]:
        text = f"{where}: {', '.join(unknown)}; expected 1 in the row of the image at the apex and 0 in the others"
        problems.append(("apex", text))
    elif len(marked) > 1:
        problems.append(("apex", f"{where}: {len(marked)} are marked; mark one, or none if the last is the apex"))
    return ordered, marked[0] if marked else len(rows) - 1, problems


def _fewer_images(raw_clips: Sequence[RawClip]) -> Iterator[str]:
    """Yield a note of the clips with fewer images than others."""
    counts = {raw.clip: len(raw.images.flows) for raw in raw_clips if raw.images and not raw.problems}
    most = max(counts.values(), default=0)
    if fewer := [f"{clip} ({count})" for clip, count in counts.items() if count < most]:
        yield f"clips with fewer than {most} images, which are repeated to make {most}: {', '.join(fewer)}"


def _find_image(field: str, name: str, *folders: Path) -> tuple[str, str]:
    """Return the file of an image in the first folder that has it, and what is wrong with it (empty: nothing)."""
    if not name:
        return "", f"empty; give the file of the {field}"
    tried = [folder / path for path in dict.fromkeys((name, name.replace("\\", "/"))) for folder in folders]
    file = next((path for path in tried if os.path.isfile(path)), None)  # A name that is too long is not a file.
    if file is None:
        places = " or ".join(dict.fromkeys(str(path) for path in tried))
        kind = "is a folder" if any(map(os.path.isdir, tried)) else "does not exist"
        return tried[0].as_posix(), f"{places} {kind}"
    if file.suffix.lower() not in IMAGES:
        return file.as_posix(), f"{file} is not an image ({', '.join(sorted(IMAGES))})"
    return file.as_posix(), "" if file.stat().st_size else f"{file} is empty (0 bytes)"


def _spellings(raw_clips: Sequence[RawClip]) -> Iterator[str]:
    """Yield a note for each database that is spelled in several ways: each would count as another database."""
    databases: dict[str, set[str]] = {}
    for raw in raw_clips:
        database = layout_of_database(raw.prefix) or plain_database(raw.prefix)
        databases.setdefault(database, set()).add(raw.prefix)
    for names in databases.values():
        if len(names) > 1:
            yield f"spelled {' and '.join(sorted(names))}: counted as {len(names)} databases"


def _by_database(name: str, table: Path, index: Index) -> list[Problem]:
    """Return a note for each database whose clips differ from the published numbers of the class set."""
    labels = class_sets().get(index.class_set)
    notes: list[Problem] = []
    for database in dict.fromkeys(clip.subject.split("/")[0] for clip in index.clips):
        layout = layout_of_database(database)
        if not (published := labels.published(layout) if labels and layout else None):
            continue
        clips = [clip for clip in index.clips if clip.subject.split("/")[0] == database]
        if wrong := published_differences(published, clips):
            text = f"{index.class_set}, {database}: {', '.join(wrong)} ({published.source})"
            notes.append(Problem(name, str(table), None, "", "classes", text, NOTED))
    return notes
