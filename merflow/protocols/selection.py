"""Who chooses settings, and on whose clips: never on those that a fold tests.

``validation``: subjects inside the training part choose the epoch, nobody the rest. ``none``: nobody chooses anything;
all of the training part trains for all epochs. ``nested``: a declared grid is searched inside each fold: its training
part is divided anew by subject, every candidate answers the clips left out, and the best one trains for the test.
``paper-tuning``: as ``validation``, and the grid is shown beside it as a table of variants, cell by cell, as Tables IV
and V of the TSDGCN paper have it (:mod:`merflow.systems.tsdgcn.variant_tables`); none of its cells becomes a result.
"""

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from merflow.errors import InputError
from merflow.protocols.folds import Fold, subject_kfold
from merflow.protocols.variants import label, varied

log = logging.getLogger(__name__)

SELECTIONS = ("validation", "none", "nested", "paper-tuning")

Answers = Callable[[Sequence[Fold], Sequence[tuple[int, ...]], Mapping[str, Any]], Sequence[np.ndarray]]
"""Trains on each of some folds, with a seed each and settings for all; probabilities of each one's test clips."""


def candidates(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of a grid, as dictionaries of dotted keys; the last key varies fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def trained_parts(folds: Sequence[Fold], settings: Mapping[str, Any]) -> list[Fold]:
    """Folds as they train under ``settings``: with ``selection: none`` the validation clips train too."""
    if settings.get("selection") != "none":
        return list(folds)
    return [
        replace(fold, train=np.union1d(fold.train, fold.validation), validation=fold.validation[:0]) for fold in folds
    ]


def inner_folds(
    fold: Fold, subjects: Sequence[str], labels: np.ndarray, count: int, *, validation: float, seed: tuple[int, ...]
) -> list[Fold]:
    """The training part of a fold, its validation clips included, divided by subject into inner folds.

    Args:
        fold: the outer fold.
        subjects: subject of each clip.
        labels: class of each clip; those of the fold's test clips are not read.
        count: inner folds; fewer where there are fewer subjects, or fewer clips of every class.
        validation: share of an inner fold's training subjects that chooses its epoch.
        seed: of the draw.

    Returns:
        Folds over the same clips as ``fold``; their test clips together are its training part.

    Raises:
        InputError: the training part shows one person, or one clip of each class.
    """
    known = np.union1d(fold.train, fold.validation)
    people, (own,) = np.asarray(subjects, dtype=str)[known], fold.without_test(labels)
    count = min(count, len(np.unique(people)), int(np.unique(own, return_counts=True)[1].max(initial=0)))
    if count < 2:
        raise InputError(
            f"fold {fold.name}: nothing can be chosen inside it, as its {len(known)} training clips show "
            f"{len(np.unique(people))} subjects; choose selection: validation or none"
        )
    draw = int(np.random.SeedSequence(seed).generate_state(1)[0])
    inner = subject_kfold(people, own, count, validation=validation, seed=draw)
    return [
        Fold(f"{fold.name}, inner {one.name}", known[one.train], known[one.validation], known[one.test])
        for one in inner
    ]


def choose(
    folds: Sequence[Fold],
    seeds: Sequence[tuple[int, ...]],
    subjects: Sequence[str],
    labels: np.ndarray,
    settings: Mapping[str, Any],
    share: float,
    answers: Answers,
) -> list[dict[str, Any]]:
    """The candidate of the grid that each fold takes: the one with the best UAR over its inner folds, pooled.

    UAR weighs the rare classes as much as the frequent ones. Of equals, the one declared first is taken. No label and
    no clip of a fold's test part has a say (property: :func:`inner_folds`).

    Args:
        folds: outer folds.
        seeds: of each fold.
        subjects: subject of each clip.
        labels: class of each clip, int64.
        settings: ``grid`` and ``inner_folds``; the rest goes to ``answers`` with a candidate's values in place.
        share: validation subjects of an inner fold.
        answers: who trains.

    Returns:
        For each fold the values of its candidate by dotted key.
    """
    from sklearn.metrics import recall_score  # Here, as it takes a second that most jobs can spare.

    options, count = candidates(settings["grid"]), settings["inner_folds"]
    jobs = [
        (number, one, (*seed, 1 + place))
        for number, (fold, seed) in enumerate(zip(folds, seeds, strict=True))
        for place, one in enumerate(inner_folds(fold, subjects, labels, count, validation=share, seed=seed))
    ]
    inner, inner_seeds = [one for _, one, _ in jobs], [seed for *_, seed in jobs]
    reached = np.zeros((len(folds), len(options)))
    for place, option in enumerate(options):
        found = answers(inner, inner_seeds, varied(settings, option))
        for number in range(len(folds)):
            own = [(labels[one.test], chances) for (n, one, _), chances in zip(jobs, found, strict=True) if n == number]
            truth, predicted = (np.concatenate(part) for part in zip(*((t, c.argmax(1)) for t, c in own), strict=True))
            reached[number, place] = recall_score(truth, predicted, labels=np.unique(truth), average="macro")
        log.info("candidate %d of %d, %s", place + 1, len(options), label(option))
    for fold, row in zip(folds, reached, strict=True):
        told = ", ".join(f"{label(option)}: {value:.3f}" for option, value in zip(options, row, strict=True))
        log.info("fold %s: UAR inside the training part: %s", fold.name, told)
    return [options[int(row.argmax())] for row in reached]


def settled(
    fold: Fold,
    seed: tuple[int, ...],
    subjects: Sequence[str],
    labels: np.ndarray,
    settings: Mapping[str, Any],
    share: float,
    answer: Callable[[Fold, tuple[int, ...], Mapping[str, Any]], np.ndarray],
) -> tuple[Fold, dict[str, Any], dict[str, Any]]:
    """What one fold trains with, under any selection: for systems of which a fold is a job.

    Args:
        fold: as drawn.
        seed: of the fold.
        subjects: as of :func:`choose`, like ``labels`` and ``share``.
        labels: class of each clip.
        settings: with ``selection``; for ``nested``, as of :func:`choose`.
        share: validation subjects of an inner fold.
        answer: trains on one fold; probabilities of its test clips.

    Returns:
        The fold as it trains, the settings with the chosen values in place, and these values (empty if none were).
    """
    chosen: dict[str, Any] = {}
    if settings.get("selection") == "nested":

        def answers(
            folds: Sequence[Fold], seeds: Sequence[tuple[int, ...]], own: Mapping[str, Any]
        ) -> list[np.ndarray]:
            return [answer(*one, own) for one in zip(folds, seeds, strict=True)]

        (chosen,) = choose([fold], [seed], subjects, labels, settings, share, answers)
    (trained,) = trained_parts([fold], settings)
    return trained, varied(settings, chosen), chosen
