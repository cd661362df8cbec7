"""Section "Results": accuracy, UF1 and UAR of every system."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from merflow.evaluation.metrics import OVERALL
from merflow.report.report_data import ReportData
from merflow.report.section import METRIC_TITLES, Drawing, Section, as_csv
from merflow.report.svg import FIRST, SECOND, SHARE_NAMES, SHARES, draw_estimates, make_axes, page_svg, short
from merflow.report.systems import SystemResult


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``results.html.j2``."""
    return {"systems": report.systems, "drawings": metric_drawings(report.systems)}


def metric_drawings(systems: Sequence[SystemResult]) -> list[Drawing]:
    """A drawing per metric, with all systems."""
    drawings = []
    for metric in OVERALL:
        rows = [
            {"experiment": s.name, "value": value.value, "ci_low": value.low, "ci_high": value.high, "floor": s.floor}
            for s in systems
            if np.isfinite((value := s.metrics[metric]).value)
        ]
        drawings.append(
            Drawing(
                f"results-{metric}",
                forest_svg(METRIC_TITLES[metric], rows, f"forest-{metric}"),
                as_csv(rows, ["experiment", "value", "ci_low", "ci_high", "floor"]),
                f"{METRIC_TITLES[metric]} of all systems",
            )
        )
    return drawings


def forest_svg(title: str, rows: Sequence[dict[str, Any]], prefix: str) -> str:
    """Values of one metric with their intervals, one line per system; floors are hollow."""
    names = [short(row["experiment"]) for row in rows]
    figure, (axes,) = make_axes(2.2, 0.07 + 0.24 * len(rows))
    styles = [(SECOND, False) if row["floor"] else (FIRST, True) for row in rows]
    values = [(row["value"], row["ci_low"], row["ci_high"]) for row in rows]
    draw_estimates(axes, names, [(*value, *style) for value, style in zip(values, styles, strict=True)])
    axes.set_xlim(0, 1)
    axes.set_xticks(SHARES, SHARE_NAMES)
    axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
    description = "; ".join(f"{row['experiment']} {row['value']:.3f}" for row in rows)
    return page_svg(figure, f"{title} with 95 % intervals: {description}", prefix)


SECTION = Section("results", "Results", content)
