"""The templates of pages, and numbers as pages write them (filters of the templates)."""

import math
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from merflow.report.systems import Estimate


def number(value: float | None, digits: int = 3) -> str:
    """A number with a fixed number of decimals; a dash if there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def exact(value: float | None) -> str:
    """A number with six digits, for sorting; empty if there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def interval(value: Estimate) -> str:
    """``[low, high]``; empty if there is none."""
    return "" if math.isnan(value.low) else f"[{value.low:.2f}, {value.high:.2f}]"


def percent(value: float | None, digits: int = 0) -> str:
    """A fraction in per cent, without a line break."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """A time, such as ``4.2 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def memory(megabytes: float) -> str:
    """Memory in MB or GB; a dash for 0, which means unknown."""
    if not megabytes:
        return "–"
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"


def templates(*folders: Path) -> Environment:
    """The templates in some folders. Their values are escaped, also in Markdown, whose viewers may render HTML."""
    environment = Environment(
        loader=FileSystemLoader(folders), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    for function in (number, exact, interval, percent, duration, memory):
        environment.filters[function.__name__] = function
    return environment
