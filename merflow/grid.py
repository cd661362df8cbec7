"""Tables of variants: one experiment with some of its settings varied, as in Tables IV to VII of the TSDGCN paper.

Every cell is trained and tested by itself, under the protocol of its experiment. All cells are shown: to quote the best
of them as a result would be to choose on test data.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from merflow.evaluate import evaluate, merge
from merflow.finetune import finetune
from merflow.pretrain import outcome
from merflow.tables import ACCURACY_TRAIN, GRID, METRICS, read_table, write_table
from merflow.variants import published

log = logging.getLogger(__name__)


def run_table(cells: Sequence[Mapping[str, Any]], output: Path, predictions: Path, *, paper: str | None = None) -> None:
    """Train and test every cell of a table.

    Args:
        cells: of each ``row, column`` (names), ``settings`` and ``features`` (as of :func:`merflow.finetune.finetune`)
            and ``weights`` (files of its pre-trained networks).
        output: table: see :data:`merflow.tables.GRID`; a row per cell and metric (accuracy, uf1, uar on test clips with
            95 % intervals over subjects; accuracy_finetune on training clips; accuracy_pretrain on macro images), with
            what the paper printed.
        predictions: table of all predictions; ``experiment`` is ``row | column``.
        paper: table of the published numbers, such as ``tsdgcn-mmew-IV``.
    """
    known, rows = published(), []
    with tempfile.TemporaryDirectory(dir=_folder(predictions)) as folder:
        answers = []
        for number, cell in enumerate(cells, 1):
            name = " | ".join(filter(None, (cell["row"], cell["column"])))
            files = [Path(folder, f"{number}-{kind}") for kind in ("predictions.csv", "accuracy.csv", "curves.csv")]
            settings = dict(cell["settings"]) | {"experiment": name}
            finetune(cell["features"], *files, settings)
            metrics = Path(folder, f"{number}-metrics.csv")
            evaluate(files[0], metrics, {name: settings[name] for name in ("experiment", "protocol", "classes")})
            answers.append(files[0])
            for metric, value in _figures(metrics, files[1], cell["weights"]).items():
                paper_row = known.get((paper or "", cell["row"], cell["column"], metric), {})
                rows.append(
                    {"row": cell["row"], "column": cell["column"], "metric": metric, **value}
                    | {key: paper_row.get(own, "") for key, own in (("published", "value"), ("caveat", "caveat"))}
                )
            log.info("cell %d of %d: %s", number, len(cells), name)
        merge(answers, predictions)
    write_table(rows, output, GRID)


def _folder(file: Path) -> Path:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    return Path(file).parent


def _figures(metrics: Path, accuracy: Path, weights: Sequence[str]) -> dict[str, dict[str, float]]:
    """Figures of one cell by metric: ``value, ci_low, ci_high, n_clips``."""
    table = read_table(metrics, METRICS)
    pooled = table[table["scope"] == "pooled"]
    found = {
        row["metric"]: {name: row[name] for name in ("value", "ci_low", "ci_high", "n_clips")}
        for row in pooled.to_dict("records")
    }
    trained = read_table(accuracy, ACCURACY_TRAIN)
    found["accuracy_finetune"] = {"value": float(np.average(trained["accuracy"], weights=trained["n"]))}
    reached = pd.DataFrame([outcome(Path(file)) for file in dict.fromkeys(weights)])
    found["accuracy_pretrain"] = {"value": float(reached["accuracy_train"].mean())}
    return found
