"""Section "Action units": F1 of each unit and their means, by every system that recognises units."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from merflow.datasets.registry import LAYOUTS
from merflow.evaluation.action_units import DATASETS, UNIT
from merflow.evaluation.published import published
from merflow.report.report_data import ReportData
from merflow.report.section import Drawing, Section, as_csv
from merflow.report.settings import ExperimentSettings
from merflow.report.svg import FIRST, INK, SECOND, SHARE_NAMES, SHARES, make_axes, page_svg, plain_axes
from merflow.report.systems import Estimate, as_estimate
from merflow.storage.tables import METRICS, read_table

TITLES = {"f1": "F1", "macro_f1": "macro F1"}
MEANS = {"pooled": "mean of units", DATASETS: "mean of datasets"}
PUBLISHED = "units-six-datasets-methods"
"""Table of published numbers: leave one of six datasets out, twelve units."""
NOTHING = Estimate(np.nan)


@dataclass(frozen=True)
class UnitResult:
    """A system: its scores by scope and metric, and the number of clips of each scope."""

    name: str
    settings: ExperimentSettings
    protocol: str
    repeats: int
    n_subjects: int
    scores: Mapping[str, Mapping[str, Estimate]]
    clips: Mapping[str, int]

    @property
    def units(self) -> list[str]:
        """The units, in order."""
        return [scope.removeprefix(UNIT) for scope in self.scores if scope.startswith(UNIT)]

    @property
    def datasets(self) -> list[str]:
        """The datasets that are scored, if there are several."""
        return [
            scope.removeprefix("dataset:") for scope in self.scores if scope.startswith("dataset:") and "/" not in scope
        ]

    def score(self, scope: str, metric: str) -> Estimate:
        """The score of a scope; NaN if it has none."""
        return self.scores.get(scope, {}).get(metric, NOTHING)


def content(report: ReportData) -> dict[str, Any] | None:
    """Values of ``action_units.html.j2``; None if no experiment recognises units."""
    metrics = read_table(report.tables["metrics"], METRICS)
    results = [
        _result(str(name), rows, report.settings.experiments[str(name)])
        for name, rows in metrics.groupby("experiment", sort=False)
        if report.settings.experiments[str(name)].coded
    ]
    if not results:
        return None
    results.sort(key=lambda result: result.settings.floor)
    floors = [result for result in results if result.settings.system == "all-ones"]
    shown = [result for result in results if not result.settings.floor] or results
    coded = {dataset: counts for result in results for dataset, counts in result.settings.coded.items()}
    real = not any(LAYOUTS[report.settings.layouts[dataset]].synthetic for dataset in coded)
    compared = real and any(result.protocol == "cross-dataset" for result in results)
    return {
        "results": results,
        "groups": _groups(results),
        "coded": coded,
        "metrics": TITLES,
        "means": MEANS,
        "drawings": [_bars(result, _floor(result, floors)) for result in shown],
        "published": _published() if compared else [],
    }


def _result(name: str, rows: pd.DataFrame, settings: ExperimentSettings) -> UnitResult:
    scores: dict[str, dict[str, Estimate]] = {}
    for row in rows.to_dict("records"):
        scores.setdefault(row["scope"], {})[row["metric"]] = as_estimate(row)
    clips = dict(zip(rows["scope"], rows["n_clips"].astype(int), strict=True))
    first = rows.iloc[0]
    return UnitResult(name, settings, first["protocol"], int(first["repeats"]), int(first["n_subjects"]), scores, clips)


def _groups(results: list[UnitResult]) -> list[list[UnitResult]]:
    """The systems that answer the same units on the same datasets and by the same protocol."""
    groups: dict[Any, list[UnitResult]] = {}
    for result in results:
        groups.setdefault((*result.units, *result.settings.datasets, result.protocol), []).append(result)
    return list(groups.values())


def _floor(result: UnitResult, floors: list[UnitResult]) -> UnitResult | None:
    """The all-ones floor of a system's clips."""
    return next((floor for group in _groups([result, *floors]) if result in group for floor in group[1:]), None)


def _bars(result: UnitResult, floor: UnitResult | None) -> Drawing:
    """Binary F1 of each unit with its interval, and that of the all-ones floor."""
    rows: list[dict[str, Any]] = []
    for unit in result.units:
        ours = result.score(UNIT + unit, "f1")
        rows.append(
            {"unit": unit, "clips": result.clips[UNIT + unit], "f1": ours.value, "ci_low": ours.low}
            | {"ci_high": ours.high, "all_ones": (floor.score(UNIT + unit, "f1") if floor else NOTHING).value}
        )
    figure, (axes,) = make_axes(4.2, 0.1 + 0.24 * len(rows))
    for y, row in enumerate(rows):
        axes.barh(y, row["f1"], height=0.6, color=FIRST, alpha=0.55, linewidth=0)
        axes.plot([row["ci_low"], row["ci_high"]], [y, y], color=INK, linewidth=1.2)
        axes.plot(row["all_ones"], y, "|", color=SECOND, markersize=12, markeredgewidth=1.8)
    axes.set_yticks(range(len(rows)), [f"{row['unit']} ({row['clips']})" for row in rows])
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(SHARES, SHARE_NAMES)
    plain_axes(axes)
    description = "; ".join(f"{row['unit']} {row['f1']:.3f}" for row in rows)
    svg = page_svg(figure, f"F1 of each unit by {result.name}: {description}", f"units-{result.name}")
    caption = f"{result.name}: F1 of each unit (clips that show it), 95 % intervals; upright marks: all ones."
    return Drawing(f"units-{result.name}", svg, as_csv(rows, list(rows[0])), f"Action units by {result.name}", caption)


def _published() -> list[dict[str, Any]]:
    """Published systems: ``system, protocol, source, settings, caveat``, and ``values`` by scope and metric.

    ``settings`` is the start of the caveat, which is about the system alone.
    """
    systems: dict[str, dict[str, Any]] = {}
    for (table, system, scope, metric), number in published().items():
        if table == PUBLISHED:
            settings, _, caveat = number["caveat"].partition("; ")
            entry = systems.setdefault(system, number | {"settings": settings, "caveat": caveat, "values": {}})
            entry["values"][scope, metric] = Estimate(number["value"])
    return list(systems.values())


SECTION = Section("action_units", "Action units", content)
