"""Section "Classes and confusion": results by class of every system, and its confusion matrix."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from merflow.report.formats import number
from merflow.report.report_data import ReportData
from merflow.report.section import Drawing, Section, as_csv, sheet_id
from merflow.report.svg import (
    FIRST,
    INK,
    LETTER,
    MUTED,
    SECOND,
    SHARE_NAMES,
    SHARES,
    STYLE,
    page_svg,
    plain_axes,
    short,
)
from merflow.report.systems import Estimate, SystemResult, as_number

MEASURES = {"recall": "Recall", "precision": "Precision", "f1": "F1"}
SYSTEMS = 8
"""Largest number of systems in a drawing; the tables have all."""


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``classes.html.j2``."""
    trained = [system for system in report.systems if not system.floor]
    floors = [system for system in report.systems if system.floor]
    return {
        "drawings": class_drawings(report.systems),
        "systems": trained or floors,
        "folded": floors if trained else [],
        "predictions": predictions_by_clip(report),
    }


def predictions_by_clip(report: ReportData) -> dict[str, Any]:
    """Every prediction, for the lists of clips behind the cells of the confusion matrices.

    Returns:
        ``clips``: [clip, subject, dataset, id of the subject's contact sheet]; ``systems``: ``name``, ``classes`` and
        ``rows``: [index in ``clips``, repeat, index of the true class, of the predicted class, and the probability of
        each class in thousandths, if there are probabilities].
    """
    titles = {files.dataset: files.title for files in reversed(report.datasets)}
    clips: dict[tuple[str, str, str], int] = {}
    systems = []
    for system in report.systems:
        index = {name: place for place, name in enumerate(system.classes)}
        rows = []
        table = report.predictions[report.predictions["experiment"] == system.name]
        for row in table.to_dict("records"):
            clip = clips.setdefault((str(row["clip"]), str(row["subject"]), str(row["dataset"])), len(clips))
            probs = [as_number(row.get(f"p_{name}")) for name in system.classes]
            thousandths = [] if any(map(math.isnan, probs)) else [round(1000 * p) for p in probs]
            truth, predicted = index[str(row["truth"])], index[str(row["predicted"])]
            rows.append([clip, int(row["repeat"]), truth, predicted, *thousandths])
        systems.append({"name": system.name, "classes": system.classes, "rows": rows})
    named = [[clip, subject, data, sheet_id(titles.get(data, data), subject)] for clip, subject, data in clips]
    return {"clips": named, "systems": systems}


def class_drawings(systems: Sequence[SystemResult]) -> list[Drawing]:
    """Drawings of recall, precision and F1 of each class, one for every set of classes."""
    groups: dict[tuple[str, ...], list[SystemResult]] = {}
    for system in systems:
        groups.setdefault(tuple(system.classes), []).append(system)
    drawings = []
    for place, (classes, group) in enumerate(groups.items()):
        rows = []
        for system in group:
            for result in system.by_class.classes:
                for measure in MEASURES:
                    estimate: Estimate = getattr(result, measure)
                    rows.append({"experiment": system.name, "class": result.name, "metric": measure}
                                | {"value": estimate.value, "ci_low": estimate.low, "ci_high": estimate.high}
                                | {"n_clips": result.clips})  # fmt: skip
        fewer = f" The first {SYSTEMS} of {len(group)} systems are drawn." if len(group) > SYSTEMS else ""
        drawings.append(
            Drawing(
                f"classes{place + 1 if place else ''}",
                _bars_svg(classes, group[:SYSTEMS], f"class-bars{place}"),
                as_csv(rows, ["experiment", "class", "metric", "value", "ci_low", "ci_high", "n_clips"]),
                "Recall, precision and F1 of each class",
                "Recall, precision and F1 of each class. Lines: 95 % intervals over subjects. Filled: trained systems. "
                f"Hollow: floors.{fewer}",
            )
        )
    return drawings


def _bars_svg(classes: Sequence[str], systems: Sequence[SystemResult], prefix: str) -> str:
    """Bars in three panels (recall, precision, F1); a group per class, a bar per system."""
    step = 0.155
    names = [short(system.name) for system in systems]
    lines = [(label, system) for label in classes for system in (None, *systems)]
    with matplotlib.rc_context(STYLE):
        longest = max(map(len, [*names, *(short(label) for label in classes)]))
        left, panel, gap = 0.15 + LETTER * longest, 1.4, 0.14
        width, height = left + 3 * panel + 2 * gap + 0.1, 0.27 + step * (len(lines) + 0.5) + 0.25
        figure = Figure(figsize=(width, height))
        description = []
        for column, (measure, title) in enumerate(MEASURES.items()):
            x = (left + column * (panel + gap)) / width
            axes = figure.add_axes((x, 0.25 / height, panel / width, step * (len(lines) + 0.5) / height))
            values: dict[str, list[str]] = {}
            for place, (label, system) in enumerate(lines):
                if system is None:
                    continue
                result = next(result for result in system.by_class.classes if result.name == label)
                estimate: Estimate = getattr(result, measure)
                if math.isnan(estimate.value):
                    axes.text(0.01, place, "–", color=MUTED, va="center", fontsize=7)
                    continue
                if system.floor:
                    axes.barh(place, estimate.value, height=0.72, linewidth=0.9, facecolor="none", edgecolor=SECOND)
                else:
                    axes.barh(place, estimate.value, height=0.72, linewidth=0, color=FIRST, alpha=0.5)
                if not math.isnan(estimate.low) and estimate.high > estimate.low:
                    colour = SECOND if system.floor else FIRST
                    ends = [estimate.low, estimate.high]
                    axes.plot(ends, [place, place], color=colour, linewidth=1.5, clip_on=False)
                values.setdefault(label, []).append(f"{system.name} {number(estimate.value, 2)}")
            description += [f"{title} of {label}: {', '.join(texts)}" for label, texts in values.items()]
            axes.set(xlim=(0, 1), ylim=(len(lines) - 0.25, -0.75))
            axes.set_xticks(SHARES, SHARE_NAMES)
            axes.set_yticks([])
            axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
            plain_axes(axes)
            if column:
                continue
            for place, (label, system) in enumerate(lines):
                text, weight = (short(label), "bold") if system is None else (short(system.name), "normal")
                colour = MUTED if system and system.floor else INK
                axes.text(-0.05, place, text, ha="right", va="center", fontsize=7.5, fontweight=weight, color=colour)
        return page_svg(figure, f"Results by class. {'; '.join(description)}", prefix)


SECTION = Section("classes", "Classes and confusion", content)
