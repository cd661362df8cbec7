"""Settings of splits and of model selection, as scripts receive them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClipSettings:
    """Which clips an experiment recognises.

    Attributes:
        datasets: names, in the order of their files.
        classes: class names, in order; clips with another label are left out.
        labels: ``{dataset: {clip: label}}`` where the experiment has its own class set; a dataset that is missing here
            keeps the labels of its cache.
    """

    datasets: Sequence[str]
    classes: Sequence[str]
    labels: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class SplitSettings:
    """What decides the folds of a protocol, except for the seed (:func:`merflow.protocols.splits.make_splits`).

    Attributes:
        protocol: one of :data:`merflow.protocols.folds.PROTOCOLS`.
        folds: number of folds of ``subject-kfold``; None elsewhere.
        test_clips: number of test clips of ``paper-holdout``; None: a fifth.
        validation: share of the training subjects that chooses the epoch.
        clips: the clips that are divided.
    """

    protocol: str
    folds: int | None
    test_clips: int | None
    validation: float
    clips: ClipSettings


@dataclass(frozen=True)
class SelectionSettings:
    """Who chooses epochs and hyper-parameters (:mod:`merflow.protocols.selection`).

    Attributes:
        method: ``validation``, ``none`` or ``nested``.
        grid: values to search by dotted key (``loss.gamma``); empty unless ``nested``.
        inner_folds: number of inner folds; 0 unless ``nested``.
        validation: share of the training subjects of an inner fold that chooses its epoch; 0.0 unless ``nested``.
    """

    method: str
    grid: Mapping[str, Sequence[Any]]
    inner_folds: int
    validation: float
