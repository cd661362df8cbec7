"""Fine-tuning of TSDGCN: a head per fold on the features of pre-trained SGCNs, which all folds share."""

import ctypes
import logging
import multiprocessing
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from merflow.protocols.splits import read_folds
from merflow.systems.fold_runner import ClipRows, System, TrainedFold, run_folds
from merflow.systems.predictions import FoldResult, ResultFiles, write_results
from merflow.systems.samples import FoldData
from merflow.systems.settings import FinetuneSettings
from merflow.systems.tsdgcn.fusion import load_features
from merflow.systems.tsdgcn.head_training import train_heads
from merflow.systems.tsdgcn.heads import SavedHead, TrainedHead, save_heads

log = logging.getLogger(__name__)

Features = Mapping[int, Sequence[Sequence[str | Path]]]
"""For each seed and micro dataset the feature files of one network or of two (Eq. 4)."""
S = TypeVar("S", bound=FinetuneSettings)


class HeadSystem(System[S]):
    """A head on given features; the heads of all folds train together."""

    trains_together = True

    def __init__(self, branch: np.ndarray) -> None:
        """``branch``: branch of each row, as returned by :func:`merflow.systems.tsdgcn.fusion.fuse`."""
        self.branch = branch

    def train(self, rows: ClipRows, classes: int, folds: Sequence[FoldData], settings: S) -> Iterator[TrainedFold]:
        """See :meth:`merflow.systems.fold_runner.System.train`; the model is a :class:`SavedHead`."""
        trained = train_heads(rows[:], self.branch, folds, settings.loss, classes, settings.head)
        for fold, head in zip(folds, trained, strict=True):
            yield TrainedFold(
                predict=partial(_predict, head, rows),
                model=SavedHead.of(head, self.branch, fold.seed[0], fold.name),
                curve=[{"stage": "finetune"} | row for row in head.training.curve],
                epochs={},
            )

    @staticmethod
    def save(models: Sequence[SavedHead], path: Path, settings: S) -> None:
        """Write all heads with their standardisation, and the settings that made them."""
        about = asdict(settings)
        del about["splits"], about["clips"]["labels"]
        save_heads(models, path, about)


def _predict(head: TrainedHead, rows: ClipRows, places: np.ndarray) -> np.ndarray:
    return head.probabilities(rows[places])


def finetune(features: Features, files: ResultFiles, heads: Path, settings: FinetuneSettings, processes: int) -> None:
    """Train and test a head on every fold of every repeat.

    ``heads``: output of :func:`merflow.systems.tsdgcn.heads.save_heads`; ``processes``: number of repeats that train
    side by side, which changes no result.

    Raises:
        InputError: feature files or splits do not belong together.
        ConfigError: a training diverged.
    """
    results = train_repeats(features, settings, processes)
    HeadSystem.save([result.model for result in results], heads, settings)
    write_results(results, settings.experiment, files)


def train_repeats(features: Features, settings: FinetuneSettings, processes: int = 1) -> list[FoldResult]:
    """Train and test the heads of all repeats; arguments as in :func:`finetune`."""
    run = partial(_train_repeat, features, settings)
    if processes == 1 or len(features) == 1:
        return [result for seed in features for result in run(seed)]
    # Forked: a fresh interpreter would run the script that called this function again.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _end_with_parent) as pool:
        return [result for repeat in pool.map(run, features) for result in repeat]


def _train_repeat(features: Features, settings: FinetuneSettings, seed: int) -> list[FoldResult]:
    """Train and test the heads of one repeat."""
    samples, branch = load_features(features[seed], settings.clips, settings.branches, settings.fusion)
    folds = list(read_folds(settings.splits[seed], samples.clips))
    log.info("repeat %d: %d clips, %d folds, %s", seed, len(samples.clips), len(folds), samples.rows.shape)
    return run_folds(HeadSystem[FinetuneSettings](branch), samples, folds, seed, settings)


def _end_with_parent() -> None:
    """Ask the kernel to end this worker if its parent is killed; otherwise it would block forever."""
    with suppress(OSError, AttributeError):  # Only Linux has it.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
