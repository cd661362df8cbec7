"""Our numbers beside published ones: where they differ, what could explain it, how many configurations were tried.

The tables made here (:data:`merflow.storage.tables.COMPARISON`) stand behind the figures of a study: published methods
(Table II of the TSDGCN paper), stages (Table III), tables of variants (Tables IV to VII), confusion (Figures 6 and 7).
"""

import csv
import logging
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from merflow.datasets.registry import database_names, plain_database
from merflow.evaluation.metrics import OVERALL, subject_counts
from merflow.protocols.variants import published
from merflow.storage.tables import CLASS_SCOPE

LEDGER = Path(__file__).parent / "ledger.csv"
"""The entries of docs/fidelity.md in a few words each: ``number, about``."""
ROUNDING = 0.0005
"""Half of the last digit that the paper prints, as a share."""
STAGES = {"accuracy_pretrain": "Pre-training", "accuracy_finetune": "Fine-tuning", "accuracy": "Testing"}
log = logging.getLogger(__name__)


@cache
def ledger() -> dict[int, str]:
    """What each entry of docs/fidelity.md is about, by its number."""
    with open(LEDGER, newline="", encoding="utf-8") as file:
        return {int(row["number"]): row["about"] for row in csv.DictReader(file)}


def entries(text: str) -> list[int]:
    """Numbers of entries, as the tables hold them: ``18 11 10``."""
    return [int(number) for number in text.split()]


def differs(value: float, low: float, high: float, printed: float) -> bool | None:
    """Whether a published number lies outside our interval or, where there is none, is another number.

    What rounding in print can do is no difference. None where there is nothing to compare.
    """
    if math.isnan(value) or math.isnan(printed):
        return None
    if math.isnan(low) or math.isnan(high):
        low = high = value
    return not low - ROUNDING - 1e-9 <= printed <= high + ROUNDING + 1e-9


def of_variants(table: pd.DataFrame, paper: str | None, tried: int) -> list[dict[str, Any]]:
    """A table of variants (:data:`merflow.storage.tables.GRID`) with what differs and why it may."""
    known = published()
    names = ("row", "column", "metric", "value", "ci_low", "ci_high", "n_clips")
    rows = [{name: row[name] for name in names} for row in table.to_dict("records")]
    return [_beside(row, known.get((paper or "", row["row"], row["column"], row["metric"])), tried) for row in rows]


def methods(
    metrics: pd.DataFrame, experiments: Mapping[str, Mapping[str, Any]], paper: str | None, tried: int
) -> list[dict[str, Any]]:
    """Published methods and our experiments, by the metrics of the published table; a row of ours has a ``protocol``.

    ``column`` is empty where all clips are scored, else the database of a composite whose clips are. An experiment has
    no row for a database that it lacks.

    Args:
        metrics: as of :data:`merflow.storage.tables.METRICS`.
        experiments: ours; of each its ``system``: the published row of that name stands beside it.
        paper: table of published numbers; None: our accuracy, UF1 and UAR alone.
        tried: configurations that the study trains.
    """
    rows = []
    asked = dict.fromkeys((column, metric) for table, _, column, metric in published() if table == paper)
    for column, metric in asked or [("", metric) for metric in OVERALL]:
        for name, experiment in experiments.items():
            scope = _scope(metrics, name, column)
            if scope is None:
                log.warning("%s has no clips of %s: nothing of it stands beside the published numbers", name, column)
                continue
            row = {"row": name, "column": column, **_tested(metrics, name, metric, scope)}
            rows.append(_beside(row, _of_system(paper, experiment["system"], metric), tried))
    return rows + [row | {"tried": tried} for row in _printed(paper)]


def stages(
    metrics: pd.DataFrame,
    accuracy: pd.DataFrame,
    experiments: Mapping[str, Mapping[str, Any]],
    paper: str | None,
    tried: int,
) -> list[dict[str, Any]]:
    """Recognition rates of pre-training, fine-tuning and testing, of our experiments and as published.

    ``column`` is the source of a stage's data. An experiment that pre-trains nothing, or within its folds, has no row
    of pre-training.

    Args:
        metrics: as of :data:`merflow.storage.tables.METRICS`.
        accuracy: as of :data:`merflow.storage.tables.ACCURACY_TRAIN`.
        experiments: ours; of each ``system``, ``macro`` and ``micro`` (names of datasets).
        paper: table of published numbers.
        tried: configurations that the study trains.
    """
    rows = []
    for name, experiment in experiments.items():
        trained = accuracy[accuracy["experiment"] == name]
        pretrained, tuned = (trained[trained["stage"] == stage] for stage in ("pretrain", "finetune"))
        micro = " + ".join(experiment["micro"])
        found: list[dict[str, Any]] = []
        if len(pretrained):
            value = float(pretrained["accuracy"].mean())
            found.append({"column": experiment["macro"], "metric": "accuracy_pretrain", "value": value})
        if len(tuned):
            value = float(np.average(tuned["accuracy"], weights=tuned["n"]))
            found.append({"column": micro, "metric": "accuracy_finetune", "value": value})
        found.append({"column": micro, **_tested(metrics, name)})
        for row in found:
            rows.append(_beside({"row": name} | row, _of_system(paper, experiment["system"], row["metric"]), tried))
    return rows + list(_printed(paper))


