"""Folds of a protocol: which clips train, which choose the epoch, which are tested.

No protocol divides a subject, except the one that rebuilds a paper's. Training code gets the labels of training and
validation clips only (:class:`merflow.systems.samples.FoldData`).
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from merflow.errors import ConfigError, InputError
from merflow.footage.clip import database

DRAWS = 64
"""Draws of validation subjects, of which the one with the fewest missing classes is taken."""
FOLDS = 5
"""Default number of folds of ``subject-kfold``."""


@dataclass(frozen=True)
class Fold:
    """One split of the clips into three parts, without a common subject except in ``paper-holdout``."""

    name: str  # the subject or database that is left out, or another name
    train: np.ndarray  # int64, indices of the training clips
    validation: np.ndarray  # int64, indices of the clips that choose the epoch; empty if there are only two subjects
    test: np.ndarray  # int64, indices of the test clips
    number: int = 0  # index of the fold in its table of splits; it seeds the training of the fold


PROTOCOLS = ("loso", "composite-loso", "subject-kfold", "cross-dataset", "paper-holdout")


def draw_folds(
    protocol: str,
    subjects: Sequence[str] | np.ndarray,
    labels: Sequence[Any] | np.ndarray,
    *,
    validation: float = 0.2,
    seed: int = 0,
    folds: int | None = None,
    test_clips: int | None = None,
) -> list[Fold]:
    """Draw the folds of a protocol, in alphabetical order of what they leave out.

    ``loso`` and ``composite-loso`` leave one subject out (the latter is also scored by database, as in MEGC 2019);
    ``subject-kfold`` leaves out one of k groups of subjects, those of StratifiedGroupKFold; ``cross-dataset`` one
    database; ``paper-holdout`` draws test clips without regard to subjects, as the TSDGCN paper seems to.

    Args:
        protocol: one of :data:`PROTOCOLS`.
        subjects: subject of each clip, after its database: ``samm/006``.
        labels: class of each clip. Validation subjects are drawn so that training lacks no class, and validation as few
            as possible; the labels of test clips have no influence. Of action units, int64 ``[clips, units]``: 1 for
            those that a clip shows, 0 for the others.
        validation: share of the other subjects that chooses the epoch, rounded, at least one subject.
        seed: seed of every draw.
        folds: k of ``subject-kfold``; None: :data:`FOLDS`.
        test_clips: number of test clips of ``paper-holdout``; None: a fifth.

    Raises:
        ConfigError: unknown protocol.
        InputError: too few subjects, databases or clips.
    """
    subjects, labels = np.asarray(subjects, dtype=str), np.asarray(labels)
    first = 0
    match protocol:
        case "loso" | "composite-loso":
            tests = _indices_by_group(subjects)
            if len(tests) < 2:
                raise InputError(
                    f"leave-one-subject-out needs at least 2 subjects with labelled clips, found {len(tests)}"
                )
        case "cross-dataset":
            tests = _indices_by_group(np.array([database(subject) for subject in subjects]))
            if len(tests) < 2:
                raise InputError(f"cross-dataset needs clips of at least 2 databases, found {', '.join(tests)}")
        case "subject-kfold":
            first = 1  # Folds are named and seeded from 1.
            groups = _subject_groups(subjects, labels, folds or FOLDS, seed)
            tests = {f"fold-{number}": test for number, test in enumerate(groups, first)}
        case "paper-holdout":
            tests = {"holdout": _paper_test_clips(labels, test_clips, seed)}
        case _:
            raise ConfigError(f"protocol: {protocol!r} is not allowed; allowed: {', '.join(PROTOCOLS)}")
    result = []
    for number, (name, test) in enumerate(tests.items(), first):
        others = np.setdiff1d(np.arange(len(subjects)), test)
        train, held_out = hold_out(subjects[others], labels[others], share=validation, seed=(seed, number))
        result.append(Fold(name, others[train], others[held_out], test))
    return result


def fold_names(protocol: str, subjects: Iterable[str], folds: int | None = None) -> list[str]:
    """Return the names that :func:`draw_folds` can give; a fold of which no clip could be used is missing there."""
    match protocol:
        case "subject-kfold":
            return [f"fold-{number}" for number in range(1, (folds or FOLDS) + 1)]
        case "cross-dataset":
            return sorted({database(subject) for subject in subjects})
        case "paper-holdout":
            return ["holdout"]
    return sorted(set(subjects))


def _indices_by_group(groups: np.ndarray) -> dict[str, np.ndarray]:
    return {str(name): np.flatnonzero(groups == name) for name in np.unique(groups)}


def _subject_groups(subjects: np.ndarray, labels: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Return the indices of the clips of each of ``count`` groups of subjects."""
    from sklearn.model_selection import StratifiedGroupKFold

    if labels.ndim == 2:  # A clip counts for the rarest of its units.
        rarity = np.argsort(labels.sum(axis=0), kind="stable")
        labels = np.where(labels.any(axis=1), labels[:, rarity].argmax(axis=1), len(rarity))
    people = len(np.unique(subjects))
    if people < count:
        raise InputError(f"subject-kfold with {count} folds needs {count} subjects with labelled clips, found {people}")
    if (most := np.unique(labels, return_counts=True)[1].max()) < count:
        raise InputError(f"subject-kfold with {count} folds needs {count} clips of one class, found {most}")
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # Classes with few clips are common here.
        return [np.sort(test) for _, test in splitter.split(subjects, labels, subjects)]


