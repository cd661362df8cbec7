"""Annotation workbooks: .xlsx, .xls or .csv, the header row searched for, the columns found by name."""

import csv
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merflow.datasets.labels import plain_name
from merflow.errors import InputError

SUFFIXES = {".xlsx", ".xls", ".csv"}
HEADER_WITHIN = 60
"""Rows of a sheet in which its header is looked for."""
MOST_BYTES = 200_000_000
"""Largest workbook, unpacked: a hundred times the largest of the field."""


@dataclass(frozen=True)
class Row:
    """One row: its number as a spreadsheet counts it, the asked-for cells by their name, and all cells by column."""

    number: int
    cells: Mapping[str, str]
    source: Mapping[str, str]


def find_workbook(root: Path, given: str | None, pattern: str, example: str) -> tuple[Path, list[Path]]:
    """The annotation workbook of a dataset, and the other ones that match.

    Args:
        root: folder of the dataset; it and two levels below are searched.
        given: the user's choice, relative to ``root``, or None.
        pattern: regular expression of the file's name without suffix; the case does not matter.
        example: name of the file as it is distributed, for the message.

    Returns:
        The file, and other candidates. Of several the last is taken, numbers compared as numbers, ``-updated`` after
        all; ``.xlsx`` before ``.xls`` before ``.csv`` of one name.

    Raises:
        InputError: there is none.
    """
    if given:
        if not (root / given).is_file():
            raise InputError(f"{root / given} does not exist; `table` names the workbook, relative to {root}")
        return root / given, []
    tables = [
        file
        for level in ("*", "*/*", "*/*/*")
        for file in root.glob(level)
        if file.suffix.lower() in SUFFIXES and not file.name.startswith((".", "~$")) and file.is_file()
    ]
    found = sorted((f for f in tables if re.search(pattern, f.stem, re.IGNORECASE)), key=_recency)
    if not found:
        others = ", ".join(sorted(str(f.relative_to(root)) for f in tables)[:10]) or "none"
        raise InputError(
            f"{root}: no annotation workbook such as {example} (.xlsx, .xls or .csv) in it or two levels below; "
            f"tables there: {others}; put the workbook there, or name it in `table`"
        )
    return found[-1], found[:-1]


def _recency(file: Path) -> tuple:
    parts = [int(part) if part.isdigit() else 0 for part in re.findall(r"\d+", file.stem)]
    preferred = {".xlsx": 2, ".xls": 1}.get(file.suffix.lower(), 0)
    return "updated" in file.stem.lower(), parts, file.stem.lower(), preferred, str(file)


def read_workbook(
    file: Path,
    columns: Mapping[str, Sequence[str]],
    sheet: str = "",
    optional: Mapping[str, Sequence[str]] | None = None,
) -> list[Row]:
    """Rows of the sheet that has the wanted columns.

    Names are compared without regard to case, spaces, underscores and hyphens. Rows in which all wanted cells are empty
    are left out; all cells are text without blanks at the ends, whole numbers without decimals.

    Args:
        file: workbook or CSV.
        columns: for each name of the caller the column names that are accepted, the usual one first.
        sheet: name of the sheet that is looked at first.
        optional: as ``columns``, of columns that may be missing.

    Raises:
        InputError: the file cannot be read, or no sheet has all columns: the message names the missing ones and those
            of the sheet that comes closest.
    """
    best: tuple[int, str, int, dict[str, int], list[str]] | None = None
    for name, table in sorted(_sheets(file).items(), key=lambda item: _bare(item[0]) != _bare(sheet)):
        for number, cells in enumerate(table[:HEADER_WITHIN]):
            header = [_bare(cell) for cell in cells]
            places = {
                wanted: next(header.index(_bare(n)) for n in names if _bare(n) in header)
                for wanted, names in columns.items()
                if any(_bare(n) in header for n in names)
            }
            if best is None or len(places) > best[0]:
                best = (len(places), name, number, places, cells)
            if len(places) == len(columns):
                more = {
                    wanted: next(header.index(_bare(n)) for n in names if _bare(n) in header)
                    for wanted, names in (optional or {}).items()
                    if any(_bare(n) in header for n in names)
                }
                return _rows(table, number, places | more)
    if best is None:
        raise InputError(f"{file} is empty")
    _, name, number, places, cells = best
    where = f"{file}, sheet {name}" if name else str(file)
    missing = ", ".join(names[0] for wanted, names in columns.items() if wanted not in places)
    found = ", ".join(cell for cell in cells if cell)[:500] or "nothing"
    if not places:
        raise InputError(f"{where}: no header row found; expected the columns {missing}; the first row holds: {found}")
    raise InputError(f"{where}: column {missing} missing; row {number + 1}, its header, has: {found}")


def _rows(table: list[list[str]], header: int, places: Mapping[str, int]) -> list[Row]:
    names = {place: plain_name(cell) for place, cell in enumerate(table[header]) if cell}
    rows = []
    for number, cells in enumerate(table[header + 1 :], header + 2):
        cells = cells + [""] * (len(table[header]) - len(cells))
        chosen = {wanted: cells[place] for wanted, place in places.items()}
        if any(chosen.values()):
            rows.append(Row(number, chosen, {name: cells[place] for place, name in names.items()}))
    return rows


def _sheets(file: Path) -> dict[str, list[list[str]]]:
    """Every sheet as rows of text; a CSV is one sheet without name."""
    try:
        if not file.stat().st_size:
            raise InputError(f"{file} is empty (0 bytes)")
        if file.suffix.lower() == ".csv":
            return {"": _csv_rows(file)}
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > MOST_BYTES:
                raise InputError(f"{file} unpacks to {size / 1e6:.0f} MB; no annotation workbook is that large")
        return _workbook_sheets(file)
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist") from error
    except (OSError, zipfile.BadZipFile, csv.Error) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


def _workbook_sheets(file: Path) -> dict[str, list[list[str]]]:
    from python_calamine import CalamineError, load_workbook

    try:
        book = load_workbook(str(file))
        return {
            name: [
                [_text(cell) for cell in row]
                for row in book.get_sheet_by_name(name).to_python(skip_empty_area=False)
            ]
            for name in book.sheet_names
        }  # fmt: skip
    except CalamineError as error:
        raise InputError(f"{file} is no workbook that can be read: {error}; save it anew as .xlsx or .csv") from error


def _csv_rows(file: Path) -> list[list[str]]:
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # Spreadsheets of other tongues; the columns that matter are ASCII.
    head = "\n".join(text.splitlines()[:HEADER_WITHIN])
    return [
        [_text(cell) for cell in row] for row in csv.reader(io.StringIO(text), delimiter=max(",;\t", key=head.count))
    ]


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return re.sub(r"\s+", " ", str(cell)).strip()


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
