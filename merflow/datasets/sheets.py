"""Every sheet of a workbook as rows of text, as JSON on stdout: a program of its own, within limits of memory and time.

What reads workbooks is not written for hostile ones: two cells at the far ends of a sheet, or one long text that many
cells share, take any memory, and end the process that asked for them. This one may end.
"""

import json
import re
import sys
from typing import Any

MEMORY = 2_000_000_000
SECONDS = 60
MOST_CELLS = 3_000_000
"""Cells of all sheets, empty ones among them; the largest workbook of the field has 4,000."""
MOST_TEXT = 50_000_000


def sheets(file: str) -> dict[str, list[list[str]]]:
    """The sheets by name.

    Raises:
        ValueError: it holds too much, or cannot be read.
    """
    from python_calamine import CalamineError, load_workbook

    try:
        book = load_workbook(file)
        found: dict[str, list[list[str]]] = {}
        cells = letters = 0
        for name in book.sheet_names:
            rows = []
            for row in book.get_sheet_by_name(name).to_python(skip_empty_area=False):
                rows.append([cell_text(cell) for cell in row])
                cells, letters = cells + len(row), letters + sum(map(len, rows[-1]))
                if cells > MOST_CELLS or letters > MOST_TEXT:
                    raise ValueError("it holds too much")
            found[name] = rows
        return found
    except CalamineError as error:
        raise ValueError(str(error)) from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # Of the library's Rust, beside all classes of exceptions.
            raise ValueError(str(error)) from error
        raise


def cell_text(cell: Any) -> str:
    """A cell as text: whole numbers without decimals, blanks as one space and none at the ends."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return re.sub(r"\s+", " ", str(cell)).strip()


if __name__ == "__main__":
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        json.dump(sheets(sys.argv[1]), sys.stdout)
    except ValueError as problem:
        sys.exit(f"error: {problem}")
