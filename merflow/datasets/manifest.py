"""Layout ``manifest``: a CSV table of the user's clips, each a folder of images, a glob or a video file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from merflow.datasets.index import Index
from merflow.datasets.layouts import finish
from merflow.datasets.raw_clip import RawClip
from merflow.datasets.registry import LAYOUTS
from merflow.datasets.settings import DatasetSettings
from merflow.errors import InputError

REQUIRED = ["clip", "subject", "label", "frames"]
OPTIONAL = ["onset", "apex", "offset", "fps"]


def index(name: str, settings: DatasetSettings) -> Index:
    """Index the clips of a manifest.

    Every row becomes a clip; one that cannot be used has the reason in ``problem``, so that it is counted and reported.
    A clip with a label outside ``classes`` is processed and not scored, and the label is noted, since it may be a
    typing error.

    Raises:
        InputError: the table is missing, is not a CSV or lacks columns.
    """
    table = Path(settings.root) / (settings.table or LAYOUTS["manifest"].table)
    raw_clips = []
    for number, row in read_table_of_clips(table, REQUIRED, OPTIONAL).items():
        frames = (table.parent / row["frames"]).as_posix() if row["frames"] else ""
        raw = RawClip(row["clip"] or f"row-{number}", row["subject"], frames, settings.kind, str(table), number)
        raw.numbers = {key: row[key] for key in ("onset", "apex", "offset")}
        raw.source = {key: value for key, value in row.items() if key not in REQUIRED[:2] + ["frames"] + OPTIONAL}
        raw.fps = row["fps"]
        if not row["clip"]:
            raw.problems.append(("clip", "empty; give every clip a name"))
        if not row["subject"]:
            raw.problems.append(("subject", "empty; give every clip its subject, which decides the splits"))
        raw_clips.append(raw)
    return finish(name, settings, raw_clips)


def read_table_of_clips(table: Path, required: Sequence[str], optional: Sequence[str]) -> dict[int, dict[str, str]]:
    """Rows of a user's table by row number, as text without white space at the ends; empty rows are left out.

    Columns are separated by commas, semicolons or tabs, as spreadsheets of different countries write them.

    Args:
        table: CSV file in UTF-8.
        required: columns that the table must have.
        optional: columns that are empty if the table lacks them.

    Raises:
        InputError: the table cannot be read, or lacks columns or rows.
    """
    if table.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise InputError(f"{table} is a workbook; save its sheet as CSV UTF-8 and name that file")
    try:
        text = table.read_bytes().decode("utf-8-sig")
        separator = max(",;\t", key=text.partition("\n")[0].count)
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
        header, *cells_of_rows = [[cell.strip() for cell in line] for line in lines] or [[]]
    except FileNotFoundError as error:
        raise InputError(f"{table} does not exist") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is not UTF-8 ({error.reason}); save it as CSV UTF-8") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"{table} cannot be read as CSV: {error}") from error
    columns = [cell.lower() for cell in header]
    if missing := [column for column in required if column not in columns]:
        raise InputError(
            f"{table}: column {', '.join(missing)} missing; found: {', '.join(columns) or 'nothing'}; "
            f"expected: {', '.join(required)}" + (f", and perhaps {', '.join(optional)}" if optional else "")
        )
    rows = {}
    for number, cells in enumerate(cells_of_rows, 2):
        if beyond := "".join(cells[len(columns) :]):
            raise InputError(
                f"{table}: row {number} has {beyond!r} beyond the last of {len(columns)} named columns; "
                "give every column a name, or put quotes around a cell that has a separator in it"
            )
        if any(cells):
            rows[number] = dict.fromkeys([*columns, *optional], "") | dict(zip(columns, cells, strict=False))
    if not rows:
        raise InputError(f"{table} has a header and no rows")
    return rows
