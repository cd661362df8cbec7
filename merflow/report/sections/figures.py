"""Section "Tables and figures": tables and figures of the paper with our numbers."""

from dataclasses import dataclass
from typing import Any

from merflow.evaluation.settings import FigureSettings
from merflow.report.figure_drawings import draw_in_page
from merflow.report.published_comparison import Differences, published_differences
from merflow.report.report_data import ReportData
from merflow.report.section import Drawing, Section
from merflow.storage.tables import COMPARISON, read_table


@dataclass(frozen=True)
class ReportedFigure:
    """A figure of the page; flow statistics have no differences from published numbers."""

    name: str
    settings: FigureSettings
    drawing: Drawing
    differences: Differences | None

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
        if settings.kind != "variants":
            compared = settings.kind != "flow-statistics"
            differences = published_differences(read_table(report.figures[name], COMPARISON)) if compared else None
            figures.append(ReportedFigure(name, settings, figure_drawing(name, report), differences))
    return figures


def figure_drawing(name: str, report: ReportData) -> Drawing:
    """The drawing of a figure, with its table as CSV."""
    settings, path = report.settings.figures[name], report.figures[name]
    svg, legend = draw_in_page(path, settings, f"figure-{list(report.figures).index(name)}")
    return Drawing(name, svg, path.read_text(encoding="utf-8"), settings.title, legend)


SECTION = Section("figures", "Tables and figures", content)
