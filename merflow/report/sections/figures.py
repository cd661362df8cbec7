"""Section "Tables and figures": tables and figures of the paper with our numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from merflow.evaluation.settings import FigureSettings
from merflow.report.figure_drawings import STAGES, draw_in_page
from merflow.report.published_comparison import Differences, published_differences
from merflow.report.report_data import ReportData
from merflow.report.section import Drawing, Section
from merflow.report.systems import ConfusionRow, Estimate, as_estimate, as_number, confusion_rows
from merflow.storage.tables import COMPARISON, FLOW_STATISTICS, read_table


@dataclass(frozen=True)
class ComparedRow:
    """A number of ours and the published one; ``stage`` is the stage or the metric, ``data`` the dataset."""

    name: str
    stage: str
    data: str
    protocol: str
    ours: Estimate
    published: float


@dataclass(frozen=True)
class FlowSpread:
    """Mean flow of the clips of a class, in pixels; ``variation``: standard deviation over mean."""

    label: str
    clips: int
    low: float
    median: float
    high: float
    variation: float


@dataclass(frozen=True)
class ReportedFigure:
    """A figure of the page; what its kind does not have is empty."""

    name: str
    settings: FigureSettings
    drawing: Drawing | None = None
    differences: Differences | None = None
    rows: Sequence[ComparedRow] = ()  # of methods and stages
    several_metrics: bool = False  # whether methods are compared by more than one metric
    matrices: Sequence[tuple[str, Sequence[ConfusionRow]]] = ()  # of each experiment
    spreads: Sequence[FlowSpread] = ()  # of each class and of all clips

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
        path = report.figures[name]
        if settings.kind == "variants":
            continue
        if settings.kind == "flow-statistics":
            table = read_table(path, FLOW_STATISTICS)
            spreads = [_spread(str(label), rows["mean"]) for label, rows in table.groupby("label", sort=False)]
            spreads.append(_spread("all", table["mean"]))
            figures.append(ReportedFigure(name, settings, figure_drawing(name, report), spreads=spreads))
            continue
        table = read_table(path, COMPARISON)
        differences = published_differences(table)
        if settings.kind == "confusion":
            figures.append(ReportedFigure(name, settings, differences=differences, matrices=_matrices(table)))
            continue
        rows = [_compared_row(row) for row in table.to_dict("records")]
        several = settings.kind == "methods" and table["metric"].nunique() > 1
        drawing = figure_drawing(name, report)
        figures.append(ReportedFigure(name, settings, drawing, differences, rows, several))
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


def _compared_row(row: dict[str, Any]) -> ComparedRow:
    protocol = row.get("protocol", "")
    return ComparedRow(
        name=row["row"],
        stage=STAGES.get(row["metric"], row["metric"].upper()),
        data=row["column"],
        protocol=protocol if isinstance(protocol, str) else "",
        ours=as_estimate(row),
        published=as_number(row["published"]),
    )


def _spread(label: str, values: pd.Series) -> FlowSpread:
    low, median, high = values.quantile([0, 0.5, 1])
    variation = float(values.std(ddof=0) / values.mean()) if values.mean() else math.nan
    return FlowSpread(label, len(values), low, median, high, variation)


SECTION = Section("figures", "Tables and figures", content)
