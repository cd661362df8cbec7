"""The target network: both branches and both graphs fused, one head trained per fold (Eq. 4 and 5)."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from merflow.clips import database
from merflow.errors import ConfigError, InputError
from merflow.losses import make_loss
from merflow.protocols import Fold, folds
from merflow.tables import ACCURACY_TRAIN, CURVES, PREDICTIONS, write_table
from merflow.training import Rows, Schedule, Training, class_numbers, fit, repeatable, scores_of

log = logging.getLogger(__name__)


LEAST_SCALE = 0.2
"""Least divisor of a feature, as a share of its branch's root mean square deviation. A feature that is silent (after
ReLU) on the training people and speaks on another person would else be blown up to hundreds of deviations."""


@dataclass(frozen=True)
class Samples:
    """Labelled clips with their fused features.

    Attributes:
        clips: per clip ``dataset``, ``subject``, ``clip`` and ``truth``, for the table of predictions.
        rows: float32 ``[clips, rows, features]``, X^in of Eq. 5.
        branch: int64 ``[rows]``: rows with the same number share their standardisation.
        labels: int64 ``[clips]``.
        classes: class names.
    """

    clips: list[dict[str, str]]
    rows: np.ndarray
    branch: np.ndarray
    labels: np.ndarray
    classes: list[str]

    @property
    def subjects(self) -> list[str]:
        """Subject of each clip."""
        return [clip["subject"] for clip in self.clips]


class Head(nn.Sequential):
    """The fully connected layer after fusion, with ReLU and dropout, and the classifier."""

    def __init__(self, inputs: int, hidden: int, classes: int, dropout: float):
        """Make a head with random weights from torch's generator."""
        super().__init__(
            nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, classes)
        )


@dataclass(frozen=True)
class TrainedHead:
    """A head with the standardisation of its training fold.

    Attributes:
        head: the network.
        mean: float32 ``[rows, features]``.
        scale: float32 ``[rows, features]``.
        training: epoch and curve.
        batch: rows per forward pass.
    """

    head: Head
    mean: np.ndarray
    scale: np.ndarray
    training: Training
    batch: int

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """A clip's answer: the mean probability over its rows, float64 ``[clips, classes]``."""
        x = _flat((rows - self.mean) / self.scale)
        scores = scores_of(self.head, x, max(self.batch, 1024))
        return scores.double().softmax(dim=1).reshape(*rows.shape[:2], -1).mean(dim=1).numpy()


def finetune(
    features: Mapping[int, Sequence[Sequence[Path]]],
    predictions: Path,
    accuracy_train: Path,
    curves: Path,
    settings: Mapping[str, Any],
) -> None:
    """Train and test the fused head on every fold of every repeat.

    Args:
        features: for each seed, for each micro dataset, the feature files of one network or of two (Eq. 4).
        predictions: output, one row per seed and labelled clip.
        accuracy_train: output, one row per seed and fold: accuracy over the training clips.
        curves: output, one row per seed, fold, epoch and split.
        settings: ``experiment, branches, fusion`` (stack or concat), ``loss, head, protocol``; if given, ``datasets``
            (names in the order of the files; else those in the files), ``classes`` (else those of the files) and
            ``labels`` ({dataset: {clip: label}}; else those of the files). The
            head's: ``hidden, dropout, learning_rate, decay, epochs, patience, batch, weight_decay, validation``.
    """
    answers, accuracies, curve = [], [], []
    for seed, datasets in features.items():
        samples = load_samples(datasets, settings)
        parts = folds_of(samples, settings, seed)
        names = {"experiment": settings["experiment"], "repeat": seed}
        log.info("repeat %d: %d clips, %d folds, rows %s", seed, len(samples.clips), len(parts), samples.rows.shape)
        for fold, chances, training, trained in run_folds(samples, parts, settings, seed):
            answers += answer_rows(samples, fold, chances, names)
            accuracies.append(
                names | {"fold": fold.name, "stage": "finetune", "accuracy": trained, "n": len(fold.train)}
            )
            curve += [names | {"stage": "finetune", "name": fold.name} | row for row in training.curve]
    write_table(answers, predictions, PREDICTIONS)
    write_table(accuracies, accuracy_train, ACCURACY_TRAIN)
    write_table(curve, curves, CURVES)


def folds_of(samples: Samples, settings: Mapping[str, Any], seed: int) -> list[Fold]:
    """The folds of labelled clips under the settings of an experiment (:func:`merflow.protocols.folds`)."""
    return folds(
        settings["protocol"],
        samples.subjects,
        samples.labels,
        validation=settings["head"]["validation"],
        seed=seed,
        settings=settings,
    )


