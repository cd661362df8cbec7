"""Results of each system of a study, from its tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from merflow.errors import InputError
from merflow.evaluation.metrics import fold_mean_f1, spread, subject_counts
from merflow.report.settings import ExperimentSettings, ReportSettings
from merflow.storage.tables import CLASS_SCOPE


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN where one is missing."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def negated(self) -> "Estimate":
        """The estimate of the negative value."""
        return Estimate(-self.value, -self.high, -self.low)


@dataclass(frozen=True)
class ClassResult:
    """Results of one class; ``clips`` counts its true clips."""

    name: str
    clips: int
    recall: Estimate
    precision: Estimate
    f1: Estimate


@dataclass(frozen=True)
class ClassResults:
    """Results by class of a system: on all of its clips, or on one of its datasets (``dataset``).

    ``confusion`` has the cells of each true class: clips of each predicted class, summed over folds and repeats, and
    their share of the true class (NaN without one).
    """

    system: str
    dataset: str
    repeats: int
    classes: Sequence[ClassResult]
    confusion: Mapping[str, Sequence[tuple[int, float]]]

    @property
    def absent(self) -> list[str]:
        """Classes without a true clip."""
        return [row.name for row in self.classes if not row.clips]


@dataclass(frozen=True)
class SystemResult:
    """Results of a system."""

    name: str
    settings: ExperimentSettings
    protocol: str
    metrics: Mapping[str, Estimate]  # accuracy, UF1 and UAR
    datasets: Mapping[str, Mapping[str, Estimate]]  # the same for each dataset, if there are several
    by_class: ClassResults
    parts: Sequence[ClassResults]  # the same for each dataset, if there are several
    n_clips: int  # scored clips
    n_subjects: int
    repeats: int
    spread: Mapping[str, float]  # standard deviation of each metric over the repeats; NaN for a single one
    fold_f1: float  # mean over folds of the macro F1
    chosen: Mapping[str, int]  # settings that nested selection chose, and the number of folds that chose them
    train_accuracy: float  # NaN if nothing was fine-tuned

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in order."""
        return [row.name for row in self.by_class.classes]

    @property
    def floor(self) -> bool:
        """Whether it is a floor, that is, a baseline."""
        return self.settings.floor

    @property
    def expected_clips(self) -> int:
        """Labelled clips of its datasets, processed or not."""
        return sum(count.indexed for count in self.settings.class_counts)

    @property
    def zero_width(self) -> bool:
        """Whether an interval has no width."""
        return any(estimate.low == estimate.high for estimate in self.metrics.values())


def system_results(
    settings: ReportSettings, metrics: pd.DataFrame, predictions: pd.DataFrame, accuracy_train: pd.DataFrame
) -> list[SystemResult]:
    """Results of every system that recognises classes, floors last.

    Raises:
        InputError: the metrics have no pooled row.
    """
    results = []
    for name, table in metrics.groupby("experiment", sort=False):
        system = str(name)
        if settings.experiments[system].coded:  # Its section is merflow.report.sections.action_units.
            continue
        scope = table["scope"]
        pooled = table[scope == "pooled"]
        if not len(pooled):
            continue
        classes = list(dict.fromkeys(s.removeprefix("class:") for s in scope if s.startswith("class:")))
        scopes = (s for s in scope if s.startswith("dataset:") and CLASS_SCOPE not in s)
        datasets = list(dict.fromkeys(s.removeprefix("dataset:") for s in scopes))
        datasets = datasets if len(datasets) > 1 else []
        rows = predictions[predictions["experiment"] == name]
        finetuned = accuracy_train[(accuracy_train["experiment"] == name) & (accuracy_train["stage"] == "finetune")]
        chosen = finetuned.loc[finetuned["chosen"].astype(str).ne(""), "chosen"]
        repeats = int(pooled["repeats"].iloc[0])
        results.append(
            SystemResult(
                name=system,
                settings=settings.experiments[system],
                protocol=pooled["protocol"].iloc[0],
                metrics=_estimates(pooled),
                datasets={d: _estimates(table[scope == f"dataset:{d}"]) for d in datasets},
                by_class=_class_results(table, rows, classes),
                parts=[_class_results(table, rows[rows["dataset"] == d], classes, d) for d in datasets],
                n_clips=int(pooled["n_clips"].iloc[0]),
                n_subjects=int(pooled["n_subjects"].iloc[0]),
                repeats=repeats,
                spread=spread(rows, classes),
                fold_f1=fold_mean_f1(rows),
                chosen={str(choice): count for choice, count in chosen.value_counts().items()},
                train_accuracy=(
                    float(np.average(finetuned["accuracy"], weights=finetuned["n"])) if len(finetuned) else math.nan
                ),
            )
        )  # fmt: skip
    if metrics.empty:
        raise InputError("the study's metrics have no pooled row; nothing can be reported")
    return sorted(results, key=lambda result: result.floor)


def as_number(cell: Any) -> float:
    """A cell of a table as a number; NaN if it is empty."""
    return math.nan if cell is None or cell == "" else float(cell)


def as_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """A table of numbers; NaN where a cell is empty."""
    return pd.DataFrame({name: pd.to_numeric(table[name], errors="coerce") for name in table})


def as_estimate(row: Mapping[Any, Any], value: str = "value") -> Estimate:
    """The column ``value`` of a row with its interval in ``ci_low`` and ``ci_high``."""
    return Estimate(as_number(row[value]), as_number(row["ci_low"]), as_number(row["ci_high"]))


def _estimates(rows: pd.DataFrame) -> dict[str, Estimate]:
    return {row["metric"]: as_estimate(row) for row in rows.to_dict("records")}


def _class_results(
    metrics: pd.DataFrame, predictions: pd.DataFrame, classes: Sequence[str], dataset: str = ""
) -> ClassResults:
    """Results by class of one experiment, on all of its clips or on those of a dataset."""
    scope = f"dataset:{dataset}{CLASS_SCOPE}" if dataset else "class:"
    results = []
    for name in classes:
        rows = metrics[metrics["scope"] == scope + name]
        results.append(ClassResult(name, int(rows["n_clips"].iloc[0]), **_estimates(rows)))
    confusion = {}
    for name, counts in zip(classes, subject_counts(predictions, classes).sum((0, 1)).tolist(), strict=True):
        total = sum(counts)
        confusion[name] = [(count, count / total if total else math.nan) for count in counts]
    row = metrics.iloc[0]
    return ClassResults(str(row["experiment"]), dataset, int(row["repeats"]), results, confusion)


def best_uf1(systems: Sequence[SystemResult]) -> SystemResult:
    """The system with the highest UF1."""
    return max(systems, key=lambda system: np.nan_to_num(system.metrics["uf1"].value, nan=-1))
