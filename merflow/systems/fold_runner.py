"""The one way to train and test the folds of an experiment, for every system.

A :class:`System` says how its model is made and trained. The functions call each other in this order:

- :func:`run_job` writes the tables and models of
- :func:`run_repeats`, side by side or one after the other: each reads its samples and splits, and calls
- :func:`run_folds`, which trains and tests the folds of a repeat, together or one by one: it selects settings inside
  the training part, lets validation subjects choose the epoch, trains on them too if the experiment refits
  (:func:`_train`), and predicts the test clips, whose labels no training gets (:func:`_result`).
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from merflow.protocols.folds import Fold
from merflow.protocols.selection import select_settings, without_validation
from merflow.protocols.splits import read_folds
from merflow.protocols.variants import with_overrides
from merflow.runtime.driver import worker_pool
from merflow.storage.disk_arrays import DiskArray
from merflow.systems.predictions import EpochAnswers, FoldPredictions, FoldResult, ResultFiles, answers, write_results
from merflow.systems.samples import FoldData, Samples
from merflow.systems.settings import JobSettings

if TYPE_CHECKING:
    from merflow.learning.checkpoints import Checkpoints
    from merflow.systems.saved_models import SavedModel

log = logging.getLogger(__name__)

S = TypeVar("S", bound=JobSettings)
ClipRows = np.ndarray | DiskArray
"""float32 ``[clips, rows, features or pixels]``."""


@dataclass(frozen=True)
class TrainedFold:
    """A model after its training on one fold.

    Attributes:
        predict: maps indices of clips to their class probabilities, float64 ``[n, classes]``.
        models: the models as they are saved, one per member; none for a baseline.
        curve: rows ``stage, epoch, split, loss, accuracy``.
        epochs: the epoch that the validation clips chose, by the dotted key that sets the number of epochs.
        answers: classes of the test clips after each epoch, if the fold keeps them.
    """

    predict: Callable[[np.ndarray], np.ndarray]
    models: "Sequence[SavedModel]"
    curve: Sequence[Mapping[str, Any]]
    epochs: Mapping[str, int]
    answers: EpochAnswers = EpochAnswers()


class System(ABC, Generic[S]):
    """How the model of a system is made and trained.

    Attributes:
        trains_together: whether one call of :meth:`train` gets all folds, as heads do; otherwise one fold after the
            other is prepared and trained.
        checkpoints: where the trainings of a job save their states; None: nowhere.
    """

    trains_together = False
    checkpoints: "Checkpoints | None" = None

    def prepare(self, fold: Fold, subjects: Sequence[str]) -> None:  # noqa: B027
        """Learn what all trainings of a fold start from, such as pre-trained networks; not if it `trains_together`.

        ``subjects``: subject of each clip.
        """

    @abstractmethod
    def train(self, rows: ClipRows, classes: int, folds: Sequence[FoldData], settings: S) -> Iterable[TrainedFold]:
        """Train a model on each fold, with its seed, and yield them in the order of the folds.

        Args:
            rows: inputs of all clips.
            classes: number of classes.
            folds: training and validation clips; without validation clips the last epoch is kept.
            settings: settings of the job, with selected values in place.
        """


@dataclass(frozen=True)
class TrainedPair:
    """The model whose epoch the validation clips chose, the ``final`` one, which predicts, and what that trained on."""

    chosen: TrainedFold
    final: TrainedFold
    trained_on: FoldData


LoadRepeat = Callable[[int], tuple[System[S], Samples]]
"""Maps the seed of a repeat to its system and samples."""


def run_job(
    load: LoadRepeat[S],
    settings: S,
    files: ResultFiles,
    model: Path | None = None,
    names: Sequence[str] | None = None,
    processes: int = 1,
) -> None:
    """Train and test folds of each repeat in ``settings.splits``, and write their tables and models.

    A fold of which no clip could be used is left out; without folds the tables have a header only.

    Args:
        load: makes the system and reads the samples of a repeat.
        settings: settings of the job.
        files: output tables.
        model: output, the trained models (:mod:`merflow.systems.saved_models`); None for a baseline.
        names: names of the folds, in the order of the tables; None: all, in the order of the splits.
        processes: number of repeats that train side by side, which changes no result.

    Raises:
        InputError: inputs and splits do not belong together, or no settings can be selected inside a fold.
        ConfigError: a training diverged.
    """
    results = run_repeats(load, settings, names, processes)
    if model:
        from merflow.systems.saved_models import write_models  # It imports torch, which baselines do not need.

        write_models(results, model, settings)
    write_results(results, settings.experiment, files)


def run_repeats(
    load: LoadRepeat[S], settings: S, names: Sequence[str] | None = None, processes: int = 1
) -> list[FoldResult]:
    """Train and test folds of each repeat; return their results. Arguments and errors are those of :func:`run_job`."""
    run = partial(_run_repeat, load, settings, names)
    if processes == 1 or len(settings.splits) == 1:
        return [result for seed in settings.splits for result in run(seed)]
    with worker_pool(processes) as pool:
        return [result for repeat in pool.map(run, settings.splits) for result in repeat]


def _run_repeat(load: LoadRepeat[S], settings: S, names: Sequence[str] | None, seed: int) -> list[FoldResult]:
    system, samples = load(seed)
    all_folds = read_folds(settings.splits[seed], samples.clips[: samples.divided])
    folds = {fold.name: fold for fold in all_folds if not names or fold.name in names}
    log.info("repeat %d: %d clips, %d folds, %s", seed, len(samples.clips), len(folds), samples.rows.shape)
    for name in set(names or ()) - set(folds):
        log.warning("no clip of fold %s could be used; it is left out", name)
    return run_folds(system, samples, [folds[name] for name in names or folds if name in folds], seed, settings)


def run_folds(system: System[S], samples: Samples, folds: Sequence[Fold], repeat: int, settings: S) -> list[FoldResult]:
    """Train and test a system on folds of one repeat; return the result of each fold, in their order.

    Raises:
        ConfigError: a training diverged.
        InputError: no settings can be selected inside a fold, or it cannot be prepared.
    """
    groups = [list(folds)] if system.trains_together else [[fold] for fold in folds]
    return [result for group in groups if group for result in _run_together(system, samples, group, repeat, settings)]


def _run_together(system: System[S], samples: Samples, folds: list[Fold], repeat: int, settings: S) -> list[FoldResult]:
    """Train and test the folds of one call of :meth:`System.train`."""
    seeds = [(repeat, fold.number) for fold in folds]
    if system.checkpoints:
        system.checkpoints.depend_on(seeds, [vars(fold) for fold in folds], str(samples.rows), samples.labels)
    if not system.trains_together:
        system.prepare(folds[0], samples.subjects)

    def predict_inner(
        inner: Sequence[Fold], inner_seeds: Sequence[tuple[int, ...]], overrides: Mapping[str, Any]
    ) -> Iterator[np.ndarray]:
        trained_pairs = _train(system, samples, inner, inner_seeds, with_overrides(settings, overrides))
        for fold, trained in zip(inner, trained_pairs, strict=True):
            yield trained.final.predict(fold.test)

    selected = select_settings(folds, seeds, samples.subjects, samples.labels, settings.selection, predict_inner)
    folds = _divided(folds, settings)
    results: dict[int, FoldResult] = {}
    for overrides in [option for index, option in enumerate(selected) if option not in selected[:index]]:
        indices = [index for index, option in enumerate(selected) if option == overrides]
        equal_folds, equal_seeds = [folds[index] for index in indices], [seeds[index] for index in indices]
        selected_settings = with_overrides(settings, overrides)
        trained_pairs = _train(system, samples, equal_folds, equal_seeds, selected_settings, keep_answers=True)
        for index, trained in zip(indices, trained_pairs, strict=True):
            results[index] = _result(samples, folds[index], repeat, overrides, trained)
    return [results[index] for index in range(len(folds))]


def _divided(folds: Sequence[Fold], settings: JobSettings) -> list[Fold]:
    """Return folds whose validation clips train if they do not choose the epoch."""
    return list(folds) if settings.selection.uses_validation else [without_validation(fold) for fold in folds]


def _train(
    system: System[S],
    samples: Samples,
    folds: Sequence[Fold],
    seeds: Sequence[tuple[int, ...]],
    settings: S,
    keep_answers: bool = False,
) -> Iterator[TrainedPair]:
    """Train the members of each fold and yield their mean.

    ``keep_answers``: whether the first one that predicts keeps its answers for the test clips after each epoch.
    """
    members = []
    for member in range(settings.members):
        member_seeds = [(*seed, 0, member) if member else seed for seed in seeds]
        members.append(_train_member(system, samples, folds, member_seeds, settings, keep_answers and not member))
    for pairs in zip(*members, strict=True):
        chosen, final = (_mean([getattr(pair, name) for pair in pairs]) for name in ("chosen", "final"))
        yield TrainedPair(chosen, final, pairs[0].trained_on)


def _train_member(
    system: System[S],
    samples: Samples,
    folds: Sequence[Fold],
    seeds: Sequence[tuple[int, ...]],
    settings: S,
    keep_answers: bool,
) -> Iterator[TrainedPair]:
    """Train a model on each fold; if the experiment refits, the one that predicts trains on validation clips too."""
    classes, refits = len(samples.classes), settings.selection.epoch == "refit"
    folds = [samples.with_added(fold) for fold in _divided(folds, settings)]
    # The training that chooses the epochs of a refit predicts no test clip.
    kept = [keep_answers and not (refits and len(fold.validation)) for fold in folds]
    data = [FoldData.of(fold, samples.labels, seed, keep) for fold, seed, keep in zip(folds, seeds, kept, strict=True)]
    trained_folds = system.train(samples.rows, classes, data, settings)
    for fold, trained_on, chosen in zip(folds, data, trained_folds, strict=True):
        final = chosen
        if refits and len(fold.validation):
            whole, seed = without_validation(fold), trained_on.seed
            trained_on = FoldData.of(whole, samples.labels, seed, keep_answers)
            (final,) = system.train(samples.rows, classes, [trained_on], with_overrides(settings, chosen.epochs))
        yield TrainedPair(chosen, final, trained_on)


def _mean(members: Sequence[TrainedFold]) -> TrainedFold:
    """Return members as one model: the mean of their probabilities. Curve and epochs are those of the first."""

    def predict(indices: np.ndarray) -> np.ndarray:
        mean: np.ndarray = np.mean([member.predict(indices) for member in members], axis=0)
        return mean

    return replace(members[0], predict=predict, models=[model for member in members for model in member.models])


def _result(samples: Samples, fold: Fold, repeat: int, overrides: Mapping[str, Any], pair: TrainedPair) -> FoldResult:
    """Predict the clips of a trained fold."""
    chosen, final, trained_on = pair.chosen, pair.final, pair.trained_on
    validation_probs = np.zeros((0, len(samples.classes)))
    if len(fold.validation):
        validation_probs = chosen.predict(fold.validation)
    answered = answers(final.predict(trained_on.train), samples.labels.ndim == 2)
    accuracy = float((answered == trained_on.train_labels).mean())
    log.info("repeat %d, fold %s: training accuracy %.1f %%", repeat, fold.name, 100 * accuracy)
    return FoldResult(
        repeat=repeat,
        fold=fold.name,
        test=FoldPredictions.of(samples, fold.test, final.predict(fold.test)),
        validation=FoldPredictions.of(samples, fold.validation, validation_probs),
        train_accuracy=accuracy,
        train_clips=len(trained_on.train),
        curve=chosen.curve,
        overrides=overrides,
        models=final.models,
        answers=final.answers,
    )
