"""Section "Calibration": how far probabilities are off, and what "uncertain" answers gain."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from merflow.report.report_data import ReportData
from merflow.report.section import Drawing, Section, as_csv
from merflow.report.svg import (
    FIRST,
    INK,
    MUTED,
    RULE,
    SECOND,
    SHARE_NAMES,
    SHARES,
    make_axes,
    page_svg,
    plain_axes,
    short,
)
from merflow.report.systems import Estimate, as_estimate, as_numbers
from merflow.storage.tables import CALIBRATION, COVERAGE, RELIABILITY, read_table

MEASURES = {"ece": "calibration error (ECE)", "nll": "negative log likelihood", "brier": "Brier score"}
TOLERANCE = 0.02
"""A system is too confident if mean confidence exceeds accuracy by more than this, too cautious if below."""
PER_ROW = 3
"""Small drawings beside each other."""


@dataclass(frozen=True)
class Coverage:
    """Share of clips that a system answers at a threshold, its accuracy on them, and its accuracy on all clips."""

    answered: float
    accuracy: float
    all_clips: float


@dataclass(frozen=True)
class CalibratedSystem:
    """Calibration of a system."""

    name: str
    n_clips: int  # test clips
    temperature: float  # of all validation clips
    measures: Mapping[str, Estimate]  # of MEASURES, and of {name}_raw before calibration
    tendency: str  # before calibration: over (too confident), under (too cautious) or empty
    coverage: Coverage  # at the threshold of the configuration


def content(report: ReportData) -> dict[str, Any] | None:
    """Values of ``certainty.html.j2``; None if no system gives probabilities."""
    calibration = read_table(report.tables["calibration"], CALIBRATION)
    if not len(calibration):
        return None
    reliability = read_table(report.tables["reliability"], RELIABILITY)
    coverage = read_table(report.tables["coverage"], COVERAGE)
    threshold = report.settings.uncertain_below
    systems = []
    for name, rows in calibration.groupby("experiment", sort=False):
        values = {row["metric"]: as_estimate(row) for row in rows.to_dict("records")}
        raw = reliability[(reliability["experiment"] == name) & (reliability["kind"] == "raw")]
        at_threshold = coverage_at(coverage[coverage["experiment"] == name], threshold)
        temperature = values.pop("temperature").value
        count = int(rows["n_clips"].iloc[0])
        systems.append(CalibratedSystem(str(name), count, temperature, values, _tendency(raw), at_threshold))
    names = [system.name for system in systems]
    drawings = [
        Drawing(
            "reliability",
            reliability_svg(reliability, names),
            as_csv(reliability.to_dict("records"), RELIABILITY),
            "Confidence and accuracy of each system",
            "Accuracy of predictions with similar confidence. On the diagonal, confidence equals accuracy; below it, "
            "the system is too confident. Hollow squares: before calibration. Filled discs: calibrated. A larger mark "
            "stands for more clips.",
        ),
        Drawing(
            "coverage",
            coverage_svg(coverage, names, threshold),
            as_csv(coverage.to_dict("records"), COVERAGE),
            "Accuracy of the answered clips",
            "Accuracy of the answered clips against the share of clips that is answered. The ring: answers with a "
            f"probability below {threshold:g} count as uncertain.",
        ),
    ]
    return {"threshold": threshold, "measures": MEASURES, "systems": systems, "drawings": drawings}


def coverage_at(table: pd.DataFrame, threshold: float) -> Coverage:
    """Coverage at the first tabulated threshold that is not below ``threshold``."""
    rows = as_numbers(table[["threshold", "answered", "accuracy"]]).sort_values("threshold")
    if rows.empty:
        return Coverage(math.nan, math.nan, math.nan)
    row = min(int(np.searchsorted(rows["threshold"].to_numpy(), threshold - 1e-9)), len(rows) - 1)
    return Coverage(rows["answered"].iloc[row], rows["accuracy"].iloc[row], rows["accuracy"].iloc[0])


def _tendency(reliability: pd.DataFrame) -> str:
    """``over``, ``under`` or empty, see :data:`TOLERANCE`."""
    rows = as_numbers(reliability[["n", "confidence", "accuracy"]]).fillna(0)
    gap = ((rows["confidence"] - rows["accuracy"]) * rows["n"]).sum() / max(1, rows["n"].sum())
    return "over" if gap > TOLERANCE else "under" if gap < -TOLERANCE else ""


def reliability_svg(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Accuracy against confidence, a small diagram per system: hollow before calibration, filled after it."""

    def draw(axes: Axes, rows: pd.DataFrame) -> str:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
        gaps = []
        for kind, colour, marker, face in (("raw", SECOND, "s", "none"), ("calibrated", FIRST, "o", FIRST)):
            bins = as_numbers(rows.loc[rows["kind"] == kind, ["n", "confidence", "accuracy"]]).query("n > 0")
            axes.plot(bins["confidence"], bins["accuracy"], color=colour, linewidth=1.0, alpha=0.75)
            axes.scatter(
                bins["confidence"], bins["accuracy"], 8 + 60 * bins["n"] / bins["n"].sum(), marker=marker,
                facecolors=face, edgecolors=colour, linewidths=1.1, zorder=3, clip_on=False,
            )  # fmt: skip
            gap = ((bins["confidence"] - bins["accuracy"]).abs() * bins["n"]).sum() / max(1, bins["n"].sum())
            gaps.append(f"{kind} {gap:.2f}")
        return f"confidence and accuracy are apart on average by {', '.join(gaps)}"

    return _small_diagrams(table, names, "Reliability", "confidence", draw)


