"""Who trains, who chooses the epoch, who is tested: splits by subject.

A split never divides a subject. The labels of test clips are kept from everything that trains: :class:`Fold` hands out
training and validation labels only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from merflow.errors import ConfigError, InputError

TRIES = 64
"""Draws of validation subjects among which the one with the fewest missing classes is taken."""


@dataclass(frozen=True)
class Fold:
    """One split of the clips into three parts without a common subject.

    Attributes:
        name: the subject left out, for leave-one-subject-out.
        train: int64, places of the clips that train.
        validation: int64, places of the clips that choose the epoch; may be empty if there are two subjects only.
        test: int64, places of the clips that are predicted.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def training_labels(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels of the training and of the validation clips: all that training code may see."""
        return labels[self.train], labels[self.validation]


def folds(
    protocol: str, subjects: Sequence[str], labels: Sequence, *, validation: float = 0.2, seed: int = 0
) -> list[Fold]:
    """The folds of a protocol by name; arguments as in :func:`loso`.

    Raises:
        ConfigError: unknown protocol.
    """
    # Leave-one-subject-out over the subjects of all databases is the composite protocol of MEGC 2019; what differs is
    # that it is scored by database too.
    if protocol not in ("loso", "composite-loso"):
        raise ConfigError(f"protocol: {protocol!r} is not allowed; allowed: loso, composite-loso")
    return loso(subjects, labels, validation=validation, seed=seed)


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
