"""Selection of settings inside the training part of a fold, never on its test clips.

``fixed``: settings are fixed. ``nested``: a declared grid is searched inside each fold: its training part is divided by
subject into inner folds, every candidate predicts the clips that they leave out, and the best candidate trains for the
test. ``paper-tuning``: as ``fixed``, and the report shows the grid as a table of variants, as Tables IV and V of the
TSDGCN paper do (:mod:`merflow.systems.tsdgcn.variant_tables`); no cell of it becomes a result.

The epoch is chosen apart from them (``epoch_choice``): by subjects inside the training part, or it is fixed.
"""

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from merflow.errors import InputError
from merflow.protocols.folds import Fold, draw_folds
from merflow.protocols.settings import SelectionSettings
from merflow.protocols.variants import variant_label

log = logging.getLogger(__name__)

Predict = Callable[[Sequence[Fold], Sequence[tuple[int, ...]], Mapping[str, Any]], Iterable[np.ndarray]]
"""Trains on each of some folds, with a seed each and with some settings replaced (by dotted key).

Returns the probabilities of the test clips of each fold."""


def candidates(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the values of a grid, by dotted key; the last key varies fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def without_validation(fold: Fold) -> Fold:
    """Return the fold with its validation clips among its training clips."""
    return replace(fold, train=np.union1d(fold.train, fold.validation), validation=fold.validation[:0])


def inner_folds(
    fold: Fold, subjects: Sequence[str], labels: np.ndarray, count: int, *, validation: float, seed: tuple[int, ...]
) -> list[Fold]:
    """Divide the training and validation clips of a fold by subject into inner folds; test labels are not read.

    There are fewer than ``count`` inner folds if there are fewer subjects, or fewer clips of every class. Their test
    clips together are the training and validation clips of ``fold``.

    Raises:
        InputError: the training part has one subject, or one clip of each class.
    """
    inside = np.union1d(fold.train, fold.validation)
    people, inside_labels = np.asarray(subjects, dtype=str)[inside], labels[inside]
    count = min(count, len(np.unique(people)), int(np.unique(inside_labels, return_counts=True)[1].max(initial=0)))
    if count < 2:
        raise InputError(
            f"fold {fold.name}: no settings can be selected inside it, because its {len(inside)} training clips have "
            f"{len(np.unique(people))} subjects; choose selection: fixed"
        )
    draw = int(np.random.SeedSequence(seed).generate_state(1)[0])
    return [
        Fold(f"{fold.name}, inner {inner.name}", inside[inner.train], inside[inner.validation], inside[inner.test])
        for inner in draw_folds("subject-kfold", people, inside_labels, validation=validation, seed=draw, folds=count)
    ]


def select_settings(
    folds: Sequence[Fold],
    seeds: Sequence[tuple[int, ...]],
    subjects: Sequence[str],
    labels: np.ndarray,
    selection: SelectionSettings,
    predict: Predict,
) -> list[dict[str, Any]]:
    """Search the grid inside each fold: the candidate with the best UAR over the pooled inner folds.

    UAR weighs rare classes as much as frequent ones. Of equal candidates, the first declared is taken. Test clips and
    their labels have no influence (see :func:`inner_folds`).

    ``seeds``: seed of each fold; ``subjects``, and ``labels`` int64 ``[clips]``: of all clips; ``predict``: trains on
    inner folds and predicts them.

    Returns:
        For each fold the values of its candidate by dotted key; empty unless ``selection`` is nested.

    Raises:
        InputError: as :func:`inner_folds`.
    """
    if selection.method != "nested":
        return [{} for _ in folds]
    from sklearn.metrics import recall_score  # Imported here because it takes a second that most jobs can save.

    options, share = candidates(selection.grid), selection.validation
    divided = [
        inner_folds(fold, subjects, labels, selection.inner_folds, validation=share, seed=seed)
        for fold, seed in zip(folds, seeds, strict=True)
    ]
    inner = list(itertools.chain.from_iterable(divided))
    inner_seeds = [(*seed, n) for seed, parts in zip(seeds, divided, strict=True) for n in range(1, len(parts) + 1)]
    uar = np.zeros((len(folds), len(options)))
    for column, option in enumerate(options):
        predicted = iter(predict(inner, inner_seeds, option))
        for number, parts in enumerate(divided):
            truth = np.concatenate([labels[part.test] for part in parts])
            answers = np.concatenate([next(predicted).argmax(axis=1) for _ in parts])
            uar[number, column] = recall_score(truth, answers, labels=np.unique(truth), average="macro")
        log.info("candidate %d of %d: %s", column + 1, len(options), variant_label(option))
    for fold, row in zip(folds, uar, strict=True):
        figures = (f"{variant_label(option)}: {value:.3f}" for option, value in zip(options, row, strict=True))
        log.info("fold %s: UAR inside the training part: %s", fold.name, ", ".join(figures))
    return [options[int(row.argmax())] for row in uar]
