"""Tables of variants: one experiment with some of its settings varied, as in Tables IV to VII of the TSDGCN paper.

Every cell is trained and tested by itself, under the protocol of its experiment. All cells are shown: to quote the best
of them as a result would be to choose on test data.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from merflow.evaluation.evaluate import evaluate, merge
from merflow.evaluation.published import published
from merflow.evaluation.settings import EvaluationSettings
from merflow.storage.files import digest, scratch_folder
from merflow.storage.tables import GRID, METRICS, PREDICTIONS, read_table, write_table
from merflow.systems.tsdgcn.finetune import Task, answer
from merflow.systems.tsdgcn.pretrain import outcome

log = logging.getLogger(__name__)


def run_table(cells: Sequence[Mapping[str, Any]], output: Path, predictions: Path, *, paper: str | None = None) -> None:
    """Train and test every cell of a table.

    Args:
        cells: of each ``row, column`` (names), ``settings`` and ``features`` (as of
            :func:`merflow.systems.tsdgcn.finetune.finetune`) and ``weights`` (files of its pre-trained networks).
        output: table: see :data:`merflow.storage.tables.GRID`; a row per cell and metric (accuracy, uf1, uar on test
            clips with 95 % intervals over subjects; accuracy_finetune on training clips; accuracy_pretrain on macro
            images), with what the paper printed.
        predictions: table of all predictions; ``experiment`` is ``row | column``.
        paper: table of the published numbers, such as ``tsdgcn-mmew-focal``.
    """
    rows: dict[int, list[dict[str, Any]]] = {}
    with scratch_folder(output) as folder:
        answers = [Path(folder, f"{number}.csv") for number in range(len(cells))]
        groups = _alike(cells)
        tasks = [
            Task(cells[own[0]]["features"], cells[own[0]]["settings"], [cells[n]["settings"]["loss"] for n in own])
            for own in groups
        ]
        for group, found in zip(groups, answer(tasks), strict=True):
            for number, own in zip(group, found, strict=True):
                cell, metrics = cells[number], Path(folder, f"{number}-metrics.csv")
                name = " | ".join(filter(None, (cell["row"], cell["column"])))
                write_table([row | {"experiment": name} for row in own.predictions], answers[number], PREDICTIONS)
                settings = {key: cell["settings"][key] for key in ("protocol", "classes")}
                evaluate(answers[number], metrics, EvaluationSettings(name, **settings))
                figures = _figures(metrics, own.accuracy_train, cell["weights"])
                rows[number] = [_row(cell, metric, value, paper) for metric, value in figures.items()]
                log.info("cell %d of %d: %s", len(rows), len(cells), name)
        merge(answers, predictions)
    write_table([row for number in range(len(cells)) for row in rows[number]], output, GRID)


def _row(cell: Mapping[str, Any], metric: str, value: Mapping[str, float], paper: str | None) -> dict[str, Any]:
    """A row of the table: our figure, and the paper's beside it."""
    printed = published().get((paper or "", cell["row"], cell["column"], metric), {})
    names = {"row": cell["row"], "column": cell["column"], "metric": metric}
    return names | dict(value) | {"published": printed.get("value", ""), "caveat": printed.get("caveat", "")}


def _alike(cells: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Numbers of the cells, those together that differ in nothing but the loss."""
    groups: dict[str, list[int]] = {}
    for number, cell in enumerate(cells):
        settings = {key: value for key, value in cell["settings"].items() if key not in ("loss", "experiment")}
        groups.setdefault(digest(sorted(settings.items()), sorted(cell["features"].items())), []).append(number)
    return list(groups.values())


def _figures(
    metrics: Path, trained: Sequence[Mapping[str, Any]], weights: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Figures of one cell by metric: ``value, ci_low, ci_high, n_clips``."""
    table = read_table(metrics, METRICS)
    pooled = table[table["scope"] == "pooled"]
    found = {
        row["metric"]: {name: row[name] for name in ("value", "ci_low", "ci_high", "n_clips")}
        for row in pooled.to_dict("records")
    }
    accuracies, counts = ([row[name] for row in trained] for name in ("accuracy", "n"))
    found["accuracy_finetune"] = {"value": float(np.average(accuracies, weights=counts))}
    reached = pd.DataFrame([outcome(Path(file)) for file in dict.fromkeys(weights)])
    found["accuracy_pretrain"] = {"value": float(reached["accuracy_train"].mean())}
    return found
