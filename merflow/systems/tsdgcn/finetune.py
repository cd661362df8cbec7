"""Fine-tuning of TSDGCN: a head per fold on the features of pre-trained SGCNs, which all folds share."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from merflow.systems.fold_runner import ClipRows, System, TrainedFold, run_job, run_repeats
from merflow.systems.predictions import EpochAnswers, FoldResult, ResultFiles
from merflow.systems.samples import FoldData, Samples
from merflow.systems.saved_models import SavedModel
from merflow.systems.settings import FinetuneSettings
from merflow.systems.tsdgcn.fusion import load_features
from merflow.systems.tsdgcn.head_training import train_heads
from merflow.systems.tsdgcn.heads import TrainedHead

Features = Mapping[int, Sequence[Sequence[str | Path]]]
"""For each seed and micro dataset the feature files of one network or of two (Eq. 4)."""
S = TypeVar("S", bound=FinetuneSettings)


class HeadSystem(System[S]):
    """A head on given features; the heads of all folds train together.

    Its saved model has the arrays of :meth:`merflow.systems.tsdgcn.heads.TrainedHead.arrays` and the ``branch`` of each
    row of a clip.
    """

    trains_together = True

    def __init__(self, branch: np.ndarray) -> None:
        """``branch``: branch of each row, as returned by :func:`merflow.systems.tsdgcn.fusion.fuse`."""
        self.branch = branch

    def train(self, rows: ClipRows, classes: int, folds: Sequence[FoldData], settings: S) -> Iterator[TrainedFold]:
        """See :meth:`merflow.systems.fold_runner.System.train`."""
        about = {"network": "heads", "branch": self.branch.tolist()}
        whole_clips = settings.inputs.fusion == "clip"
        for head in train_heads(rows[:], self.branch, folds, settings.loss, classes, settings.head, whole_clips):
            curve = [{"stage": "finetune"} | row for row in head.training.curve]
            model = SavedModel(about, head.arrays(self.branch))
            answers = EpochAnswers(settings.head.answers_every, head.training.answers)
            yield TrainedFold(
                partial(_predict, head, rows), [model], curve, {"head.epochs": head.training.epoch}, answers
            )


def _predict(head: TrainedHead, rows: ClipRows, indices: np.ndarray) -> np.ndarray:
    return head.probabilities(rows[indices])


def finetune(features: Features, files: ResultFiles, heads: Path, settings: FinetuneSettings, processes: int) -> None:
    """Train and test a head on every fold of every repeat (:func:`merflow.systems.fold_runner.run_job`).

    ``heads``: output, the trained heads; ``processes``: number of repeats that train side by side.

    Raises:
        InputError: feature files or splits do not belong together.
        ConfigError: a training diverged.
    """
    run_job(partial(_load, features, settings), settings, files, heads, processes=processes)


def train_repeats(features: Features, settings: FinetuneSettings) -> list[FoldResult]:
    """Train and test the heads of all repeats, one after the other; arguments and errors as in :func:`finetune`."""
    return run_repeats(partial(_load, features, settings), settings)


def _load(features: Features, settings: FinetuneSettings, seed: int) -> tuple[HeadSystem[FinetuneSettings], Samples]:
    samples, branch = load_features(features[seed], settings.clips, settings.inputs)
    return HeadSystem[FinetuneSettings](branch), samples
