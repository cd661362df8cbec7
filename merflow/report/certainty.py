"""How sure the systems are: what calibration does, and what is left where they may answer "uncertain"."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from merflow.report.drawings import as_number
from merflow.report.figures import FIRST, INK, LETTER, MUTED, RULE, SECOND, STYLE, drawing, short
from merflow.report.shared import SHARE_NAMES, SHARES, as_csv, plain_axes, shown
from merflow.storage.tables import CALIBRATION, COVERAGE, RELIABILITY, read_table

TABLES = ("calibration", "reliability", "coverage")
UNCERTAIN_BELOW = 0.5
"""Least calibrated top probability of an answer where the configuration has no `predict.uncertain_below`."""
MEASURES = {
    "ece": "calibration error (ECE)",
    "nll": "negative log likelihood",
    "brier": "Brier score",
}
PER_ROW = 3
"""Small drawings beside each other."""


def how_sure(study: Mapping[str, Any]) -> dict[str, Any] | None:
    """What calibration does to each system with a network; None where the study has not all three tables.

    Returns:
        ``threshold`` (`predict.uncertain_below`), ``measures`` (titles), ``systems``: rows ``name, temperature,
        n_clips``, for each measure ``{value, low, high}`` under its name and under ``{name}_raw``, ``sense`` (in which
        way its raw probabilities were wrong: over, under or None), and at the threshold ``answered, accuracy, all``
        (the accuracy without it); ``drawings``: rows ``svg, csv, name, title, caption``.
    """
    if not all(name in study for name in TABLES):
        return None
    tables = [read_table(study[name], columns) for name, columns in zip(TABLES, _COLUMNS, strict=True)]
    calibration, reliability, coverage = tables
    if not len(calibration):
        return None
    threshold = uncertain_below(study["config"])
    systems = []
    for name, rows in calibration.groupby("experiment", sort=False):
        named = {
            row["metric"]: {key: as_number(row[column]) for key, column in _INTERVAL.items()}
            for row in rows.to_dict("records")
        }
        nothing = dict.fromkeys(_INTERVAL, math.nan)
        system = {"name": str(name), "temperature": named.get("temperature", nothing)["value"]}
        system |= {"n_clips": int(rows["n_clips"].iloc[0])}
        for measure in MEASURES:
            system |= {each: named.get(each, nothing) for each in (measure, f"{measure}_raw")}
        own = reliability[(reliability["experiment"] == name) & (reliability["kind"] == "raw")]
        system |= _at(coverage[coverage["experiment"] == name], threshold) | {"sense": _sense(own)}
        systems.append(system)
    names = [system["name"] for system in systems]
    drawings = [
        {
            "svg": reliability_diagram(reliability, names, "reliability"),
            "csv": as_csv(reliability.to_dict("records"), RELIABILITY),
            "name": "reliability",
            "title": "Confidence and accuracy of each system",
            "caption": "How often answers of like confidence are right. On the line, a probability means what it says; "
            "below it, the system is too sure. A larger mark stands for more clips.",
        },
        {
            "svg": coverage_curve(coverage, names, threshold, "coverage"),
            "csv": as_csv(coverage.to_dict("records"), COVERAGE),
            "name": "coverage",
            "title": "Accuracy of what is answered",
            "caption": f"The accuracy of what is answered against the share that is answered. The ring: answers below "
            f"{threshold:g} count as uncertain.",
        },
    ]
    return {"threshold": threshold, "measures": MEASURES, "systems": systems, "drawings": drawings}


_COLUMNS = (CALIBRATION, RELIABILITY, COVERAGE)
_INTERVAL = {"value": "value", "low": "ci_low", "high": "ci_high"}


def uncertain_below(config: Mapping[str, Any]) -> float:
    """The threshold of a configuration below which Predict answers "uncertain"."""
    value = (config.get("predict") or {}).get("uncertain_below")
    return UNCERTAIN_BELOW if value is None else float(value)


def _at(coverage: pd.DataFrame, threshold: float) -> dict[str, float]:
    """Share that is answered at a threshold, its accuracy, and the accuracy of all."""
    numbers = coverage[["threshold", "answered", "accuracy"]].apply(pd.to_numeric, errors="coerce")
    if numbers.empty:
        return {"answered": math.nan, "accuracy": math.nan, "all": math.nan}
    numbers = numbers.sort_values("threshold")
    # The next row of the table at or above: fewer answers, never more than the threshold lets through.
    place = min(int(np.searchsorted(numbers["threshold"].to_numpy(), threshold - 1e-9)), len(numbers) - 1)
    row = numbers.iloc[place]
    return {"answered": row["answered"], "accuracy": row["accuracy"], "all": numbers["accuracy"].iloc[0]}


def _sense(raw: pd.DataFrame) -> str | None:
    """``over`` where a system is surer than right on the whole, ``under`` where it is less sure; None within 0.02."""
    numbers = raw[["n", "confidence", "accuracy"]].apply(pd.to_numeric, errors="coerce").fillna(0)
    if not numbers["n"].sum():
        return None
    gap = float(((numbers["confidence"] - numbers["accuracy"]) * numbers["n"]).sum() / numbers["n"].sum())
    return "over" if gap > 0.02 else "under" if gap < -0.02 else None


def reliability_diagram(table: pd.DataFrame, names: Sequence[str], prefix: str) -> str:
    """Accuracy against confidence, a small diagram per system: hollow as it is, full when calibrated.

    Args:
        table: as ``reliability.csv``.
        names: systems, in their order.
        prefix: makes its ids unique in the page.
    """
    lines = math.ceil(len(names) / PER_ROW)
    columns = math.ceil(len(names) / lines)
    with matplotlib.rc_context(STYLE):
        width, height = 0.55 + 1.65 * columns, 0.55 + 1.85 * lines
        figure = Figure(figsize=(width, height))
        figure.subplots_adjust(
            left=0.5 / width, right=1 - 0.12 / width, top=1 - 0.25 / height, bottom=0.62 / height,
            wspace=0.22, hspace=0.3,
        )  # fmt: skip
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        said = []
        for place, axes in enumerate(grid.ravel()):
            if place >= len(names):
                axes.set_visible(False)
                continue
            own = table[table["experiment"] == names[place]]
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
            for kind, colour, shape, face in (("raw", SECOND, "s", "none"), ("calibrated", FIRST, "o", FIRST)):
                bins = own[own["kind"] == kind][["n", "confidence", "accuracy"]].apply(pd.to_numeric, errors="coerce")
                bins = bins[bins["n"] > 0]
                if bins.empty:
                    continue
                line = "--" if kind == "raw" else "-"
                axes.plot(bins["confidence"], bins["accuracy"], line, color=colour, linewidth=1.0, alpha=0.75)
                sizes = 8 + 60 * bins["n"] / bins["n"].sum()
                axes.scatter(
                    bins["confidence"], bins["accuracy"], sizes, marker=shape, facecolors=face, edgecolors=colour,
                    linewidths=1.1, zorder=3, clip_on=False,
                )  # fmt: skip
                off = float(((bins["confidence"] - bins["accuracy"]).abs() * bins["n"]).sum() / bins["n"].sum())
                said.append(f"{names[place]} {kind}: confidence and accuracy are {shown(off)} apart on average")
            axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.04))
            axes.set_xticks(SHARES, SHARE_NAMES)
            axes.set_yticks(SHARES, SHARE_NAMES)
            axes.set_title(short(names[place]), loc="left", fontsize=8, fontweight="bold")
            plain_axes(axes, grid="both")
            axes.tick_params(
                labelcolor=MUTED, labelleft=place % columns == 0, labelbottom=place + columns >= len(names)
            )
            if place % columns == 0:
                axes.set_ylabel("right")
        figure.text(0.5 / width, 0.27 / height, "confidence", color=MUTED)
        figure.text(0.5 / width, 0.06 / height, "□ as it is", color=SECOND)
        figure.text((0.65 + 12 * LETTER) / width, 0.06 / height, "● calibrated", color=FIRST)
        return drawing(figure, f"Reliability. {'; '.join(said)}", prefix)


def coverage_curve(table: pd.DataFrame, names: Sequence[str], threshold: float, prefix: str) -> str:
    """Accuracy of the answers against the share that is answered, a small diagram per system.

    Args:
        table: as ``coverage.csv``.
        names: systems, in their order.
        threshold: is marked by a ring.
        prefix: makes its ids unique in the page.
    """
    lines = math.ceil(len(names) / PER_ROW)
    columns = math.ceil(len(names) / lines)
    with matplotlib.rc_context(STYLE):
        width, height = 0.55 + 1.65 * columns, 0.4 + 1.85 * lines
        figure = Figure(figsize=(width, height))
        figure.subplots_adjust(
            left=0.5 / width, right=1 - 0.12 / width, top=1 - 0.25 / height, bottom=0.47 / height,
            wspace=0.22, hspace=0.3,
        )  # fmt: skip
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        said = []
        for place, axes in enumerate(grid.ravel()):
            if place >= len(names):
                axes.set_visible(False)
                continue
            own = table[table["experiment"] == names[place]]
            numbers = own[["threshold", "answered", "accuracy"]].apply(pd.to_numeric, errors="coerce")
            known = numbers[numbers["accuracy"].notna() & (numbers["answered"] > 0)].sort_values("threshold")
            axes.plot(known["answered"], known["accuracy"], color=FIRST, linewidth=1.5, solid_capstyle="round")
            at = _at(own, threshold)
            if not math.isnan(at["accuracy"]):
                axes.axhline(at["all"], color=RULE, linewidth=1.0, zorder=1)
                axes.plot(
                    at["answered"], at["accuracy"], "o", color=SECOND, markerfacecolor="none", markersize=7,
                    markeredgewidth=1.6, clip_on=False, zorder=4,
                )  # fmt: skip
                right = at["answered"] < 0.55
                axes.annotate(
                    f"{100 * at['accuracy']:.0f} %", (at["answered"], at["accuracy"]), textcoords="offset points",
                    xytext=(7 if right else -7, 6 if at["accuracy"] < 0.9 else -11), color=INK, fontsize=7.5,
                    ha="left" if right else "right",
                )  # fmt: skip
                said.append(
                    f"{names[place]} answers {100 * at['answered']:.0f} % of the clips at threshold {threshold:g} and "
                    f"is right in {100 * at['accuracy']:.0f} % of those; {100 * at['all']:.0f} % where it answers all"
                )
            else:
                said.append(f"{names[place]} answers no clip at threshold {threshold:g}")
            axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.04))
            axes.set_xticks(SHARES, SHARE_NAMES)
            axes.set_yticks(SHARES, SHARE_NAMES)
            axes.set_title(short(names[place]), loc="left", fontsize=8, fontweight="bold")
            plain_axes(axes, grid="both")
            axes.tick_params(
                labelcolor=MUTED, labelleft=place % columns == 0, labelbottom=place + columns >= len(names)
            )
            if place % columns == 0:
                axes.set_ylabel("right, of those")
        figure.text(0.5 / width, 0.09 / height, "share of clips that is answered", color=MUTED)
        return drawing(figure, f"Coverage and accuracy. {'; '.join(said)}", prefix)
