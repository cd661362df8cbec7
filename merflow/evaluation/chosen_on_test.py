"""What a network would have scored if its epoch had been chosen on the test clips: never a result.

Many published numbers are chosen like this, in one of two ways: one epoch for all folds, or the best one of each fold.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from merflow.evaluation.metrics import OVERALL, rates
from merflow.storage import tables

log = logging.getLogger(__name__)

CHOICES = ("one epoch", "an epoch of each fold")


class FoldEpochs(NamedTuple):
    """The kept answers of a fold: true classes ``[clips]``, answers ``[epochs, clips]`` after ``every`` epochs."""

    truth: np.ndarray
    answers: np.ndarray
    every: int

    def after(self, epoch: int) -> np.ndarray:
        """The answers after an epoch; the first ones before, and the last ones if the training has stopped."""
        return np.asarray(self.answers[np.clip(epoch // self.every, 1, len(self.answers)) - 1])

    @property
    def best(self) -> np.ndarray:
        """The answers after the epoch with the most right ones; of equal epochs, the first."""
        return np.asarray(self.answers[(self.answers == self.truth).sum(axis=1).argmax()])


def tabulate_chosen_on_test(
    epochs: Mapping[str, Path], metrics: Path, output: Path, classes: Mapping[str, Sequence[str]]
) -> None:
    """Write what the best epoch of each experiment would have scored, beside its result.

    Args:
        epochs: kept answers of each experiment (:data:`merflow.storage.tables.TEST_EPOCHS`).
        metrics: metrics of the study, with the results.
        output: CSV with the columns :data:`merflow.storage.tables.CHOSEN_ON_TEST`.
        classes: classes of each experiment, in order.

    Raises:
        InputError: a table is missing or lacks a column of its contract.
    """
    scored = tables.read_table(metrics, tables.METRICS)
    results = scored[scored["scope"] == "pooled"].set_index(["experiment", "metric"])["value"]
    rows: list[dict[str, Any]] = []
    for name, path in epochs.items():
        table = tables.read_table(path, tables.TEST_EPOCHS)
        if table.empty or table["answers"].eq("").any():
            log.warning("%s: a training stopped before its first kept epoch; it is left out", name)
            continue
        values = _mean_over_repeats(table, classes[name])
        for choice in CHOICES:
            for metric in OVERALL:
                row = {"experiment": name, "choice": choice, "metric": metric, "chosen_on_test": values[choice][metric]}
                rows.append(row | {"result": results[name, metric]})
    tables.write_table(rows, output, tables.CHOSEN_ON_TEST)


def _mean_over_repeats(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """The metrics of each choice, mean over repeats, each of which chooses for itself."""
    chosen = [_choose(list(_folds(rows, classes)), len(classes)) for _, rows in table.groupby("repeat")]
    return {
        choice: {metric: float(np.mean([values[choice][metric] for values in chosen])) for metric in OVERALL}
        for choice in CHOICES
    }


def _folds(table: pd.DataFrame, classes: Sequence[str]) -> Iterator[FoldEpochs]:
    for _, rows in table.groupby("fold"):
        truth = np.array([list(classes).index(label) for label in rows["truth"]])
        answers = np.array([text.split() for text in rows["answers"]], dtype=np.int64).T
        yield FoldEpochs(truth, answers, int(rows["every"].iloc[0]))


def _choose(folds: Sequence[FoldEpochs], classes: int) -> dict[str, dict[str, float]]:
    """The metrics of a repeat by each choice. The one epoch is the first of those with the highest UF1."""
    truth = np.concatenate([fold.truth for fold in folds])
    last = max(fold.every * len(fold.answers) for fold in folds)
    every_epoch = [np.concatenate([fold.after(epoch) for fold in folds]) for epoch in range(1, last + 1)]
    scores = [_score(truth, answers, classes) for answers in every_epoch]
    best_of_folds = np.concatenate([fold.best for fold in folds])
    return {CHOICES[0]: max(scores, key=lambda score: score["uf1"]), CHOICES[1]: _score(truth, best_of_folds, classes)}


def _score(truth: np.ndarray, answers: np.ndarray, classes: int) -> dict[str, float]:
    counts = np.bincount(classes * truth + answers, minlength=classes**2).reshape(classes, classes)
    values = rates(counts)
    return {metric: float(values[metric]) for metric in OVERALL}