def _paper_test_clips(labels: np.ndarray, count: int | None, seed: int) -> np.ndarray:
    """Draw test clips as in Tables II to VII of the TSDGCN paper, in proportion to the classes.

    The paper does not state its split; accuracies that are multiples of 1/44 and 1/160 suggest 44 test clips of MMEW
    and 16 of SAMM, by class in proportion. Subjects are not kept apart, because the paper does not say that they were:
    test subjects also have training clips, so the results are optimistic.
    """
    size = round(len(labels) / 5) if count is None else count
    if not 0 < size < len(labels):
        raise InputError(f"paper-holdout of {size} test clips needs more clips than that, found {len(labels)}")
    names, counts = np.unique(labels, return_counts=True)
    generator = np.random.default_rng((seed, 2203))
    test = [
        generator.permutation(np.flatnonzero(labels == name))[:share]
        for name, share in zip(names, largest_remainder(counts, size), strict=True)
    ]
    return np.sort(np.concatenate(test))


def largest_remainder(counts: Sequence[int] | np.ndarray, total: int) -> list[int]:
    """Allocate ``total`` seats to groups in proportion to ``counts``: whole parts first, then by largest remainder."""
    exact = np.asarray(counts) * total / np.sum(counts)
    seats = np.floor(exact).astype(int)
    order = np.argsort(-(exact - seats), kind="stable")
    seats[order[: total - seats.sum()]] += 1
    return [int(seat) for seat in seats]


def hold_out(
    subjects: Sequence[str] | np.ndarray,
    labels: Sequence[Any] | np.ndarray | None = None,
    *,
    share: float = 0.2,
    seed: int | tuple[int, ...] = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Split clips into a training and a validation part without a common subject.

    Args:
        subjects: subject of each clip.
        labels: class of each clip; see :func:`draw_folds`. None: the subjects are drawn without regard to them.
        share: share of the subjects that goes to validation, rounded, at least one; at least one is left to train. With
            0 validation is empty.
        seed: seed of the draw.

    Returns:
        Indices of the training and of the validation clips, int64. With a single subject, validation is empty.
    """
    subjects = np.asarray(subjects, dtype=str)
    names, owner = np.unique(subjects, return_inverse=True)
    if share == 0 or len(names) < 2:
        return np.arange(len(subjects)), np.arange(0)
    count = min(max(1, round(share * len(names))), len(names) - 1)
    generator = np.random.default_rng(seed)
    if labels is None:
        held_out = np.isin(owner, generator.permutation(len(names))[:count])
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)
    shown = np.asarray(labels)
    if shown.ndim == 1:
        shown = shown[:, None] == np.unique(shown)
    clips = np.zeros((len(names), shown.shape[1]), int)
    np.add.at(clips, owner, shown.astype(int))
    draws = [generator.permutation(len(names))[:count] for _ in range(DRAWS)]

    def missing_classes(draw: np.ndarray) -> tuple[int, int]:
        inside = clips[draw].sum(axis=0)
        return int((clips.sum(axis=0) == inside).sum()), int((inside == 0).sum())

    held_out = np.isin(owner, min(draws, key=missing_classes))
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
