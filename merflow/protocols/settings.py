"""Settings of splits and of model selection, as scripts receive them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClipSettings:
    """Which clips an experiment recognises.

    ``labels`` is ``{dataset: {clip: label}}`` where the experiment has its own class set; a dataset that is missing
    there keeps the labels of its cache.
    """

    datasets: Sequence[str]  # names, in the order of their files
    classes: Sequence[str]  # class names, in order; clips with another label are left out
    labels: Mapping[str, Mapping[str, str]]
    train_also: Sequence[str] = ()  # further datasets, whose files follow: their clips train in every fold
    units: bool = False  # whether the classes are action units, of which a clip may show several; labels: ``AU1+AU4``


@dataclass(frozen=True)
class SplitSettings:
    """What decides the folds of a protocol, except for the seed (:func:`merflow.protocols.splits.make_splits`)."""

    protocol: str  # one of :data:`merflow.protocols.folds.PROTOCOLS`
    folds: int | None  # number of folds of ``subject-kfold``; None elsewhere
    test_clips: int | None  # number of test clips of ``paper-holdout``; None: a fifth
    validation: float  # share of the training subjects that chooses the epoch
    clips: ClipSettings  # the clips that are divided


@dataclass(frozen=True)
class SelectionSettings:
    """Who chooses epochs and hyper-parameters (:mod:`merflow.protocols.selection`)."""

    method: str  # ``fixed`` or ``nested``
    epoch: str  # ``validation``, ``refit``, ``fixed`` or ``average``
    grid: Mapping[str, Sequence[Any]]  # values to search by dotted key (``loss.gamma``); empty unless ``nested``
    inner_folds: int  # number of inner folds; 0 unless ``nested``
    validation: float  # share of the training subjects of an inner fold that chooses its epoch; 0.0 unless ``nested``

    @property
    def uses_validation(self) -> bool:
        """Whether validation clips choose the epoch; otherwise they train."""
        return self.epoch in ("validation", "refit")
