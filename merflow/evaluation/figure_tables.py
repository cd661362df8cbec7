"""The table behind each figure of a study: our numbers beside published ones, by kind of figure.

Kinds (columns in :data:`merflow.storage.tables.COMPARISON`): published methods (Table II of the TSDGCN paper), stages
(Table III), tables of variants (Tables IV to VII), confusion matrices (Figures 6 and 7) and flow statistics (Figure 8).
"""

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from merflow.datasets.registry import database_names, plain_database
from merflow.evaluation.flow_statistics import flow_statistics
from merflow.evaluation.metrics import OVERALL, subject_counts
from merflow.evaluation.published import differs, published
from merflow.evaluation.settings import FigureExperiment, FigureSettings
from merflow.storage import tables

log = logging.getLogger(__name__)


def tabulate_figure(inputs: Mapping[str, Any], output: Path, settings: FigureSettings) -> None:
    """Write the table behind a figure.

    Args:
        inputs: the files that the kind needs: ``metrics, accuracy, predictions`` (tables of the study), ``table`` (of
            variants) or ``caches``.
        output: CSV with the columns :data:`merflow.storage.tables.COMPARISON`, or
            :data:`merflow.storage.tables.FLOW_STATISTICS` for flow statistics.
        settings: of the figure.
    """
    if settings.flow_labels:
        caches = [Path(file) for file in inputs["caches"]]
        tables.write_table(flow_statistics(caches, settings.flow_labels), output, tables.FLOW_STATISTICS)
        return
    table, experiments = settings.published, settings.experiments
    if settings.kind == "variants":
        rows = compare_variants(tables.read_table(inputs["table"], tables.GRID), table)
    else:
        metrics = tables.read_table(inputs["metrics"], tables.METRICS)
        if settings.kind == "methods":
            rows = compare_methods(metrics, experiments, table)
        elif settings.kind == "stages":
            accuracy = tables.read_table(inputs["accuracy"], tables.ACCURACY_TRAIN)
            rows = compare_stages(metrics, accuracy, experiments, table)
        else:
            predictions = tables.read_table(inputs["predictions"], tables.PREDICTIONS)
            rows = compare_confusion(predictions, metrics, experiments, table)
    tables.write_table([row | {"tried": settings.tried} for row in rows], output, tables.COMPARISON)


def compare_variants(variants: pd.DataFrame, table: str | None) -> list[dict[str, Any]]:
    """A table of variants (:data:`merflow.storage.tables.GRID`) beside the published table of the name ``table``."""
    names = ("row", "column", "metric", "value", "ci_low", "ci_high", "n_clips")
    rows = [{name: row[name] for name in names} for row in variants.to_dict("records")]
    return [_beside(row, published().get((table or "", row["row"], row["column"], row["metric"]))) for row in rows]


def compare_methods(
    metrics: pd.DataFrame, experiments: Mapping[str, FigureExperiment], table: str | None
) -> list[dict[str, Any]]:
    """Our experiments and published methods, by the metrics of the published table; our rows have a ``protocol``.

    ``column`` is the database of a composite on whose clips the number was measured; empty for all clips. An experiment
    without a database has no row for it. The published row with the name of its system stands beside each experiment.
    Without a published ``table``: our accuracy, UF1 and UAR alone.
    """
    rows = []
    wanted = dict.fromkeys((column, metric) for name, _, column, metric in published() if name == table)
    for column, metric in wanted or [("", metric) for metric in OVERALL]:
        for name, experiment in experiments.items():
            scope = _scope(metrics, name, column)
            if scope is None:
                log.warning("%s has no clips of %s, so it has no row beside the published numbers", name, column)
                continue
            row = {"row": name, "column": column, **_test_metric(metrics, name, metric, scope)}
            rows.append(_beside(row, _published_of_system(table, experiment.system, metric)))
    return rows + list(_published_rows(table))


