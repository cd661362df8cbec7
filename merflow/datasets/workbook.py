"""Annotation workbooks: .xlsx, .xls or .csv, the header row searched for, the columns found by name."""

import csv
import io
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from merflow.datasets.labels import plain_name
from merflow.datasets.sheets import cell_text, sheets
from merflow.errors import InputError

PROGRAM = Path(__file__).with_name("sheets.py")
SUFFIXES = {".xlsx", ".xls", ".csv"}
HEADER_WITHIN = 60
"""Rows of a sheet in which its header is looked for."""
MOST_BYTES = 50_000_000
"""Largest workbook, unpacked: a hundred times the largest of the field."""
FEW_CELLS = 1_000_000
"""Cells that may be read without a second thought, empty ones among them."""
FEW_BYTES = 5_000_000
TOO_MUCH = "; no annotation workbook is that large: save the sheet of clips alone, as .csv"


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
        if not os.path.isfile(root / given):
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
        if file.suffix.lower() not in SUFFIXES:
            raise InputError(f"{file} is no .xlsx, .xls or .csv; save it as one of them")
        if not (size := file.stat().st_size):
            raise InputError(f"{file} is empty (0 bytes)")
        if size > MOST_BYTES:
            raise InputError(f"{file} has {size / 1e6:.0f} MB{TOO_MUCH}")
        if file.suffix.lower() == ".csv":
            return {"": _csv_rows(file)}
        return _workbook_sheets(file)
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


def _workbook_sheets(file: Path) -> dict[str, list[list[str]]]:
    try:
        if _is_harmless(file):
            return sheets(str(file))
        done = subprocess.run([sys.executable, "-I", str(PROGRAM), str(file.absolute())], capture_output=True)
        if done.returncode == 0:
            return json.loads(done.stdout)
        told = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        if not told.startswith("error: ") or "too much" in told:
            raise InputError(f"{file} takes more memory or time than a workbook may{TOO_MUCH}")
        raise ValueError(told.removeprefix("error: "))
    except ValueError as error:
        raise InputError(f"{file} is no workbook that can be read: {error}; save it anew as .xlsx or .csv") from error


def _is_harmless(file: Path) -> bool:
    """Whether an .xlsx is so small, unpacked and read, that it may be read in this process.

    Sizes are those of what is there, not those that its directory tells.

    Raises:
        InputError: it unpacks to more than any annotation workbook.
    """
    if not zipfile.is_zipfile(file):
        return False
    cells = across = down = longest = total = 0
    try:
        with zipfile.ZipFile(file) as archive, file.open("rb") as raw:
            for entry in archive.infolist():
                part = _unpacked(raw, entry, MOST_BYTES - total)
                total += len(part)
                if total >= MOST_BYTES:
                    raise InputError(f"{file} unpacks to more than {MOST_BYTES / 1e6:.0f} MB{TOO_MUCH}")
                if total > FEW_BYTES:
                    continue
                cells += len(re.findall(rb"<(?:\w+:)?c[ />]", part))
                places = re.findall(rb"""\sr\s*=\s*["']\$?([A-Za-z]*)\$?(\d+)["']""", part)
                across = max([across, *(_column(letters) for letters, _ in places)])
                down = max([down, *(int(number[:9]) for _, number in places)])
                longest = max([longest, *map(len, re.split(rb"</(?:\w+:)?si>", part))])
    except (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, ValueError, EOFError, OverflowError, OSError):
        return False  # Damaged, packed in a way of its own, or with places beyond the file: read with limits.
    return total <= FEW_BYTES and across * down <= FEW_CELLS and cells <= FEW_CELLS and cells * longest <= MOST_BYTES


def _unpacked(raw: BinaryIO, entry: zipfile.ZipInfo, most: int) -> bytes:
    """What an entry of an archive holds, ``most`` bytes of it at most.

    Raises:
        ValueError: it is packed in a way that workbooks are not.
    """
    raw.seek(entry.header_offset + 26)
    name, extra = struct.unpack("<HH", raw.read(4))
    raw.seek(name + extra, os.SEEK_CUR)
    packed = raw.read(min(entry.compress_size, MOST_BYTES + 1))
    if entry.compress_type == zipfile.ZIP_STORED:
        return packed[:most]
    if entry.compress_type != zipfile.ZIP_DEFLATED:
        raise ValueError(f"packed by method {entry.compress_type}")
    return zlib.decompressobj(-15).decompress(packed, max(1, most))


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters[:4].upper():
        number = 26 * number + letter - 64
    return number


def _csv_rows(file: Path) -> list[list[str]]:
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # Spreadsheets of other tongues; the columns that matter are ASCII.
    head = "\n".join(text.splitlines()[:HEADER_WITHIN])
    return [
        [cell_text(cell) for cell in row]
        for row in csv.reader(io.StringIO(text), delimiter=max(",;\t", key=head.count))
    ]


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
