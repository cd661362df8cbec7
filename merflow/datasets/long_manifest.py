"""Layout ``long-manifest``: a table of the user's long videos with the expressions in each, a row per expression.

A row without onset and offset is a video without any expression.
"""

from collections.abc import Sequence
from pathlib import Path

from merflow.datasets.index import Index
from merflow.datasets.layouts import finish
from merflow.datasets.manifest import read_table_of_clips
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.registry import LAYOUTS
from merflow.datasets.settings import DatasetSettings
from merflow.datasets.workbook import Row

REQUIRED = ["video", "subject", "onset", "offset"]
OPTIONAL = ["apex", "label", "kind", "fps"]


def index(name: str, settings: DatasetSettings) -> Index:
    """Index the expressions of ``settings.kind``, each called ``video#onset``; without a kind they are micro."""
    table, raw_clips, lines = table_of(settings), [], rows(settings)
    rates = frame_rates(lines)
    for line in lines:
        row = line.cells
        kind = row["kind"].casefold() or "micro"
        if not (row["onset"] or row["offset"]) or (kind in ("micro", "macro") and kind != settings.kind):
            continue
        clip, video = f"{row['video'] or 'row-' + str(line.number)}#{row['onset']}", video_path(table, row["video"])
        raw = RawClip(clip, row["subject"], video, settings.kind, str(table), line.number)
        raw.numbers = {"onset": row["onset"], "apex": row["apex"] or None, "offset": row["offset"]}
        raw.source = {key: value for key, value in row.items() if key not in (*REQUIRED, "apex", "kind", "fps")}
        raw.fps, raw.typed, raw.video = row["fps"] or rates.get(row["video"], ""), line.typed, row["video"]
        if kind != settings.kind:
            raw.problems.append(("kind", f"{row['kind']!r} is neither micro nor macro"))
        if not row["video"]:
            raw.problems.append(("video", "empty; name a folder of images or a video file"))
        if not row["subject"]:
            raw.problems.append(("subject", "empty; give every video its subject, which decides the folds"))
        raw_clips.append(raw)
    return finish(name, settings, raw_clips)


def table_of(settings: DatasetSettings) -> Path:
    """The table of a dataset."""
    return Path(settings.root) / (settings.table or LAYOUTS["long-manifest"].table)


def rows(settings: DatasetSettings) -> list[Row]:
    """All rows of the table, also those of videos without expressions."""
    return read_table_of_clips(table_of(settings), REQUIRED, OPTIONAL)


def frame_rates(lines: Sequence[Row]) -> dict[str, str]:
    """The frames per second of each video, as text: of its first row that has them."""
    return {line.cells["video"]: line.cells["fps"] for line in reversed(lines) if line.cells["fps"]}


def video_path(table: Path, video: str) -> str:
    """The folder or file of a video, which is relative to the table."""
    return (table.parent / video).as_posix() if video else ""
