"""Annotation workbooks (.xlsx, .xls or .csv): the header row is searched, and columns are matched by name."""

import csv
import io
import os
import re
import zipfile
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from python_calamine import CalamineError

from merflow.datasets.labels import plain_name
from merflow.errors import InputError

SUFFIXES = {".xlsx", ".xls", ".csv"}
TEXT_SUFFIXES = {".csv", ".tsv", ".txt"}
HEADER_ROWS = 60
"""Rows of a sheet in which its header is searched."""
MAX_BYTES = 50_000_000
"""Largest workbook, packed and unpacked: a hundred times the largest of the field."""

UNREADABLE = (CalamineError, ValueError, NotImplementedError, zipfile.BadZipFile)
"""What pandas, calamine and zipfile raise for a damaged workbook; the third one for an unknown compression."""


@dataclass(frozen=True)
class Row:
    """One row: its number as a spreadsheet counts it, the wanted cells by name, and all cells by column.

    ``typed`` are the wanted cells with the blanks at their ends.
    """

    number: int
    cells: Mapping[str, str]
    source: Mapping[str, str]
    typed: Mapping[str, str]


def find_workbook(
    root: Path, chosen: str | None, pattern: str, example: str, levels: int = 2
) -> tuple[Path, list[Path]]:
    """The annotation workbook of a dataset, and the other ones that match ``pattern``, in ``levels`` below ``root``.

    Among several, the last one is chosen: numbers are compared as numbers, ``-updated`` comes after all others,
    ``.xlsx`` is preferred to ``.xls`` and ``.xls`` to ``.csv``.

    Raises:
        InputError: there is none.
    """
    if chosen:
        if not os.path.isfile(root / chosen):
            raise InputError(f"{root / chosen} does not exist; `table` names the workbook, relative to {root}")
        return root / chosen, []
    tables = list(_tables(root, levels))
    candidates = sorted((f for f in tables if re.search(pattern, f.stem, re.IGNORECASE)), key=_recency)
    if not candidates:
        others = ", ".join(sorted(str(f.relative_to(root)) for f in tables)[:10]) or "none"
        raise InputError(
            f"{root}: no annotation workbook such as {example} (.xlsx, .xls or .csv) in it or {levels} levels below; "
            f"tables there: {others}; put the workbook there, or name it in `table`"
        )
    return candidates[-1], candidates[:-1]