def confusion(
    predictions: pd.DataFrame,
    metrics: pd.DataFrame,
    experiments: Mapping[str, Mapping[str, Any]],
    paper: str | None,
    tried: int,
) -> list[dict[str, Any]]:
    """Confusion matrices: ``row`` is the true class, ``column`` the predicted one, ``value`` the share of the former.

    Each row has its ``experiment`` and ``count`` (clips, over all repeats); a rate on the diagonal is a recall, and has
    the interval of one.

    Args:
        predictions: as of :data:`merflow.storage.tables.PREDICTIONS`.
        metrics: as of :data:`merflow.storage.tables.METRICS`.
        experiments: ours; of each its ``classes``.
        paper: table of published rates.
        tried: configurations that the study trains.
    """
    known, rows = published(), []
    for name, experiment in experiments.items():
        classes = list(experiment["classes"])
        counts = subject_counts(predictions[predictions["experiment"] == name], classes).sum((0, 1))
        own = metrics[(metrics["experiment"] == name) & (metrics["metric"] == "recall")].set_index("scope")
        for truth, line in zip(classes, counts, strict=True):
            for answer, count in zip(classes, line, strict=True):
                row = {"experiment": name, "row": truth, "column": answer, "metric": "rate", "count": int(count)}
                row |= {"value": count / line.sum() if line.sum() else math.nan, "n_clips": int(line.sum())}
                if truth == answer and f"class:{truth}" in own.index:
                    row |= {bound: own.loc[f"class:{truth}", bound] for bound in ("ci_low", "ci_high")}
                rows.append(_beside(row, known.get((paper or "", truth, answer, "rate")), tried))
    return rows


def _scope(metrics: pd.DataFrame, experiment: str, part: str) -> str | None:
    """The scope of an experiment's metrics that a published column is about; None where it has no such clips."""
    if not part:
        return "pooled"
    names = database_names(part)
    scopes = dict.fromkeys(metrics.loc[metrics["experiment"] == experiment, "scope"].astype(str))
    own = (scope for scope in scopes if scope.startswith("dataset:") and CLASS_SCOPE not in scope)
    of = {scope: plain_database(scope.removeprefix("dataset:")) for scope in own}
    return next((scope for scope, name in of.items() if name in names), None)


def _tested(metrics: pd.DataFrame, experiment: str, metric: str = "accuracy", scope: str = "pooled") -> dict[str, Any]:
    """A test metric of an experiment, with its interval and its protocol."""
    own = metrics[(metrics["experiment"] == experiment) & (metrics["scope"] == scope)]
    row = own[own["metric"] == metric].iloc[0]
    return {name: row[name] for name in ("metric", "value", "ci_low", "ci_high", "n_clips", "protocol")}


def _of_system(paper: str | None, system: str, metric: str) -> Mapping[str, Any] | None:
    """What was published under a system's own name."""
    rows = (r for (t, row, _, m), r in published().items() if t == paper and row.casefold() == system and m == metric)
    return next(rows, None)


def _printed(paper: str | None) -> Iterator[dict[str, Any]]:
    """Rows of a published table, without anything of ours."""
    for (table, row, column, metric), known in published().items():
        if table == paper:
            names = {"row": row, "column": column, "metric": metric, "published": known["value"]}
            yield names | {name: known[name] for name in ("source", "caveat")}


def _beside(row: dict[str, Any], known: Mapping[str, Any] | None, tried: int) -> dict[str, Any]:
    """A row of ours with what was published; the ledger's entries only where the two differ."""
    row |= {"tried": tried}
    if known is None:
        return row
    numbers = (float(row.get(name, math.nan)) for name in ("value", "ci_low", "ci_high"))
    apart = differs(*numbers, known["value"])
    row |= {"published": known["value"], "source": known["source"], "caveat": known["caveat"]}
    return row | {"differs": {True: "yes", False: "no", None: ""}[apart], "ledger": known["ledger"] if apart else ""}
