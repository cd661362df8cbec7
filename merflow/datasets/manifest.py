"""Layout ``manifest``: a table of the user's clips, each a folder of images, a glob or a video file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from merflow.datasets.index import Index
from merflow.datasets.layouts import finish
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.registry import LAYOUTS
from merflow.datasets.settings import DatasetSettings
from merflow.datasets.workbook import Row, read_workbook
from merflow.errors import InputError

REQUIRED = ["clip", "subject", "label", "frames"]
OPTIONAL = ["onset", "apex", "offset", "fps"]


def index(name: str, settings: DatasetSettings) -> Index:
    """Index the clips of a manifest.

    Every row becomes a clip; one that cannot be used has the reason in ``problem``, so that it is counted and reported.
    A clip with a label outside ``classes`` gets faces and flow, and no system is trained or tested on it. The label is
    noted, since it may be a typing error.
    """
    table = Path(settings.root) / (settings.table or LAYOUTS["manifest"].table)
    raw_clips = []
    for line in read_table_of_clips(table, REQUIRED, OPTIONAL):
        number, row = line.number, line.cells
        frames = (table.parent / row["frames"]).as_posix() if row["frames"] else ""
        raw = RawClip(row["clip"] or f"row-{number}", row["subject"], frames, settings.kind, str(table), number)
        raw.numbers = {key: row[key] for key in ("onset", "apex", "offset")}
        raw.source = {key: value for key, value in row.items() if key not in REQUIRED[:2] + ["frames"] + OPTIONAL}
        raw.fps, raw.typed = row["fps"], line.typed
        if not row["clip"]:
            raw.problems.append(("clip", "empty; give every clip a name"))
        if not row["subject"]:
            raw.problems.append(("subject", "empty; give every clip its subject, which decides the splits"))
        raw_clips.append(raw)
    return finish(name, settings, raw_clips)


def read_table_of_clips(table: Path, required: Sequence[str], optional: Sequence[str]) -> list[Row]:
    """Rows of a user's table, with the cells of all columns; those of ``optional`` columns that it lacks are empty.

    Raises:
        InputError: the table cannot be read, or lacks required columns or rows.
    """
    rows = read_workbook(table, {name: [name] for name in required}, optional={name: [name] for name in optional})
    if not rows:
        raise InputError(f"{table} has a header and no rows")
    return [replace(row, cells={**row.source, **row.cells}) for row in rows]
