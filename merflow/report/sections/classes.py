"""Section "Classes and confusion": results by class of every system, and its confusion matrix."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np

from merflow.report.formats import number
from merflow.report.report_data import ReportData
from merflow.report.section import Drawing, Section, as_csv, sheet_id
from merflow.report.svg import FIRST, MUTED, SECOND, SHARE_NAMES, SHARES, STYLE, make_axes, page_svg, plain_axes, short
from merflow.report.systems import Estimate, SystemResult, as_number

COLUMNS = ["experiment", "class", "metric", "value", "ci_low", "ci_high", "n_clips"]
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
                    values = [estimate.value, estimate.low, estimate.high]
                    rows.append([system.name, result.name, measure, *values, result.clips])
        fewer = f" The first {SYSTEMS} of {len(group)} systems are drawn." if len(group) > SYSTEMS else ""
        drawings.append(
            Drawing(
                f"classes{place + 1 if place else ''}",
                _bars_svg(classes, group[:SYSTEMS], f"class-bars{place}"),
                as_csv(rows, COLUMNS),
                "Recall, precision and F1 of each class",
                "Recall, precision and F1 of each class. Lines: 95 % intervals over subjects. Filled: trained systems. "
                f"Hollow: floors.{fewer}",
            )
        )
    return drawings


def _bars_svg(classes: Sequence[str], systems: Sequence[SystemResult], prefix: str) -> str:
    """Bars in three panels (recall, precision, F1); a group per class, a bar per system."""
    names = [short(name) for label in classes for name in (label, *(system.name for system in systems))]
    rows = len(names)
    with matplotlib.rc_context(STYLE):
        figure, panels = make_axes(4.5, 0.155 * (rows + 0.5), columns=3, sharey=True, wspace=0.1)
        description = []
        for axes, (measure, title) in zip(panels, MEASURES.items(), strict=True):
            for offset, system in enumerate(systems, start=1):
                estimates = [getattr(result, measure) for result in system.by_class.classes]
                places = offset + np.arange(len(classes)) * (len(systems) + 1)
                values, low, high = np.array([[e.value, e.low, e.high] for e in estimates]).T
                colour = SECOND if system.floor else FIRST
                look = {"facecolor": "none", "linewidth": 0.9} if system.floor else {"alpha": 0.5, "linewidth": 0}
                axes.barh(places, values, height=0.72, edgecolor=colour, **({"color": colour} | look))
                axes.hlines(places, low, high, color=colour, linewidth=1.5)
                for place in places[np.isnan(values)]:
                    axes.text(0.01, place, "–", color=MUTED, va="center", fontsize=7)
                texts = [f"{label} {number(e.value, 2)}" for label, e in zip(classes, estimates, strict=True)]
                description.append(f"{title} of {system.name}: {', '.join(texts)}")
            axes.set(xlim=(0, 1), ylim=(rows - 0.25, -0.75))
            axes.set_xticks(SHARES, SHARE_NAMES)
            axes.set_yticks(range(rows), names, fontsize=7.5)
            axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
            plain_axes(axes)
        for label in panels[0].get_yticklabels()[:: len(systems) + 1]:
            label.set_fontweight("bold")
        return page_svg(figure, f"Results by class. {'; '.join(description)}", prefix)


SECTION = Section("classes", "Classes and confusion", content)
