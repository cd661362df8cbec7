"""Tables of variants: one experiment with some settings varied, as in Tables IV to VII of the TSDGCN paper.

Every cell is trained and tested by itself, under the protocol of its experiment. All cells are shown: to report the
best of them as a result would be to select on test data.
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
from merflow.storage.files import scratch_folder
from merflow.storage.tables import GRID, METRICS, PREDICTIONS, read_table, write_table
from merflow.systems.predictions import FoldResult
from merflow.systems.settings import CellSettings
from merflow.systems.tsdgcn.finetune import train_repeats
from merflow.systems.tsdgcn.pretrain import outcome

log = logging.getLogger(__name__)


def run_table(cells: Sequence[CellSettings], output: Path, predictions: Path, paper: str | None) -> None:
    """Train and test every cell of a table.

    Args:
        cells: the cells.
        output: table (:data:`merflow.storage.tables.GRID`), one row per cell and metric: accuracy, uf1 and uar on test
            clips with 95 % intervals over subjects, accuracy_finetune on training clips, accuracy_pretrain on macro
            images; with the published number.
        predictions: table of all predictions; ``experiment`` is ``row | column``.
        paper: table of the published numbers, such as ``tsdgcn-mmew-focal``.
    """
    rows = []
    with scratch_folder(output) as folder:
        tables = [Path(folder, f"{number}.csv") for number in range(len(cells))]
        for number, (cell, table) in enumerate(zip(cells, tables, strict=True), 1):
            name = " | ".join(filter(None, (cell.row, cell.column)))
            results = train_repeats(cell.features, cell.finetune)
            write_table([row for result in results for row in result.prediction_rows(name)], table, PREDICTIONS)
            metrics = Path(folder, "metrics.csv")
            evaluate(table, metrics, EvaluationSettings(name, cell.protocol, cell.finetune.clips.classes))
            for metric, figures in _figures(metrics, results, cell.weights).items():
                printed = published().get((paper or "", cell.row, cell.column, metric), {})
                paper_columns = {"published": printed.get("value", ""), "caveat": printed.get("caveat", "")}
                rows.append({"row": cell.row, "column": cell.column, "metric": metric, **figures, **paper_columns})
            log.info("cell %d of %d: %s", number, len(cells), name)
        merge(tables, predictions)
    write_table(rows, output, GRID)


def _figures(metrics: Path, results: Sequence[FoldResult], weights: Sequence[str]) -> dict[str, Mapping[str, float]]:
    """Return the figures of one cell by metric: ``value, ci_low, ci_high, n_clips``."""
    table = read_table(metrics, METRICS)
    columns = ["value", "ci_low", "ci_high", "n_clips"]
    pooled = table[table["scope"] == "pooled"].set_index("metric")[columns]
    figures: dict[Any, Any] = pooled.to_dict("index")
    accuracies, counts = [result.train_accuracy for result in results], [result.train_clips for result in results]
    figures["accuracy_finetune"] = {"value": float(np.average(accuracies, weights=counts))}
    outcomes = pd.DataFrame([outcome(Path(file)) for file in dict.fromkeys(weights)])
    figures["accuracy_pretrain"] = {"value": float(outcomes["accuracy_train"].mean())}
    return figures
