"""Section "Answer": the best system, its difference from the best floor, and published numbers beside it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from merflow.datasets.labels import published_as, similar_word
from merflow.datasets.registry import LAYOUTS
from merflow.datasets.synthetic.annotated import ceilings, rows_of
from merflow.evaluation.metrics import LEVEL, OVERALL
from merflow.evaluation.published import CHOSEN_ON_TEST, differs, published
from merflow.evaluation.significance import smallest_corrected_p
from merflow.report.report_data import ReportData
from merflow.report.section import Section
from merflow.report.sections.audit import audited_experiments
from merflow.report.sections.differences import system_pairs
from merflow.report.systems import Estimate, SystemResult, best_uf1
from merflow.storage.tables import QUALITY, read_table


@dataclass(frozen=True)
class FloorComparison:
    """The best floor on the same clips as a system."""

    floor: SystemResult
    difference: Mapping[str, Estimate]  # system minus floor for each metric
    verdict: str  # above, below (both by more than chance, after correction), unclear, or empty if there is no interval
    too_few: int  # number of people, if no difference can be real with so few; otherwise 0


@dataclass(frozen=True)
class PublishedMethod:
    """A published system: its results, and what a reader must know to compare them."""

    system: str
    protocol: str
    source: str
    values: dict[str, float]
    caveats: list[str]

    @property
    def chosen_on_test(self) -> bool:
        """Whether its epoch is known to have been chosen on the test clips."""
        return any(caveat.startswith(CHOSEN_ON_TEST) for caveat in self.caveats)


@dataclass(frozen=True)
class PublishedResults:
    """Published results on the clips and classes of a system."""

    dataset: str  # its name in ``published.csv``
    metrics: Sequence[str]
    methods: Sequence[PublishedMethod]
    best: Mapping[str, PublishedMethod]  # the highest value by metric, of epochs not known to be chosen on test clips
    same: PublishedMethod | None  # the published row of our own system
    outside: Mapping[str, bool]  # whether a value of that row lies outside our interval, by metric


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``answer.html.j2``."""
    systems = [system for system in report.systems if not system.floor]
    main = best_uf1(systems)
    leaks = {audited.name for audited in audited_experiments(report) if audited.leaks}
    return {
        "main": main,
        "left_out": left_out(main, report),
        "compared": len(systems),
        "comparison": compare_with_floors(main, report),
        "floors": [system for system in report.systems if system.floor],
        "seen": main.protocol == "paper-holdout" or main.name in leaks,
        "synthetic_clips": all(LAYOUTS[report.settings.layouts[name]].synthetic for name in main.settings.datasets),
        "annotated": annotated(main, report),
        "ceilings": annotated_ceilings(main, report),
        "synthetic_datasets": [files.title for files in report.datasets if files.synthetic],
        "published": published_results(main, report.settings.layouts),
        "single": {} if main.protocol == "paper-holdout" else classes_of_one_person(main, report),
    }


def annotated(main: SystemResult, report: ReportData) -> bool:
    """Whether all clips of a system show drawn people who act as annotated ones do."""
    drawn = all(LAYOUTS[report.settings.layouts[name]].synthetic for name in main.settings.datasets)
    return drawn and report.settings.config.get("demo", {}).get("repertoire") == "annotated"


def annotated_ceilings(main: SystemResult, report: ReportData) -> tuple[float, float] | None:
    """UF1 that the true action units allow (:func:`ceilings`); None unless drawn people act as annotated ones do."""
    clips = {count.label: count.indexed for count in main.settings.class_counts if count.indexed}
    return ceilings(clips) if annotated(main, report) and all(map(rows_of, clips)) else None


def classes_of_one_person(main: SystemResult, report: ReportData) -> dict[str, tuple[str, str]]:
    """The person of each class that only one person shows, and the class that was probably meant (empty: unclear)."""
    rows = report.predictions[report.predictions["experiment"] == main.name]
    people = {str(label): list(group.unique()) for label, group in rows.groupby("truth")["subject"]}
    return {c: (str(p[0]), similar_word(c, main.classes)) for c, p in people.items() if len(p) == 1}


def left_out(main: SystemResult, report: ReportData) -> tuple[int, list[str]]:
    """The number of labelled clips of a system's datasets that no system could use, and people who have no other."""
    quality = pd.concat(
        read_table(files.quality, QUALITY) for files in report.datasets if files.dataset in main.settings.datasets
    )
    failed = quality[quality["status"].ne("ok") & quality["label"].isin(main.classes)]
    if main.protocol == "paper-holdout":  # It tests some of the usable clips only.
        return failed["clip"].nunique(), []
    predicted = report.predictions.loc[report.predictions["experiment"] == main.name, "subject"]
    return main.expected_clips - main.n_clips, sorted(set(failed["subject"]) - set(predicted))


def compare_with_floors(main: SystemResult, report: ReportData) -> FloorComparison | None:
    """The comparison with the best floor on the same clips (``differences.csv``); None if there is none."""
    pairs = system_pairs(report)
    compared = {name: p for p in pairs for name in (p.first, p.second) if main.name in (p.first, p.second)}
    floors = [s for s in report.systems if s.floor and s.name in compared]
    if not floors:
        return None
    floor = best_uf1(floors)
    pair = compared[floor.name]
    difference = {m: d.estimate if pair.first == main.name else d.estimate.negated for m, d in pair.metrics.items()}
    gain, real = difference["uf1"], pair.metrics["uf1"].real
    verdict = "" if math.isnan(gain.low) else "unclear" if not real else "above" if gain.value > 0 else "below"
    possible = smallest_corrected_p([pair.n_subjects for pair in pairs]).get(pair.n_subjects, 1.0)
    return FloorComparison(floor, difference, verdict, pair.n_subjects if possible >= 1 - LEVEL else 0)


def published_results(main: SystemResult, layouts: Mapping[str, str]) -> PublishedResults | None:
    """Published test results on the clips and classes of a system; None if there are none."""
    dataset = published_as({layouts[name] for name in main.settings.datasets}, main.classes)
    methods: dict[str, PublishedMethod] = {}
    for (table, system, column, metric), number in published().items():
        if column or metric not in OVERALL or number["dataset"] != dataset or not table.endswith("-methods"):
            continue
        method = methods.setdefault(system, PublishedMethod(system, number["protocol"], number["source"], {}, []))
        method.values[metric] = number["value"]
        if number["caveat"] and number["caveat"] not in method.caveats:
            method.caveats.append(number["caveat"])
    if dataset is None or not methods:
        return None
    metrics = [metric for metric in OVERALL if any(metric in method.values for method in methods.values())]
    best = {}
    for metric in metrics:
        # A name in brackets marks a second reading of a number that another row has.
        rows = [m for m in methods.values() if metric in m.values and "[U" not in m.system and not m.chosen_on_test]
        best[metric] = max(rows, key=lambda method: method.values[metric])
    same = next((m for m in methods.values() if m.system.casefold() == main.settings.system.casefold()), None)
    outside = {}
    for metric, value in same.values.items() if same else ():
        ours = main.metrics[metric]
        outside[metric] = bool(differs(ours.value, ours.low, ours.high, value))
    return PublishedResults(dataset, metrics, list(methods.values()), best, same, outside)


SECTION = Section("answer", "Answer", content, badge=False)
