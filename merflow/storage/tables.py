"""CSV tables: the columns of each table of the workflow, and functions that read and write them."""

import csv
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from merflow.errors import InputError
from merflow.storage.files import atomic_write

CLIPS = ["clip", "subject", "label", "kind", "frames", "onset", "apex", "offset", "fps", "align", "problem"]
PROBLEMS = ["dataset", "file", "row", "clip", "field", "problem", "effect"]
CLASSES = ["class_set", "label", "expected", "found", "usable", "source"]
KEYFRAMES = ["clip", "index", "frame", "magnitude_px", "apex_annotated", "apex_spotted", "apex_source"]
FRAME_SCORES = ["clip", "frame", "score"]
QUALITY = [
    "clip", "video", "subject", "label", "status", "reason", "alignment", "detector", "face_width_px", "interocular_px",
    "head_motion_px", "frames", "notes",
]  # fmt: skip
PREDICTIONS = ["experiment", "repeat", "fold", "dataset", "subject", "clip", "truth", "predicted"]
TEST_EPOCHS = ["experiment", "repeat", "fold", "dataset", "subject", "clip", "truth", "every", "answers"]
ACCURACY_TRAIN = ["experiment", "repeat", "fold", "stage", "accuracy", "n", "chosen"]
CURVES = ["experiment", "repeat", "stage", "name", "epoch", "split", "loss", "accuracy"]
GRID = ["row", "column", "metric", "value", "ci_low", "ci_high", "n_clips", "published", "caveat"]
COMPARISON = [
    "row", "column", "metric", "value", "ci_low", "ci_high", "n_clips", "published", "differs", "ledger", "tried",
    "source", "caveat",
]  # fmt: skip
FLOW_STATISTICS = ["clip", "subject", "label", "mean", "variance"]
SPLITS = ["protocol", "seed", "fold", "dataset", "subject", "clip", "part"]
AUDIT = ["experiment", "repeat", "fold", "check", "size", "allowed", "note"]
CHOSEN_ON_TEST = ["experiment", "choice", "metric", "chosen_on_test", "result"]
DIFFERENCES = [
    "first", "second", "metric", "difference", "ci_low", "ci_high", "p", "p_holm", "verdict", "n_subjects",
]  # fmt: skip
INTERVALS = ["clip", "source", "found", "frames", "onset", "apex", "offset", "fps", "strength"]
ANSWERS = [
    "clip", "experiment", "answer", "top", "p_top", "entropy", "mutual_information", "members_agree", "n_members",
    "flags",
]  # fmt: skip
PREDICTED = [
    "source", "clip", "status", "reason", "found", "onset", "apex", "offset", "onset_s", "apex_s", "offset_s", "fps",
    "label", "experiment", "answer", "top", "p_top", "entropy", "mutual_information", "members_agree", "n_members",
    "flags", "notes",
]  # fmt: skip
LONG_VIDEOS = ["dataset", "video", "subject", "first", "last", "fps"]
TRUE_INTERVALS = ["dataset", "video", "subject", "onset", "apex", "offset", "label", "kind"]
DETECTIONS = [
    "experiment", "dataset", "video", "subject", "fold", "onset", "apex", "offset", "kind", "score", "label",
]  # fmt: skip
CANDIDATES = [*DETECTIONS, "accepted"]
SPOTTING_METRICS = ["experiment", "dataset", "kind", "tp", "fp", "fn", "minutes"]
SPOTTING_CURVE = [
    "experiment", "dataset", "kind", "threshold", "hits", "false_alarms", "recall", "false_alarms_per_minute",
]  # fmt: skip
METRICS = [
    "experiment", "protocol", "scope", "metric", "value", "ci_low", "ci_high", "n_clips", "n_subjects", "repeats",
]  # fmt: skip

CALIBRATION = ["experiment", "metric", "value", "ci_low", "ci_high", "n_clips"]
RELIABILITY = ["experiment", "kind", "bin_low", "bin_high", "n", "confidence", "accuracy"]
EXPORT_CHECK = ["output", "clips", "greatest_difference", "limit"]
COVERAGE = ["experiment", "threshold", "answered", "accuracy", "n_clips"]


TEXT_COLUMNS = {
    "clip", "subject", "label", "truth", "predicted", "fold", "dataset", "experiment", "reason", "problem", "frames",
    "row", "column", "metric", "ledger", "chosen", "source", "flags", "answer", "answers", "top", "notes",
    "video",
}  # fmt: skip
"""Columns that stay text even if all their cells look like numbers."""
CLASS_SCOPE = "/class:"
"""Separates a dataset from a class in the column ``scope`` of the metrics."""


_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_NO_FORMULA = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]", re.IGNORECASE)
"""Numbers, and a single sign, which annotations use for "none"."""


def escape_formula(cell: Any) -> Any:
    """Return a cell with an apostrophe before text that a spreadsheet would read as a formula.

    Numbers and everything that is not text are returned unchanged. :func:`unescape_formula` is the inverse.
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NO_FORMULA.fullmatch(cell):
        return f"'{cell}"
    return cell


def unescape_formula(cell: Any) -> Any:
    """Return the cell before :func:`escape_formula`."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell) else cell


