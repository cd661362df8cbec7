"""Who trains, who chooses the epoch, who is tested: splits by subject.

No split divides a subject, but for the one that rebuilds a paper's. The labels of test clips are kept from everything
that trains: :class:`Fold` hands out training and validation labels only.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from merflow.errors import ConfigError, InputError
from merflow.footage.clip import database

TRIES = 64
"""Draws of validation subjects among which the one with the fewest missing classes is taken."""


@dataclass(frozen=True)
class Fold:
    """One split of the clips into three parts, without a common subject but in ``paper-holdout``.

    Attributes:
        name: the subject or database left out, or a name.
        train: int64, places of the clips that train.
        validation: int64, places of the clips that choose the epoch; may be empty if there are two subjects only.
        test: int64, places of the clips that are predicted.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places of the clips that train, choose the epoch, are tested."""
        return self.train, self.validation, self.test

    def training_labels(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels of the training and of the validation clips: all that training code may see."""
        return labels[self.train], labels[self.validation]

    def without_test(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of arrays over all clips the part that trains or chooses the epoch: for systems that choose nothing."""
        known = np.union1d(self.train, self.validation)
        return tuple(array[known] for array in arrays)


PROTOCOLS = ("loso", "composite-loso", "subject-kfold", "cross-dataset", "paper-holdout")


def folds(
    protocol: str,
    subjects: Sequence[str],
    labels: Sequence,
    *,
    validation: float = 0.2,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> list[Fold]:
    """The folds of a protocol by name; ``subjects``, ``labels``, ``validation`` and ``seed`` as in :func:`loso`.

    ``loso`` and ``composite-loso`` leave one subject out (the latter is scored by database too, as MEGC 2019 asks);
    ``subject-kfold`` leaves one of k groups of subjects out; ``cross-dataset`` one database; ``paper-holdout`` draws
    test clips without regard to subjects, as the TSDGCN paper seems to.

    Args:
        protocol: one of :data:`PROTOCOLS`.
        subjects: subject of each clip, after its database: ``samm/006``.
        labels: class of each clip.
        validation: share of the other subjects that chooses the epoch.
        seed: of every draw.
        settings: ``folds`` (k of ``subject-kfold``, else 5), ``test_clips`` (of ``paper-holdout``, else a fifth).

    Raises:
        ConfigError: unknown protocol.
        InputError: too few subjects, databases or clips.
    """
    own = settings or {}
    match protocol:
        case "loso" | "composite-loso":
            return loso(subjects, labels, validation=validation, seed=seed)
        case "subject-kfold":
            return subject_kfold(subjects, labels, own.get("folds") or 5, validation=validation, seed=seed)
        case "cross-dataset":
            return cross_dataset(subjects, labels, validation=validation, seed=seed)
        case "paper-holdout":
            return [paper_holdout(subjects, labels, own.get("test_clips"), validation=validation, seed=seed)]
    raise ConfigError(f"protocol: {protocol!r} is not allowed; allowed: {', '.join(PROTOCOLS)}")


def fold_names(protocol: str, subjects: Iterable[str], settings: Mapping[str, Any] | None = None) -> list[str]:
    """Names that :func:`folds` can give for these subjects; a fold whose clips all failed is missing there."""
    match protocol:
        case "subject-kfold":
            return [f"fold-{number}" for number in range(1, ((settings or {}).get("folds") or 5) + 1)]
        case "cross-dataset":
            return sorted({database(subject) for subject in subjects})
        case "paper-holdout":
            return ["holdout"]
    return sorted(set(subjects))


def subject_kfold(
    subjects: Sequence[str], labels: Sequence, count: int = 5, *, validation: float = 0.2, seed: int = 0
) -> list[Fold]:
    """Leave one of ``count`` groups of subjects out; the groups' shares of the classes are as alike as subjects allow.

    Groups are those of scikit-learn's StratifiedGroupKFold. Arguments as in :func:`loso`.

    Raises:
        InputError: fewer subjects, or fewer clips of every class, than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    subjects, labels = np.asarray(subjects, dtype=str), np.asarray(labels)
    people = len(np.unique(subjects))
    if people < count:
        raise InputError(f"subject-kfold with {count} folds needs as many subjects with labelled clips, found {people}")
    if (most := np.unique(labels, return_counts=True)[1].max()) < count:
        raise InputError(f"subject-kfold with {count} folds needs as many clips of one class, found {most}")
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # Classes of few clips are usual here.
        groups = [test for _, test in splitter.split(subjects, labels, subjects)]
    return [
        _fold(f"fold-{number}", np.sort(test), subjects, labels, validation, (seed, number))
        for number, test in enumerate(groups, 1)
    ]


def cross_dataset(subjects: Sequence[str], labels: Sequence, *, validation: float = 0.2, seed: int = 0) -> list[Fold]:
    """Leave one database out: train on the others. Arguments as in :func:`loso`; databases stand before the subjects.

    Raises:
        InputError: one database only.
    """
    subjects, labels = np.asarray(subjects, dtype=str), np.asarray(labels)
    databases = np.array([database(subject) for subject in subjects])
    names = np.unique(databases)
    if len(names) < 2:
        raise InputError(f"cross-dataset needs clips of at least 2 databases, found {', '.join(names)}")
    return [
        _fold(str(name), np.flatnonzero(databases == name), subjects, labels, validation, (seed, number))
        for number, name in enumerate(names)
    ]


def paper_holdout(
    subjects: Sequence[str], labels: Sequence, clips: int | None = None, *, validation: float = 0.2, seed: int = 0
) -> Fold:
    """One hold-out as in Tables II to VII of the TSDGCN paper: a stated number of test clips, spread over the classes.

    The paper does not state its split; accuracies that are multiples of 1/44 and 1/160 speak for 44 test clips of MMEW
    and 16 of SAMM, by class in proportion. Subjects are not kept apart, as the paper does not say that they were:
    people of the test have clips in training, so numbers are too good. One seed is one repeat.

    Args:
        subjects: as in :func:`loso`; they divide training from validation only.
        labels: class of each clip.
        clips: test clips, given to the classes by largest remainder (:func:`largest_remainder`); None: a fifth.
        validation: as in :func:`loso`.
        seed: of the draw.

    Raises:
        InputError: not fewer test clips than clips.
    """
    subjects, labels = np.asarray(subjects, dtype=str), np.asarray(labels)
    wanted = round(len(labels) / 5) if clips is None else clips
    if not 0 < wanted < len(labels):
        raise InputError(f"paper-holdout of {wanted} test clips needs more clips than that, found {len(labels)}")
    names, counts = np.unique(labels, return_counts=True)
    generator = np.random.default_rng((seed, 2203))
    test = [
        generator.permutation(np.flatnonzero(labels == name))[:share]
        for name, share in zip(names, largest_remainder(counts, wanted), strict=True)
    ]
    return _fold("holdout", np.sort(np.concatenate(test)), subjects, labels, validation, (seed, 0))


def largest_remainder(counts: Sequence[int], total: int) -> list[int]:
    """``total`` seats given to groups in proportion to ``counts``: whole parts first, then by the largest remainder."""
    exact = np.asarray(counts) * total / np.sum(counts)
    seats = np.floor(exact).astype(int)
    order = np.argsort(-(exact - seats), kind="stable")
    seats[order[: total - seats.sum()]] += 1
    return seats.tolist()


def _fold(
    name: str, test: np.ndarray, subjects: np.ndarray, labels: np.ndarray, validation: float, seed: tuple[int, int]
) -> Fold:
    """The fold of given test clips: subjects of the others choose the epoch or train."""
    others = np.setdiff1d(np.arange(len(subjects)), test)
    train, held = hold_out(subjects[others], labels[others], share=validation, seed=seed)
    return Fold(name, others[train], others[held], test)


def loso(
    subjects: Sequence[str], labels: Sequence | None = None, *, validation: float = 0.2, seed: int = 0
) -> list[Fold]:
    """Leave one subject out: a fold per subject, in alphabetical order.

    Args:
        subjects: subject of each clip.
        labels: class of each clip. If given, validation subjects are drawn such that training lacks no class, and
            validation as few as possible. The labels of a fold's test clips do not enter.
        validation: share of the other subjects that chooses the epoch, rounded, at least one subject.
        seed: seed of that choice.

    Raises:
        InputError: fewer than two subjects.
    """
    subjects = np.asarray(subjects, dtype=str)
    names = np.unique(subjects)
    if len(names) < 2:
        raise InputError(f"leave-one-subject-out needs at least 2 subjects with labelled clips, found {len(names)}")
    found = []
    for number, name in enumerate(names):
        others = np.flatnonzero(subjects != name)
        known = None if labels is None else np.asarray(labels)[others]
        train, held = hold_out(subjects[others], known, share=validation, seed=(seed, number))
        found.append(Fold(str(name), others[train], others[held], np.flatnonzero(subjects == name)))
    return found


def hold_out(
    subjects: Sequence[str],
    labels: Sequence | None = None,
    *,
    share: float = 0.2,
    seed: int | tuple[int, ...] = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Split clips into a training and a validation part without a common subject.

    Args:
        subjects: subject of each clip.
        labels: class of each clip; see :func:`loso`.
        share: share of the subjects that goes to validation, rounded, at least one; one is always left to train.
        seed: seed of the draw.

    Returns:
        Places of the training and of the validation clips, int64. A single subject leaves validation empty.
    """
    subjects = np.asarray(subjects, dtype=str)
    names, owner = np.unique(subjects, return_inverse=True)
    if len(names) < 2:
        return np.arange(len(subjects)), np.arange(0)
    count = min(max(1, round(share * len(names))), len(names) - 1)
    generator = np.random.default_rng(seed)
    if labels is None:
        held = np.isin(owner, generator.permutation(len(names))[:count])
        return np.flatnonzero(~held), np.flatnonzero(held)
    _, classes = np.unique(np.asarray(labels), return_inverse=True)
    clips = np.zeros((len(names), classes.max() + 1), int)
    np.add.at(clips, (owner, classes), 1)
    draws = [generator.permutation(len(names))[:count] for _ in range(TRIES)]

    def missing(draw: np.ndarray) -> tuple[int, int]:
        inside = clips[draw].sum(axis=0)
        return int((clips.sum(axis=0) == inside).sum()), int((inside == 0).sum())

    held = np.isin(owner, min(draws, key=missing))
    return np.flatnonzero(~held), np.flatnonzero(held)
