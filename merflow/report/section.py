"""What a section of the report is, and the values that several sections share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from merflow.report.report_data import ReportData
from merflow.storage.files import safe_filename
from merflow.storage.tables import escape_formula

METRIC_TITLES = {"accuracy": "Accuracy", "uf1": "UF1", "uar": "UAR"}


@dataclass(frozen=True)
class Section:
    """A section of the page; ``sections/{name}.html.j2`` gets the values of ``content``, and ``report``."""

    name: str  # its id in the page, so its address is report.html#name
    title: str
    content: Callable[[ReportData], dict[str, Any] | None]  # None leaves the section out
    badge: bool = True  # whether the heading is marked "synthetic" if demo data take part


@dataclass(frozen=True)
class Drawing:
    """A drawing of the page that can be saved."""

    name: str  # file name without suffix, unique in the page
    svg: str  # from merflow.report.svg.page_svg
    csv: str  # its numbers
    title: str = ""  # above the saved file; empty if the drawing has its own title
    caption: str = ""  # below the drawing in the page


def sheet_id(dataset: str, subject: str) -> str:
    """The id of a subject's contact sheet in the page."""
    return f"sheet-{safe_filename(dataset)}-{safe_filename(subject)}"


def as_csv(rows: Iterable[Mapping[Any, Any] | Sequence[Any]], columns: Sequence[str]) -> str:
    """Rows as CSV text, in the format of :func:`merflow.storage.tables.write_table`."""
    table = pd.DataFrame(list(rows), columns=list(columns)).map(escape_formula)
    return table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
