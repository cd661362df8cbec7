"""Labelled clips of caches and feature files: what a protocol divides and a system learns from."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from merflow.errors import InputError
from merflow.footage.clip import database
from merflow.protocols.settings import ClipSettings
from merflow.storage.hdf5 import open_h5


class LabelledClips(NamedTuple):
    """The clips of one file that have a class."""

    indices: np.ndarray  # int64, their indices in the file, ascending
    clips: list[dict[str, str]]  # ``dataset, subject, clip`` of each
    labels: np.ndarray  # int64, number of the class of each; of action units [clips, units], 1 for those that it shows


def read_labelled_clips(files: Sequence[Path], settings: ClipSettings) -> list[LabelledClips]:
    """Read the labelled clips of each file: a cache or a feature file of each dataset, and of each of ``train_also``.

    Raises:
        InputError: a file cannot be read, or no file has a clip of one of the classes.
    """
    classes = list(settings.classes)
    result = []
    for path, dataset in zip(files, [*settings.datasets, *settings.train_also], strict=True):
        try:
            with open_h5(path) as file:
                ids, subjects, labels = (file[column].asstr()[:] for column in ("clip", "subject", "label"))
        except (OSError, KeyError) as error:
            raise InputError(f"{path} cannot be read: {error}; delete it and run again") from error
        if (relabelled := settings.labels.get(dataset)) is not None:
            labels = np.array([relabelled.get(clip, "") for clip in ids], dtype=object)
        indices = np.flatnonzero(labels.astype(bool) if settings.units else np.isin(labels, classes))
        clips = [
            {"dataset": database(subjects[n], dataset), "subject": str(subjects[n]), "clip": str(ids[n])}
            for n in indices
        ]
        if settings.units:
            shown = [[unit in label.split("+") for unit in classes] for label in labels[indices]]
            numbers = np.array(shown, np.int64).reshape(-1, len(classes))
        else:
            numbers = np.array([classes.index(label) for label in labels[indices]], np.int64)
        result.append(LabelledClips(indices, clips, numbers))
    if not any(len(part.clips) for part in result):
        raise InputError(f"no clip of {', '.join(map(str, files))} has one of the labels {', '.join(classes)}")
    return result
