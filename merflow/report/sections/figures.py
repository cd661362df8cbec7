"""Section "Tables and figures": tables and figures of the paper with our numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from merflow.evaluation.settings import FigureSettings
from merflow.report.figure_drawings import draw_in_page
from merflow.report.published_comparison import Differences, published_differences
from merflow.report.report_data import ReportData
from merflow.report.section import Drawing, Section
from merflow.report.systems import ConfusionRow, as_number, confusion_rows
from merflow.storage.tables import COMPARISON, read_table


@dataclass(frozen=True)
class ReportedFigure:
    """A figure of the page; what its kind does not have is empty."""

    name: str
    settings: FigureSettings
    drawing: Drawing | None = None
    differences: Differences | None = None
    matrices: Sequence[tuple[str, Sequence[ConfusionRow]]] = ()  # of each experiment

    @property
    def note(self) -> str:
        """The note of the configuration, and which systems were not rebuilt from their paper."""
        return " ".join(filter(None, [self.settings.note, self.settings.reading]))


def content(report: ReportData) -> dict[str, Any] | None:
    """Values of ``figures.html.j2``; None if the study has no figures."""
    figures = report_figures(report)
    return {"figures": figures, "tried": max(f.settings.tried for f in figures)} if figures else None


def report_figures(report: ReportData) -> list[ReportedFigure]:
    """Every figure of the configuration; tables of variants have their own section."""
    figures = []
    for name, settings in report.settings.figures.items():
        if settings.kind == "flow-statistics":
            figures.append(ReportedFigure(name, settings, figure_drawing(name, report)))
        elif settings.kind != "variants":
            table = read_table(report.figures[name], COMPARISON)
            confusion = settings.kind == "confusion"
            drawing = None if confusion else figure_drawing(name, report)
            matrices = _matrices(table) if confusion else ()
            figures.append(ReportedFigure(name, settings, drawing, published_differences(table), matrices))
    return figures


def figure_drawing(name: str, report: ReportData) -> Drawing:
    """The drawing of a figure, with its table as CSV."""
    settings, path = report.settings.figures[name], report.figures[name]
    svg = draw_in_page(path, settings, f"figure-{list(report.figures).index(name)}")
    return Drawing(name, svg, path.read_text(encoding="utf-8"), settings.title, settings.title)


def _matrices(table: pd.DataFrame) -> list[tuple[str, list[ConfusionRow]]]:
    """The confusion matrix of each experiment, with the published rates."""
    matrices = []
    for experiment, rows in table.groupby("experiment", sort=False):
        classes = list(dict.fromkeys(rows["row"]))
        counts = rows["count"].to_numpy().reshape(len(classes), len(classes))
        published = rows["published"].map(as_number).to_numpy().reshape(counts.shape)
        differs = rows["differs"].eq("yes").to_numpy().reshape(counts.shape)
        matrix = []
        for y, row in enumerate(confusion_rows(counts, classes)):
            cells = [
                replace(cell, published=float(published[y, x]), differs=bool(differs[y, x]))
                for x, cell in enumerate(row.cells)
            ]
            matrix.append(ConfusionRow(row.name, cells))
        matrices.append((str(experiment), matrix))
    return matrices


SECTION = Section("figures", "Tables and figures", content)
