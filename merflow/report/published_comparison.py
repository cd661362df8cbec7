"""How a table of ours differs from published numbers, and what could explain it."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from merflow.evaluation.published import ledger
from merflow.report.systems import as_number

NAMED_ROWS = 3
"""A caveat names the published rows that it is about if there are at most this many."""


@dataclass(frozen=True)
class LedgerEntry:
    """An entry of docs/fidelity.md, and the number of differences that it could explain."""

    number: int
    about: str
    count: int


@dataclass(frozen=True)
class Differences:
    """Differences from published numbers."""

    compared: int  # published numbers with a number of ours
    differing: int
    entries: Sequence[LedgerEntry]  # that could explain differences, the most frequent first
    caveats: Sequence[str]  # notes on published numbers


def published_differences(table: pd.DataFrame) -> Differences:
    """Differences in a table with the columns :data:`merflow.storage.tables.COMPARISON`."""
    differing = table[table["differs"] == "yes"]
    counts = Counter(int(number) for text in differing["ledger"].astype(str) for number in text.split())
    numbers = sorted(counts, key=lambda number: (-counts[number], number))
    entries = [LedgerEntry(number, ledger()[number], counts[number]) for number in numbers]
    return Differences(int(table["differs"].isin(["yes", "no"]).sum()), len(differing), entries, _caveats(table))


def _caveats(table: pd.DataFrame) -> list[str]:
    """The caveats of the table; with several, each with the rows that it is about, if they are few."""
    rows_of: dict[str, list[str]] = {}
    for row in table.to_dict("records"):
        caveat = str(row["caveat"])
        if caveat and caveat != "nan":
            rows = rows_of.setdefault(caveat, [])
            if math.isnan(as_number(row["value"])) and row["row"] not in rows:
                rows.append(row["row"])
    if len(rows_of) == 1:
        return list(rows_of)
    return [f"{', '.join(rows)}: {text}" if 0 < len(rows) <= NAMED_ROWS else text for text, rows in rows_of.items()]
