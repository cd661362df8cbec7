"""Samples: the labelled clips of an experiment, and the part of them that a training gets."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import h5py
import numpy as np

from merflow.datasets.action_units import as_label
from merflow.errors import InputError
from merflow.protocols.clips import read_labelled_clips
from merflow.protocols.folds import Fold
from merflow.protocols.settings import ClipSettings
from merflow.storage.disk_arrays import DiskArray
from merflow.storage.hdf5 import open_h5


@dataclass(frozen=True)
class Samples:
    """Labelled clips with their inputs.

    Attributes:
        clips: ``dataset, subject, clip`` of each.
        labels: int64 ``[clips]``, number of the class of each clip; of action units ``[clips, units]``, 0 or 1.
        classes: class names.
        rows: float32 ``[clips, rows, features or pixels]``: X^in of Eq. 5, signals on a graph, or the images of a clip.
        divided: number of clips, which come first, that the folds divide; the others train in every fold. None: all.
    """

    clips: list[dict[str, str]]
    labels: np.ndarray
    classes: Sequence[str]
    rows: np.ndarray | DiskArray
    divided: int | None = None

    @property
    def subjects(self) -> list[str]:
        """Subject of each clip."""
        return [clip["subject"] for clip in self.clips]

    def with_added(self, fold: Fold) -> Fold:
        """Return a fold with the clips that train in every fold among its training clips."""
        added = np.arange(len(self.clips), dtype=np.int64)[len(self.clips) if self.divided is None else self.divided :]
        return replace(fold, train=np.concatenate([fold.train, added]))

    @cached_property
    def clips_with_truth(self) -> list[dict[str, str]]:
        """``dataset, subject, clip, truth`` of each clip, for tables of predictions."""
        labels = zip(self.clips, self.labels, strict=True)
        return [clip | {"truth": label_text(self.classes, label)} for clip, label in labels]


def label_text(classes: Sequence[str], label: np.ndarray) -> str:
    """Return the label of a clip as text: its class by number, or the units of which ``label [units]`` is true."""
    if not label.ndim:
        return classes[int(label)]
    return as_label(name for name, shown in zip(classes, label, strict=True) if shown)


@dataclass(frozen=True)
class FoldData:
    """A fold as its training gets it: without the labels of its test clips.

    Attributes:
        train: int64, indices of the training clips; they alone set the standardisation.
        validation: int64, indices of the clips that choose the epoch; may be empty.
        train_labels, validation_labels: int64, their classes, or units ``[clips, units]``.
        seed: seed of weights, batches and dropout.
        name: name of the fold, for messages.
        test: int64, indices of the clips whose answers after each epoch are kept; may be empty.
    """

    train: np.ndarray
    train_labels: np.ndarray
    validation: np.ndarray
    validation_labels: np.ndarray
    seed: tuple[int, ...]
    name: str = ""
    test: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, fold: Fold, labels: np.ndarray, seed: tuple[int, ...], keep_answers: bool = False) -> "FoldData":
        """Return the training data of a fold; ``labels`` are those of all clips, and those of test clips are not read.

        ``keep_answers``: whether the answers for the test clips after each epoch are kept; those of units are not.
        """
        test = fold.test if keep_answers and labels.ndim == 1 else fold.test[:0]
        return cls(fold.train, labels[fold.train], fold.validation, labels[fold.validation], seed, fold.name, test)


ReadClip = Callable[[Sequence[h5py.File], int], np.ndarray]
"""Reads the clip at an index of the open files of a dataset: float32 ``[rows, features or pixels]``."""


def read_samples(
    files: Sequence[Sequence[Path]], settings: ClipSettings, read_clip: ReadClip, *, in_memory: bool = False
) -> Samples:
    """Read the labelled clips of some datasets.

    Args:
        files: for each dataset, those of ``train_also`` last, its cache, or the feature files of its networks, which
            hold the same clips.
        settings: datasets and classes.
        read_clip: reads one clip.
        in_memory: whether the rows are an array; otherwise they are a disk array, one clip in memory at a time.

    Raises:
        InputError: a file cannot be read, or the clips differ in shape.
    """
    labelled = read_labelled_clips([group[0] for group in files], settings)
    clips = list(chain.from_iterable(part.clips for part in labelled))

    def read() -> Iterator[np.ndarray]:
        for group, part in zip(files, labelled, strict=True):
            with ExitStack() as stack:
                opened = [stack.enter_context(open_h5(path)) for path in group]
                for index in part.indices:
                    yield read_clip(opened, int(index))

    try:
        rows = _stack(read(), len(clips)) if in_memory else DiskArray(read())
    except ValueError as error:
        names = ", ".join(str(group[0]) for group in files)
        raise InputError(
            f"{names}: the datasets differ in their numbers of key-frames ({error}); prepare all in the same way"
        ) from error
    labels = np.concatenate([part.labels for part in labelled])
    divided = sum(len(part.clips) for part in labelled[: len(settings.datasets)])
    return Samples(clips, labels, list(settings.classes), rows, divided)


def _stack(clips: Iterator[np.ndarray], count: int) -> np.ndarray:
    """Return :func:`numpy.stack` of ``count`` clips without holding them twice."""
    first = next(clips)
    stacked = np.empty((count, *first.shape), np.float32)
    for index, clip in enumerate(chain([first], clips)):
        if clip.shape != first.shape:
            raise ValueError(f"clips of two shapes, {first.shape} and {clip.shape}")
        stacked[index] = clip
    return stacked