def coverage_svg(table: pd.DataFrame, names: Sequence[str], threshold: float) -> str:
    """Accuracy of the answered clips against their share, a small diagram per system; a ring marks the threshold."""

    def draw(axes: Axes, rows: pd.DataFrame) -> str:
        curve = as_numbers(rows[["threshold", "answered", "accuracy"]]).query("answered > 0").sort_values("threshold")
        axes.plot(curve["answered"], curve["accuracy"], color=FIRST, linewidth=1.5)
        at = coverage_at(rows, threshold)
        if math.isnan(at.accuracy):
            return f"no clip is answered at threshold {threshold:g}"
        axes.axhline(at.all_clips, color=RULE, linewidth=1.0, zorder=1)
        ring: dict[str, Any] = {"facecolors": "none", "edgecolors": SECOND, "clip_on": False}
        axes.scatter(at.answered, at.accuracy, 49, linewidths=1.6, zorder=4, **ring)
        right = at.answered < 0.55
        axes.annotate(
            f"{100 * at.accuracy:.0f} %", (at.answered, at.accuracy), textcoords="offset points", color=INK,
            xytext=(7 if right else -7, 6 if at.accuracy < 0.9 else -11), fontsize=7.5, ha="left" if right else "right",
        )  # fmt: skip
        return (
            f"answers {100 * at.answered:.0f} % of the clips at threshold {threshold:g}, {100 * at.accuracy:.0f} % of "
            f"them correctly; {100 * at.all_clips:.0f} % if it answers all"
        )

    return _small_diagrams(table, names, "Coverage and accuracy", "share of clips that is answered", draw)


def _small_diagrams(
    table: pd.DataFrame, names: Sequence[str], title: str, label: str, draw: Callable[[Axes, pd.DataFrame], str]
) -> str:
    """A small diagram of accuracies per system; ``draw`` fills one and describes it, ``label`` is below the x axis."""
    lines = math.ceil(len(names) / PER_ROW)
    columns = math.ceil(len(names) / lines)
    size = (1.65 * columns, 1.7 * lines)
    figure, grid = make_axes(*size, lines, columns, sharex=True, sharey=True, wspace=0.22, hspace=0.3)
    description = []
    for index, (axes, name) in enumerate(zip(grid, names, strict=False)):
        description.append(f"{name} {draw(axes, table[table['experiment'] == name])}")
        axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.04))
        axes.set_xticks(SHARES, SHARE_NAMES)
        axes.set_yticks(SHARES, SHARE_NAMES)
        axes.set_title(short(name), loc="left", fontsize=8, fontweight="bold")
        plain_axes(axes, grid="both")
        axes.tick_params(labelcolor=MUTED, labelbottom=index + columns >= len(names))
        if index % columns == 0:
            axes.set_ylabel("accuracy")
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    grid[columns * (lines - 1)].set_xlabel(label, loc="left")
    return page_svg(figure, f"{title}. {'; '.join(description)}", title.split()[0].lower())


SECTION = Section("certainty", "Calibration", content)