def write_table(rows: pd.DataFrame | Iterable[Mapping[str, Any]], path: str | Path, columns: list[str]) -> None:
    """Write rows as CSV, atomically, with ``columns`` first and all other columns of the rows after them.

    Floats are written with nine significant digits: enough for float32, and the same text on every run.
    """
    write_table_in_parts([rows], path, columns)


def write_table_in_parts(
    parts: Iterable[pd.DataFrame | Iterable[Mapping[str, Any]]], path: str | Path, columns: list[str]
) -> None:
    """Write a table as :func:`write_table` does, one part in memory at a time; all parts have the same columns."""
    # Without "python", pandas stores text by pyarrow if it is installed, which rejects file names that are not UTF-8.
    with atomic_write(path) as temporary, pd.option_context("mode.string_storage", "python"):
        for number, rows in enumerate(parts):
            table = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
            table = table.reindex(columns=[*columns, *(name for name in table if name not in columns)])
            table = table.rename(columns=escape_formula)
            table = table.apply(lambda column: column if is_numeric_dtype(column) else column.map(escape_formula))
            table.to_csv(
                temporary,
                mode="a" if number else "w",
                header=not number,
                index=False,
                float_format="%.9g",
                lineterminator="\n",
                errors="backslashreplace",  # File names need not be UTF-8.
            )


def read_table(path: str | Path, columns: list[str], *, made_by_merflow: bool = True) -> pd.DataFrame:
    """Read a CSV file; empty cells of text columns are empty strings.

    Args:
        path: the file.
        columns: columns that it must have; it may have more.
        made_by_merflow: whether the file must be complete; the last line of a user's table may lack its line end.

    Raises:
        InputError: the file is missing, cut short, not CSV, or lacks a column; the message names it.
    """
    return pd.concat(read_table_in_parts(path, columns, made_by_merflow=made_by_merflow)).apply(parse_numbers)


def read_table_in_parts(
    path: str | Path, columns: list[str], rows: int | None = None, *, made_by_merflow: bool = True
) -> Iterator[pd.DataFrame]:
    """Read a CSV file as :func:`read_table` does, ``rows`` at a time (None: all at once), with all columns as text.

    Raises:
        InputError: as :func:`read_table`.
    """
    try:
        if made_by_merflow:
            check_complete(path)
        checked = False
        with pd.read_csv(
            path, keep_default_na=False, na_values={}, dtype=str, index_col=False, iterator=True, chunksize=rows
        ) as parts:
            while (table := _next_part(parts)) is not None:
                # pandas reads missing cells as empty, so a row can be short only if its last cell is empty.
                if made_by_merflow and not checked and table.iloc[:, -1].eq("").any():
                    _check_rows(path)
                    checked = True
                table = table.rename(columns=unescape_formula).map(unescape_formula)
                missing = [name for name in columns if name not in table.columns]
                if missing:
                    raise InputError(f"{path}: column {', '.join(missing)} missing; found: {', '.join(table.columns)}")
                yield table
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except pd.errors.ParserWarning as error:
        remedy = "it is damaged; remove it and run again" if made_by_merflow else "give every column a name"
        raise InputError(f"{path}: its rows have more cells than its header; {remedy}") from error
    except (OSError, UnicodeDecodeError, csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        remedy = "; remove it and run again" if made_by_merflow else ""
        raise InputError(f"{path} cannot be read as CSV: {str(error).strip()}{remedy}") from error


def _next_part(parts: Iterator[pd.DataFrame]) -> pd.DataFrame | None:
    """Return the next part, or None after the last one; raise pandas' ParserWarning if cells would be dropped."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return next(parts, None)


def check_complete(path: str | Path) -> None:
    """Raise InputError if a table of merflow is incomplete, OSError if it cannot be read."""
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            raise cut_short_error(path, "it is empty")
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            raise cut_short_error(path, "its last line has no line end")
        file.seek(0)
        while block := file.read(1 << 14):
            if b"\0" in block:  # A power failure can leave blocks of zeros.
                raise cut_short_error(path, "it has zero bytes")


def _check_rows(path: str | Path) -> None:
    """Raise InputError if a row has fewer cells than the header; blank lines are ignored."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = filter(None, csv.reader(file))
        count = len(next(rows, []))
        for number, row in enumerate(rows, 2):
            if len(row) < count:
                raise cut_short_error(path, f"row {number} has fewer cells than the header")


def cut_short_error(path: str | Path, why: str) -> InputError:
    """Return the error for a table of merflow that is incomplete."""
    return InputError(f"{path} is damaged (it was cut short); remove it and run again to recreate it ({why})")


def parse_numbers(column: pd.Series) -> pd.Series:
    """Return a column with numbers parsed (empty cells become NaN), unless it holds text or names such as ``007``."""
    if column.name in TEXT_COLUMNS:
        return column
    parsed = pd.to_numeric(column.replace("", None), errors="coerce")
    return parsed if parsed.notna().eq(column.ne("")).all() and parsed.notna().any() else column
