"""What the parts of the report share: tables as CSV text, and the look of small axes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from merflow.storage.tables import escape_formula

SHARES = [0, 0.25, 0.5, 0.75, 1]
"""Ticks of an axis of shares."""
SHARE_NAMES = ["0", ".25", ".5", ".75", "1"]


def as_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The numbers of a drawing as CSV text, in the form of :func:`merflow.storage.tables.write_table`."""
    table = pd.DataFrame(list(rows), columns=list(columns)).map(escape_formula)
    return table.to_csv(index=False, float_format="%.9g", lineterminator="\n")


def plain_axes(axes: Axes, *, grid: str = "x") -> None:
    """Axes without ticks, with faint lines behind the data."""
    axes.grid(axis=grid)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def shown(value: float, digits: int = 2) -> str:
    """A number in words of a drawing; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