def compare_stages(
    metrics: pd.DataFrame, accuracy: pd.DataFrame, experiments: Mapping[str, FigureExperiment], table: str | None
) -> list[dict[str, Any]]:
    """Recognition rates of pre-training, fine-tuning and testing, of our experiments and as published.

    ``column`` is the source of a stage's data. An experiment without pre-training, or that pre-trains inside its folds,
    has no row of pre-training.
    """
    rows = []
    for name, experiment in experiments.items():
        trained = accuracy[accuracy["experiment"] == name]
        pretrained, finetuned = (trained[trained["stage"] == stage] for stage in ("pretrain", "finetune"))
        micro = " + ".join(experiment.micro)
        stages: list[dict[str, Any]] = []
        if len(pretrained):
            value = float(pretrained["accuracy"].mean())
            stages.append({"column": experiment.macro, "metric": "accuracy_pretrain", "value": value})
        if len(finetuned):
            value = float(np.average(finetuned["accuracy"], weights=finetuned["n"]))
            stages.append({"column": micro, "metric": "accuracy_finetune", "value": value})
        stages.append({"column": micro, **_test_metric(metrics, name)})
        for stage in stages:
            rows.append(_beside({"row": name} | stage, _published_of_system(table, experiment.system, stage["metric"])))
    return rows + list(_published_rows(table))


def compare_confusion(
    predictions: pd.DataFrame, metrics: pd.DataFrame, experiments: Mapping[str, FigureExperiment], table: str | None
) -> list[dict[str, Any]]:
    """Confusion matrices: ``row`` is the true class, ``column`` the predicted one, ``value`` the share of the true one.

    Each row has its ``experiment`` and ``count`` (clips, over all repeats). A rate on the diagonal is a recall and has
    its interval.
    """
    rows = []
    for name, experiment in experiments.items():
        counts = subject_counts(predictions[predictions["experiment"] == name], experiment.classes).sum((0, 1))
        recalls = metrics[(metrics["experiment"] == name) & (metrics["metric"] == "recall")].set_index("scope")
        for truth, line in zip(experiment.classes, counts, strict=True):
            for answer, count in zip(experiment.classes, line, strict=True):
                row = {"experiment": name, "row": truth, "column": answer, "metric": "rate", "count": int(count)}
                row |= {"value": count / line.sum() if line.sum() else math.nan, "n_clips": int(line.sum())}
                if truth == answer and f"class:{truth}" in recalls.index:
                    row |= {bound: recalls.loc[f"class:{truth}", bound] for bound in ("ci_low", "ci_high")}
                rows.append(_beside(row, published().get((table or "", truth, answer, "rate"))))
    return rows


def _scope(metrics: pd.DataFrame, experiment: str, database: str) -> str | None:
    """The scope of an experiment's metrics for a published column; None if it has no clips of that database."""
    if not database:
        return "pooled"
    names = database_names(database)
    for scope in metrics.loc[metrics["experiment"] == experiment, "scope"].astype(str):
        is_dataset = scope.startswith("dataset:") and tables.CLASS_SCOPE not in scope
        if is_dataset and plain_database(scope.removeprefix("dataset:")) in names:
            return scope
    return None


def _test_metric(
    metrics: pd.DataFrame, experiment: str, metric: str = "accuracy", scope: str = "pooled"
) -> dict[str, Any]:
    """A test metric of an experiment, with its interval and its protocol."""
    rows = metrics[(metrics["experiment"] == experiment) & (metrics["scope"] == scope)]
    row = rows[rows["metric"] == metric].iloc[0]
    return {name: row[name] for name in ("metric", "value", "ci_low", "ci_high", "n_clips", "protocol")}


def _published_of_system(table: str | None, system: str, metric: str) -> Mapping[str, Any] | None:
    """The published number of a system, by the system's name."""
    for (name, row, _, row_metric), number in published().items():
        if name == table and row.casefold() == system and row_metric == metric:
            return number
    return None


def _published_rows(table: str | None) -> Iterator[dict[str, Any]]:
    """Rows of a published table, without any number of ours."""
    for (name, row, column, metric), number in published().items():
        if name == table:
            names = {"row": row, "column": column, "metric": metric, "published": number["value"]}
            yield names | {key: number[key] for key in ("source", "caveat")}


def _beside(row: dict[str, Any], number: Mapping[str, Any] | None) -> dict[str, Any]:
    """A row of ours with the published number; entries of the ledger only if the two differ."""
    if number is None:
        return row
    value, low, high = (float(row.get(name, math.nan)) for name in ("value", "ci_low", "ci_high"))
    apart = differs(value, low, high, number["value"])
    row |= {"published": number["value"], "source": number["source"], "caveat": number["caveat"]}
    return row | {"differs": {True: "yes", False: "no", None: ""}[apart], "ledger": number["ledger"] if apart else ""}
