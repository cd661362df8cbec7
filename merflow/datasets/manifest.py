"""Layout ``manifest``: a CSV of the user's own clips, each a folder of images, a glob or a video file."""

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from merflow.datasets.index import Index
from merflow.datasets.layouts import finish
from merflow.datasets.raw_clip import RawClip
from merflow.errors import InputError

REQUIRED = ["clip", "subject", "label", "frames"]
OPTIONAL = ["onset", "apex", "offset", "fps"]


def index(name: str, settings: Mapping[str, Any]) -> Index:
    """Index the clips of a manifest.

    Every row becomes a clip. A row that cannot be used keeps its place, with the reason in ``problem``, so that it is
    counted and reported and never lost. A label outside ``classes`` leaves the clip out of the scores; it is noted
    among the problems, since it may be a slip of the pen, and the clip is processed all the same.

    Args:
        name: the dataset, prefix of its subjects.
        settings: ``root``; ``table`` (relative to root), ``kind``, ``classes``, ``corrections`` if the user gives them.

    Raises:
        InputError: the table is missing, is no CSV or lacks columns.
    """
    table = Path(settings["root"]) / (settings.get("table") or "manifest.csv")
    raw_clips = []
    for number, row in read_table_of_clips(table, REQUIRED, OPTIONAL).items():
        frames = (table.parent / row["frames"]).as_posix() if row["frames"] else ""
        raw = RawClip(
            row["clip"] or f"row-{number}", row["subject"], frames, settings.get("kind", "micro"), str(table), number
        )
        raw.numbers = {key: row[key] for key in ("onset", "apex", "offset")}
        raw.source = {key: value for key, value in row.items() if key not in REQUIRED[:2] + ["frames"] + OPTIONAL}
        raw.fps = row["fps"]
        if not row["clip"]:
            raw.problems.append(("clip", "empty; give every clip a name"))
        if not row["subject"]:
            raw.problems.append(("subject", "empty; the subject decides what is left out together"))
        raw_clips.append(raw)
    return finish(name, settings, raw_clips)


def _beyond_header(table: Path, separator: str, columns: int) -> tuple[int, str] | None:
    """Number and text of the first row that has text beyond so many columns; blanks there are a spreadsheet's habit."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.reader(file, delimiter=separator, skipinitialspace=True), 1):
            if beyond := "".join(row[columns:]).strip():
                return number, beyond
    return None


def read_table_of_clips(table: Path, required: Sequence[str], optional: Sequence[str]) -> dict[int, dict[str, str]]:
    """Rows of a user's table by row number of the file, as text, blanks at the ends removed, empty rows left out.

    Commas, semicolons and tabs separate columns: spreadsheets write what their country is used to.
    """
    if table.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise InputError(f"{table} is a workbook; save its sheet as CSV UTF-8 and name that file")
    try:
        with table.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = max(",;\t", key=header.count)
        with warnings.catch_warnings(record=True) as cut_off:
            warnings.simplefilter("always", pd.errors.ParserWarning)
            frame = pd.read_csv(
                table,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                skipinitialspace=True,
                skip_blank_lines=False,
                index_col=False,
            )
        lost = _beyond_header(table, separator, len(frame.columns)) if cut_off else None
    except FileNotFoundError as error:
        raise InputError(f"{table} does not exist") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is not UTF-8 ({error.reason}); save it as CSV UTF-8") from error
    except (OSError, csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{table} cannot be read as CSV: {str(error).strip()}") from error
    if lost:
        raise InputError(
            f"{table}: row {lost[0]} has {lost[1]!r} beyond the last of {len(frame.columns)} named columns; "
            "give every column a name, or put quotes around a cell that has a separator in it"
        )
    frame.columns = [str(column).strip().lower() for column in frame.columns]
    missing = [column for column in required if column not in frame]
    if missing:
        raise InputError(
            f"{table}: column {', '.join(missing)} missing; found: {', '.join(frame.columns)}; "
            f"expected: {', '.join(required)}" + (f", and perhaps {', '.join(optional)}" if optional else "")
        )
    for column in optional:
        if column not in frame:
            frame[column] = ""
    frame = frame.fillna("").map(lambda value: str(value).strip())
    frame.index += 2  # row 1 of the file is its header
    frame = frame[(frame != "").any(axis=1)]
    if frame.empty:
        raise InputError(f"{table} has a header and no rows")
    return frame.to_dict("index")
