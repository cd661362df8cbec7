"""Published numbers, and the ledger of open choices (docs/fidelity.md) that could explain a difference from them."""

import csv
import math
from functools import cache
from pathlib import Path
from typing import Any

PUBLISHED = Path(__file__).parent / "published.csv"
"""One published number per row: ``table, row, column, metric`` name it as our tables do; ``value`` is in per cent;
``system, dataset, protocol`` say what was measured (``not stated``: the paper does not say); ``source, caveat`` are
free text; ``ledger`` lists the entries of docs/fidelity.md that could explain a difference."""
LEDGER = Path(__file__).parent / "ledger.csv"
"""A summary of each entry of docs/fidelity.md: ``number, about``."""
CHOSEN_ON_TEST = "epoch chosen on the test"
"""Start of the caveat of a number whose epoch is known to have been chosen on the test clips."""
ROUNDING = 0.0005
"""Half of the last digit that the papers print, as a fraction."""


@cache
def published() -> dict[tuple[str, str, str, str], dict[str, Any]]:
    """Published numbers by (table, row, column, metric); values are fractions, not per cent."""
    with open(PUBLISHED, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        (r["table"], r["row"], r["column"], r["metric"]): r | {"value": round(float(r["value"]) / 100, 6)} for r in rows
    }


@cache
def ledger() -> dict[int, str]:
    """What each entry of docs/fidelity.md is about, by its number."""
    with open(LEDGER, newline="", encoding="utf-8") as file:
        return {int(row["number"]): row["about"] for row in csv.DictReader(file)}


def differs(value: float, low: float, high: float, published_value: float) -> bool | None:
    """Whether a published number lies outside our interval or, without an interval, differs from our value.

    Differences that rounding in print explains do not count. None if there is nothing to compare.
    """
    if math.isnan(value) or math.isnan(published_value):
        return None
    if math.isnan(low) or math.isnan(high):
        low = high = value
    return not low - ROUNDING - 1e-9 <= published_value <= high + ROUNDING + 1e-9