def _tables(folder: Path, levels: int) -> Iterator[Path]:
    """Yield the tables in a folder and up to ``levels`` levels below, except in folders that may not be listed."""
    with suppress(PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                if not entry.name.startswith((".", "~$")) and entry.is_file():
                    yield Path(entry.path)
            elif levels and not entry.name.startswith(".") and entry.is_dir():
                yield from _tables(Path(entry.path), levels - 1)


def _recency(file: Path) -> tuple[Any, ...]:
    parts = [int(part) if part.isdigit() else 0 for part in re.findall(r"\d+", file.stem)]
    preferred = {".xlsx": 2, ".xls": 1}.get(file.suffix.lower(), 0)
    return "updated" in file.stem.lower(), parts, file.stem.lower(), preferred, str(file)


def read_workbook(
    file: Path,
    columns: Mapping[str, Sequence[str]],
    sheet: str = "",
    optional: Mapping[str, Sequence[str]] | None = None,
) -> list[Row]:
    """Rows of the first sheet that has the wanted columns, below its header.

    Column names are compared without case, spaces, underscores and hyphens. Rows in which all wanted cells are empty
    are left out. All cells are text without blanks at the ends, whole numbers without decimals.

    Args:
        file: workbook, or text with columns separated by commas, semicolons or tabs.
        columns: accepted names of each column, by the caller's name of it.
        sheet: name of the sheet that is tried first.
        optional: as ``columns``, for columns that may be missing; their cells are then empty.

    Raises:
        InputError: the file cannot be read, or no sheet has all columns; the message names the missing ones and those
            of the row that comes closest.
    """
    sheets = sorted(_sheets(file).items(), key=lambda item: _bare(item[0]) != _bare(sheet))
    headers = [(name, table, number) for name, table in sheets for number in range(min(HEADER_ROWS, len(table)))]
    if not headers:
        raise InputError(f"{file} is empty")
    name, table, number = max(headers, key=lambda header: len(_column_indices(header[1][header[2]], columns)))
    cells = table[number]
    indices = _column_indices(cells, columns)
    if len(indices) == len(columns):
        indices |= _column_indices(cells, optional or {})
        return _rows(file, table, number, indices, [*columns, *(optional or {})])
    where = f"{file}, sheet {name}" if name else str(file)
    missing = ", ".join(names[0] for wanted, names in columns.items() if wanted not in indices)
    header = ", ".join(filter(None, map(str.strip, cells)))[:500] or "nothing"
    if not indices:
        raise InputError(f"{where}: no header row; expected the columns {missing}; the first row holds: {header}")
    raise InputError(
        f"{where}: column {missing} missing; row {number + 1}, its header, has: {header}; rename or add columns there"
    )


def sheet_cells(file: Path) -> dict[str, list[list[str]]]:
    """Every sheet of a workbook as rows of text without blanks at the ends; a CSV is one sheet without a name.

    Raises:
        InputError: the file cannot be read.
    """
    return {name: [[cell.strip() for cell in row] for row in rows] for name, rows in _sheets(file).items()}


def _column_indices(cells: Sequence[str], columns: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Position of each wanted column in a row that may be the header; columns that it lacks are left out."""
    header = [_bare(cell) for cell in cells]
    names = {wanted: next((n for n in map(_bare, names) if n in header), None) for wanted, names in columns.items()}
    return {wanted: header.index(name) for wanted, name in names.items() if name is not None}


def _rows(
    file: Path, table: list[list[str]], header: int, indices: Mapping[str, int], columns: Sequence[str]
) -> list[Row]:
    names = {index: plain_name(cell) for index, cell in enumerate(table[header]) if cell.strip()}
    width = len(table[header])
    rows: list[Row] = []
    for number, cells in enumerate(table[header + 1 :], header + 2):
        typed = cells + [""] * (width - len(cells))
        cells = [cell.strip() for cell in typed]
        if beyond := "".join(cells[width:]):
            raise InputError(
                f"{file}: row {number} has {beyond!r} beyond the last of {width} named columns; "
                "give every column a name, or put quotes around a cell that has a separator in it"
            )
        chosen = {name: cells[indices[name]] if name in indices else "" for name in columns}
        if any(chosen.values()):
            source = {name: cells[index] for index, name in names.items()}
            rows.append(Row(number, chosen, source, {name: typed[index] for name, index in indices.items()}))
    return rows


def _sheets(file: Path) -> dict[str, list[list[str]]]:
    """Every sheet as rows of text; a CSV is one sheet without a name."""
    try:
        if file.suffix.lower() not in SUFFIXES | TEXT_SUFFIXES:
            suffixes = ", ".join(sorted(SUFFIXES | TEXT_SUFFIXES))
            raise InputError(f"{file} is no table by its name; read are {suffixes}: save it as one of them")
        if not (size := file.stat().st_size):
            raise InputError(f"{file} is empty (0 bytes)")
        if size > MAX_BYTES:
            raise InputError(f"{file} has {size / 1e6:.0f} MB; save the sheet of clips alone, as .csv")
        return {"": _csv_rows(file)} if file.suffix.lower() in TEXT_SUFFIXES else _workbook_sheets(file)
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


def _workbook_sheets(file: Path) -> dict[str, list[list[str]]]:
    try:
        if zipfile.is_zipfile(file) and sum(part.file_size for part in zipfile.ZipFile(file).infolist()) > MAX_BYTES:
            raise InputError(f"{file} unpacks to more than {MAX_BYTES / 1e6:.0f} MB; save the sheet of clips as .csv")
        frames = pd.read_excel(file, sheet_name=None, header=None, dtype=object, na_filter=False, engine="calamine")
    except BaseException as error:  # Panics of calamine, which is written in Rust, are no subclass of Exception.
        if isinstance(error, UNREADABLE) or type(error).__name__ == "PanicException":
            raise InputError(f"{file} is not a readable workbook: {error}; save it again as .xlsx or .csv") from error
        raise
    return {str(name): [[*map(_cell_text, row)] for row in frame.to_numpy()] for name, frame in frames.items()}


def _cell_text(cell: object) -> str:
    """A cell as text: whole numbers without decimals, one blank for line ends and tabs."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return re.sub(r"[\t-\r]+", " ", str(cell))


def _csv_rows(file: Path) -> list[list[str]]:
    data = file.read_bytes()
    try:
        text = data.decode("utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")  # As Excel writes it.
    declared = re.match(r'"?sep=(.)"?\r?\n', text, re.IGNORECASE)  # Spreadsheets do not show this line.
    text = text[declared.end() :] if declared else text
    head = "\n".join(text.splitlines()[:HEADER_ROWS])
    separator = declared[1] if declared else max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    return list(reader)


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
