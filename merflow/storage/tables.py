"""CSV tables: the columns of each contract, read and written in one way."""

import csv
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from merflow.errors import InputError
from merflow.storage.files import atomic_write

CLIPS = ["clip", "subject", "label", "kind", "frames", "onset", "apex", "offset", "fps", "align", "problem"]
PROBLEMS = ["dataset", "file", "row", "clip", "field", "problem", "effect"]
CLASSES = ["class_set", "label", "expected", "found", "usable", "source"]
KEYFRAMES = ["clip", "index", "frame", "magnitude_px", "apex_annotated", "apex_spotted", "apex_source"]
FRAME_SCORES = ["clip", "frame", "score"]
QUALITY = [
    "clip",
    "subject",
    "label",
    "status",
    "reason",
    "alignment",
    "face_width_px",
    "interocular_px",
    "head_motion_px",
    "frames",
]
PREDICTIONS = ["experiment", "repeat", "fold", "dataset", "subject", "clip", "truth", "predicted"]
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
    "flags",
]  # fmt: skip
SPOTTING = [
    "scope", "seconds", "expressions", "spotted", "hits", "misses", "false_alarms", "false_alarms_per_minute",
    "false_alarms_low", "false_alarms_high", "precision", "recall", "f1", "apex_error_ms",
]  # fmt: skip
METRICS = [
    "experiment", "protocol", "scope", "metric", "value", "ci_low", "ci_high", "n_clips", "n_subjects", "repeats",
]  # fmt: skip

CALIBRATION = ["experiment", "metric", "value", "ci_low", "ci_high", "n_clips"]
RELIABILITY = ["experiment", "kind", "bin_low", "bin_high", "n", "confidence", "accuracy"]
EXPORT_CHECK = ["output", "clips", "greatest_difference", "limit"]
COVERAGE = ["experiment", "threshold", "answered", "accuracy", "n_clips"]


CLASS_SCOPE = "/class:"
"""Stands between a dataset and a class in the column ``scope`` of the metrics."""


_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_NO_FORMULA = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]", re.IGNORECASE)
"""Numbers, and a sign alone, which annotations use for nothing."""


def escape_formula(cell: Any) -> Any:
    """A cell's text, with an apostrophe before what a spreadsheet takes for a formula: ``=``, ``+``, ``-`` or ``@``.

    Numbers stay as they are, and so does everything that is no text. :func:`unescape_formula` gives the text back.
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NO_FORMULA.fullmatch(cell):
        return f"'{cell}"
    return cell


def unescape_formula(cell: Any) -> Any:
    """The text that :func:`escape_formula` was given."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell) else cell


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype)


def write_table(rows: pd.DataFrame | Iterable[Mapping[str, Any]], path: str | Path, columns: list[str]) -> None:
    """Write rows as CSV with ``columns`` first (further columns of the rows follow), whole or not at all.

    Floats are written with nine significant digits: enough for float32, and the same text on every run.
    """
    write_table_in_parts([rows], path, columns)


def write_table_in_parts(
    parts: Iterable[pd.DataFrame | Iterable[Mapping[str, Any]]], path: str | Path, columns: list[str]
) -> None:
    """:func:`write_table` of rows that are not in memory together: part after part, all with the same columns."""
    with atomic_write(path) as temporary:
        for number, rows in enumerate(parts):
            table = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
            for name in columns:
                if name not in table:
                    table[name] = pd.Series(dtype=object)
            table = table[columns + [name for name in table if name not in columns]].rename(columns=escape_formula)
            table = table.apply(lambda column: column if _is_number(column) else column.map(escape_formula))
            # Names of files need not be UTF-8.
            how = {"float_format": "%.9g", "lineterminator": "\n", "errors": "backslashreplace"}
            table.to_csv(temporary, mode="a" if number else "w", header=not number, index=False, **how)


def read_table(path: str | Path, columns: list[str], *, own: bool = True) -> pd.DataFrame:
    """Read a CSV that has at least ``columns``; text columns keep empty strings empty.

    ``own``: merflow has written it, so that it must be whole; a user's table may lack the end of its last line.

    Raises:
        InputError: the file is missing, cut short, no CSV, or lacks a column; the message names it.
    """
    return pd.concat(read_table_in_parts(path, columns, own=own)).apply(parse_numbers)


def read_table_in_parts(
    path: str | Path, columns: list[str], rows: int | None = None, *, own: bool = True
) -> Iterator[pd.DataFrame]:
    """:func:`read_table` with ``rows`` in memory at a time (None: all), every column as text; at least one part.

    Raises:
        InputError: as :func:`read_table`.
    """
    try:
        if own:
            check_complete(path)
        checked = False
        text = {"keep_default_na": False, "na_values": {}, "dtype": str, "index_col": False}
        with pd.read_csv(path, **text, iterator=True, chunksize=rows) as parts:
            while (table := _next(parts)) is not None:
                # A cell that is not there is read as empty: a row may be short only where its last cell is empty.
                if own and not checked and table.iloc[:, -1].eq("").any():
                    _check_rows(path)
                    checked = True
                table = table.rename(columns=unescape_formula).map(unescape_formula)
                missing = [name for name in columns if name not in table.columns]
                if missing:
                    found = ", ".join(table.columns)
                    raise InputError(f"{path}: column {', '.join(missing)} missing; found: {found}")
                yield table
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except pd.errors.ParserWarning as error:
        remedy = "it is damaged; remove it and run again" if own else "give every column a name"
        raise InputError(f"{path}: its rows have more cells than its header; {remedy}") from error
    except (OSError, UnicodeDecodeError, csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        remedy = "; remove it and run again" if own else ""
        raise InputError(f"{path} cannot be read as CSV: {str(error).strip()}{remedy}") from error


def _next(parts: Iterator[pd.DataFrame]) -> pd.DataFrame | None:
    """The next part, None after the last; pandas' ParserWarning is raised where it would cut cells off."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return next(parts, None)


def check_complete(path: str | Path) -> None:
    """Raise InputError if a table of merflow does not end with the end of a line; OSError if it cannot be read."""
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            raise cut_short_error(path, "it is empty")
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            raise cut_short_error(path, "its last line has no end")
        file.seek(0)
        while block := file.read(1 << 14):
            if b"\0" in block:  # What a disk without power leaves of a block.
                raise cut_short_error(path, "it has zero bytes")


def _check_rows(path: str | Path) -> None:
    """Raise InputError if a row has fewer cells than the header; blank lines are none."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = filter(None, csv.reader(file))
        count = len(next(rows, []))
        for number, row in enumerate(rows, 2):
            if len(row) < count:
                raise cut_short_error(path, f"row {number} has fewer cells than the header")


def cut_short_error(path: str | Path, why: str) -> InputError:
    """The error for a table of merflow that is not whole."""
    return InputError(f"{path} is damaged (it was cut short); remove it and run again: it is made anew ({why})")


def parse_numbers(column: pd.Series) -> pd.Series:
    """A column of numbers as numbers (empty: NaN); any other, and names such as ``007``, as text."""
    if column.name in {
        "clip",
        "subject",
        "label",
        "truth",
        "predicted",
        "fold",
        "dataset",
        "experiment",
        "reason",
        "problem",
        "frames",
        "row",
        "column",
        "metric",
        "ledger",
        "chosen",
        "source",
        "flags",
        "answer",
        "top",
    }:
        return column
    found = pd.to_numeric(column.replace("", None), errors="coerce")
    return found if found.notna().eq(column.ne("")).all() and found.notna().any() else column
