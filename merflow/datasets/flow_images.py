"""Layout ``flow-images``: ready-made optical flow, one three-channel image per clip, and a CSV table.

Such sets circulate with public code (28 x 28 pixels: horizontal flow, vertical flow, optical strain, each scaled to
0..255). They have no frames, so alignment, key-frames and flow are skipped and the study starts at the cache.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from merflow.datasets.assemble import published_differences
from merflow.datasets.index import NOTED, Index, Problem
from merflow.datasets.labels import class_sets
from merflow.datasets.layouts import finish, root_of
from merflow.datasets.manifest import read_table_of_clips
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.registry import LAYOUTS, layout_of_database, plain_database
from merflow.datasets.settings import DatasetSettings
from merflow.footage.frames import IMAGES

REQUIRED = ["dataset", "subject", "clip", "label", "image"]


def index(name: str, settings: DatasetSettings) -> Index:
    """Index a table of flow images: ``dataset, subject, clip, label, image``, images relative to the table or the root.

    Clips are named ``dataset/subject/clip`` and subjects ``dataset/subject``, with the dataset of the table, so that
    results can be reported by database.
    """
    table = root_of(settings) / (settings.table or LAYOUTS["flow-images"].table)
    raw_clips = []
    for number, row in read_table_of_clips(table, REQUIRED, ()).items():
        clip = "/".join(row[key] for key in ("dataset", "subject", "clip"))
        image, problem = _find_image(row["image"], table.parent, root_of(settings))
        raw = RawClip(clip, row["subject"], image, "micro", str(table), number, row["clip"], prefix=row["dataset"])
        raw.source = {key: value for key, value in row.items() if key not in REQUIRED[1:3] + ["image"]}
        raw.problems += [(key, "empty") for key in ("dataset", "subject", "clip") if not row[key]]
        raw.problems += [("image", problem)] if problem else []
        raw_clips.append(raw)
    notes = [Problem(name, str(table), None, "", "dataset", text, NOTED) for text in _spellings(raw_clips)]
    index = finish(name, settings, raw_clips, notes)
    index.problems += _by_database(name, table, index)
    return index


def _find_image(name: str, *folders: Path) -> tuple[str, str]:
    """Return the file of an image in the first folder that has it, and what is wrong with it (empty: nothing)."""
    if not name:
        return "", "empty; give the file of the image"
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