def answer_rows(samples: Samples, fold: Fold, chances: np.ndarray, names: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of predictions for the test clips of a fold; ``chances [clips, classes]``."""
    rows = []
    for place, chance in zip(fold.test, chances, strict=True):
        predicted = samples.classes[int(chance.argmax())]
        shares = {f"p_{name}": float(share) for name, share in zip(samples.classes, chance, strict=True)}
        rows.append(dict(names) | {"fold": fold.name} | samples.clips[place] | {"predicted": predicted} | shares)
    return rows


def run_folds(
    samples: Samples, parts: Sequence[Fold], settings: Mapping[str, Any], seed: int
) -> Iterator[tuple[Fold, np.ndarray, Training, float]]:
    """Train a head per fold; yield the fold, its test probabilities, the training and its training accuracy.

    The labels of a fold's test clips are not read.
    """
    start = time.monotonic()
    for number, fold in enumerate(parts):
        train_labels, validation_labels = fold.training_labels(samples.labels)
        trained = train_head(
            (samples.rows[fold.train], train_labels),
            (samples.rows[fold.validation], validation_labels),
            samples.branch,
            len(samples.classes),
            settings,
            (seed, number),
        )
        known = trained.probabilities(samples.rows[fold.train]).argmax(axis=1)
        accuracy = float((known == train_labels).mean())
        yield fold, trained.probabilities(samples.rows[fold.test]), trained.training, accuracy
        seconds = time.monotonic() - start
        log.info(
            "repeat %d: fold %d of %d (%s), epoch %d kept, training accuracy %.1f %%, about %.0f s left",
            *(seed, number + 1, len(parts), fold.name, trained.training.epoch, 100 * accuracy),
            seconds / (number + 1) * (len(parts) - number - 1),
        )


def train_head(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    branch: np.ndarray,
    classes: int,
    settings: Mapping[str, Any],
    seed: tuple[int, ...],
) -> TrainedHead:
    """Train one head.

    Args:
        train: rows ``[clips, rows, features]`` and labels ``[clips]`` that train; they alone set the standardisation.
        validation: the same of the clips that choose the epoch; may be empty.
        branch: number of each row's branch.
        classes: number of classes.
        settings: ``loss`` and ``head``.
        seed: seed of weights, batches and dropout.
    """
    rows, labels = train
    own = settings["head"]
    mean, scale = _standard(rows, branch)
    with repeatable(*seed):
        head = Head(rows.shape[2], own["hidden"], classes, own["dropout"])
        training = fit(
            head,
            make_loss(settings["loss"], classes),
            _as_rows((rows - mean) / scale, labels),
            _as_rows((validation[0] - mean) / scale, validation[1]) if len(validation[1]) else None,
            Schedule.of(own),
        )
    return TrainedHead(head, mean, scale, training, own["batch"])


def _standard(rows: np.ndarray, branch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and divisor of each feature over the rows of one branch: its deviation, but see :data:`LEAST_SCALE`."""
    mean, scale = np.empty(rows.shape[1:], np.float32), np.empty(rows.shape[1:], np.float32)
    for number in np.unique(branch):
        own = rows[:, branch == number]
        deviation = own.std(axis=(0, 1))
        mean[branch == number] = own.mean(axis=(0, 1))
        floor = LEAST_SCALE * float(np.sqrt(np.mean(deviation**2)))
        scale[branch == number] = np.maximum(deviation, floor) if floor > 1e-6 else 1
    return mean, scale


def _flat(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(rows.reshape(-1, rows.shape[2]))


def _as_rows(rows: np.ndarray, labels: np.ndarray) -> Rows:
    """Every row of a clip is a sample with the clip's label."""
    return Rows(_flat(rows), torch.from_numpy(np.repeat(labels, rows.shape[1])))


def load_samples(datasets: Sequence[Sequence[Path]], settings: Mapping[str, Any]) -> Samples:
    """Read and fuse the features of all labelled clips.

    Args:
        datasets: for each micro dataset the feature files of its one or two networks.
        settings: as in :func:`finetune`.

    Raises:
        InputError: files do not belong together, or lack what the branches need.
    """
    loaded = []
    for number, files in enumerate(datasets):
        name = settings["datasets"][number] if settings.get("datasets") else None
        loaded.append(_load_dataset(files, name, settings))
    classes = loaded[0].classes
    for files, samples in zip(datasets, loaded, strict=True):
        if samples.classes != classes:
            raise InputError(f"{files[0]}: classes {samples.classes} differ from {classes} of {datasets[0][0]}")
        if samples.rows.shape[1:] != loaded[0].rows.shape[1:]:
            raise InputError(
                f"{files[0]}: {samples.rows.shape[1:]} rows and features per clip, but {loaded[0].rows.shape[1:]} in "
                f"{datasets[0][0]}; prepare both datasets in the same way"
            )
    return Samples(
        clips=[clip for samples in loaded for clip in samples.clips],
        rows=np.concatenate([samples.rows for samples in loaded]),
        branch=loaded[0].branch,
        labels=np.concatenate([samples.labels for samples in loaded]),
        classes=classes,
    )


def _load_dataset(files: Sequence[Path], name: str | None, settings: Mapping[str, Any]) -> Samples:
    """The samples of one dataset: the features of its networks side by side (Eq. 4), then the branches fused."""
    networks: dict[str, list[np.ndarray]] = {branch: [] for branch in settings["branches"]}
    clips = None
    for path in files:
        try:
            with h5py.File(path) as file:
                labels = file["label"].asstr()[:]
                table = [(str(c), str(s)) for c, s in zip(file["clip"].asstr(), file["subject"].asstr(), strict=True)]
                classes = list(settings.get("classes") or map(str, file.attrs["classes"]))
                name = name or str(file.attrs["dataset"])
                repeats = int(file.attrs["rows_per_flow"])
                own = settings.get("labels", {}).get(name)
                labels = labels if own is None else np.array([own.get(clip, "") for clip, _ in table], dtype=object)
                kept = np.flatnonzero(np.isin(labels, classes) if settings.get("classes") else labels != "")
                for branch, parts in networks.items():
                    parts.append(file[branch][:][kept])
        except (OSError, KeyError) as error:
            raise InputError(f"{path} is not a feature file of merflow: {error}; delete it and run again") from error
        if clips is not None and table != clips:
            raise InputError(f"{path} holds other clips than {files[0]}; delete both and run again")
        clips = table
    if not len(kept):
        raise InputError(f"{files[0]} holds no labelled clip")
    for branch, parts in networks.items():
        if not parts[0].shape[1]:
            raise InputError(f"{files[0]} has no {branch} features; leave {branch} out of `branches`")
    branches = {branch: np.concatenate(parts, axis=2) for branch, parts in networks.items()}
    rows, branch = fuse(branches, settings["fusion"], repeats)
    labels = labels[kept]
    return Samples(
        clips=[
            {
                "dataset": database(clips[place][1], name),
                "subject": clips[place][1],
                "clip": clips[place][0],
                "truth": str(label),
            }
            for place, label in zip(kept, labels, strict=True)
        ],
        rows=rows,
        branch=branch,
        labels=class_numbers(labels, classes, files[0]),
        classes=classes,
    )


def fuse(branches: Mapping[str, np.ndarray], fusion: str, rows_per_flow: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Fuse the branches of clips (Eq. 5).

    ``stack`` is Eq. 5 as printed, Ms + Mt rows of the same width: each row of either branch is a sample of the head.
    ``concat`` is what the text calls integrated: row m of both branches side by side.

    Args:
        branches: ``spatial`` ``[clips, Ms, d]`` and/or ``temporal`` ``[clips, Mt * rows_per_flow, d]``.
        fusion: ``stack`` or ``concat``.
        rows_per_flow: rows of each flow image; for ``concat`` the spatial row is repeated beside each.

    Returns:
        float32 ``[clips, rows, features]`` and the branch of each row, int64 ``[rows]``.
    """
    parts = list(branches.values())
    if fusion == "stack":
        branch = np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])
        return np.concatenate(parts, axis=1), branch
    if fusion != "concat":
        raise ConfigError(f"fusion: {fusion!r} is not allowed; allowed: stack, concat")
    if len(parts) == 2:
        parts = [
            np.repeat(part, rows_per_flow, axis=1) if name == "spatial" else part for name, part in branches.items()
        ]
        if parts[0].shape[1] != parts[1].shape[1]:
            raise InputError(
                f"fusion: concat needs as many key-frames as flow images, found {branches['spatial'].shape[1]} and "
                f"{branches['temporal'].shape[1] // rows_per_flow}; choose fusion: stack"
            )
    return np.concatenate(parts, axis=2), np.zeros(parts[0].shape[1], np.int64)
