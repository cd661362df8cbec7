"""The target network: both branches and both graphs fused, one head trained per fold (Eq. 4 and 5)."""

import ctypes
import itertools
import logging
import math
import multiprocessing
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from merflow.errors import ConfigError, InputError
from merflow.footage.clip import database
from merflow.learning.fit import class_numbers
from merflow.protocols.folds import Fold, folds
from merflow.protocols.selection import candidates, choose, trained_parts
from merflow.protocols.splits import read_folds
from merflow.protocols.variants import label, varied
from merflow.storage.disk_arrays import DiskArray, DiskArrayView, RowsInFile
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, PREDICTIONS, write_table, write_table_in_parts
from merflow.systems.tsdgcn.heads import (
    FoldData,
    RepeatData,
    SavedHead,
    TrainedHead,
    frame_of,
    probabilities,
    save_heads,
    train_heads,
)

log = logging.getLogger(__name__)


LESSONS_AT_ONCE = 2**26
"""Bytes of rows of the folds that train together, but at least one fold."""
CLIPS_AT_ONCE = 64
"""Clips whose features are read and fused together."""


@dataclass(frozen=True)
class Samples:
    """Labelled clips with their fused features.

    Attributes:
        clips: per clip ``dataset``, ``subject``, ``clip`` and ``truth``, for the table of predictions.
        rows: float32 ``[clips, rows, features]``, X^in of Eq. 5; of networks on clips, their images. On the disk.
        branch: int64 ``[rows]``: rows with the same number share their standardisation.
        labels: int64 ``[clips]``.
        classes: class names.
    """

    clips: list[dict[str, str]]
    rows: np.ndarray | DiskArray
    branch: np.ndarray
    labels: np.ndarray
    classes: list[str]

    @property
    def subjects(self) -> list[str]:
        """Subject of each clip."""
        return [clip["subject"] for clip in self.clips]

    def without_answers(self, fold: Fold) -> "Samples":
        """The same clips, those that a fold tests without their class: what may be handed to its training."""
        labels, clips = self.labels.copy(), list(self.clips)
        labels[fold.test] = -1
        for place in fold.test:
            clips[place] = clips[place] | {"truth": ""}
        return replace(self, labels=labels, clips=clips)


class Answers(NamedTuple):
    """What the heads of one loss answered: rows of the tables of predictions, training accuracies and curves.

    ``validation`` has for each fold rows as ``predictions``, of the clips that chose the epoch; as these are a row per
    fold and clip, they may wait on the disk. ``heads`` has the heads themselves. Both are empty where a :class:`Task`
    does not ask to keep them.
    """

    predictions: list[dict[str, Any]]
    accuracy_train: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    validation: list[Iterable[Mapping[str, Any]]]
    heads: list[SavedHead]

    @classmethod
    def none(cls) -> "Answers":
        """Of no fold yet."""
        return cls(*([] for _ in cls._fields))


def finetune(
    features: Mapping[int, Sequence[Sequence[Path]]],
    predictions: Path,
    accuracy_train: Path,
    curves: Path,
    settings: Mapping[str, Any],
    processes: int = 1,
    *,
    validation: Path | None = None,
    heads: Path | None = None,
) -> None:
    """Train and test the fused head on every fold of every repeat.

    Args:
        features: for each seed, for each micro dataset, the feature files of one network or of two (Eq. 4).
        predictions: output, one row per seed and labelled clip.
        accuracy_train: output, one row per seed and fold: accuracy over the training clips.
        curves: output, one row per seed, fold, epoch and split.
        settings: ``experiment, branches, fusion`` (stack or concat), ``loss, head, protocol``; if given, ``datasets``
            (names in the order of the files; else those in the files), ``classes`` (else those of the files) and
            ``labels`` ({dataset: {clip: label}}; else those of the files), ``splits`` ({seed: table of splits}) and
            ``selection`` (:mod:`merflow.protocols.selection`; else validation) with ``grid`` and ``inner_folds``. The
            head's: ``hidden, dropout, learning_rate, decay, epochs, patience, batch, weight_decay, validation``.
        processes: so many repeats are trained side by side. A head has the same bits whoever is trained beside it, so
            that this changes nothing but the time.
        validation: if given, output: as ``predictions``, of the clips that chose the epoch of a fold; empty with
            ``selection: none``.
        heads: if given, output: the heads of all folds with their standardisation
            (:func:`merflow.systems.tsdgcn.heads.save_heads`).
    """
    with ExitStack() as files:
        split = processes > 1 and len(features) > 1
        parts = [{seed: of_seed} for seed, of_seed in features.items()] if split else [features]
        waiting = [files.enter_context(tempfile.TemporaryFile()).fileno() for _ in parts]
        if split:
            # Forked, as a fresh interpreter would run the script that called this again; the files go with it.
            with ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _end_with_parent) as pool:
                found = list(pool.map(_repeats, parts, itertools.repeat(settings), waiting))
        else:
            found = [_repeats(features, settings, *waiting)]
        if heads:
            save_heads([one for answers in found for one in answers.heads], heads, settings)
        write_answers(found, predictions, accuracy_train, curves, validation)


def _end_with_parent() -> None:
    """Have the kernel end this worker when the job is killed: it would wait for work without end."""
    with suppress(OSError, AttributeError):  # Linux alone has it.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def write_answers(
    found: Iterable[Answers], predictions: Path, accuracy_train: Path, curves: Path, validation: Path | None = None
) -> None:
    """Write the tables of an experiment, or of one of its folds; empty where nothing is found."""
    rows = Answers.none()
    for answers in found:
        for one, more in zip(rows, answers, strict=True):
            one.extend(more)
    write_table(rows.predictions, predictions, PREDICTIONS)
    write_table(rows.accuracy_train, accuracy_train, ACCURACY_TRAIN)
    write_table(rows.curves, curves, CURVES)
    if validation:
        write_table_in_parts(rows.validation or [[]], validation, PREDICTIONS)


def _repeats(features: Mapping[int, Sequence[Sequence[Path]]], settings: Mapping[str, Any], waiting: int) -> Answers:
    """The answers of some repeats of an experiment, those for validation clips in an open file."""
    ((answers,),) = answer([Task(features, settings, [settings["loss"]], waiting)])
    return answers


class Task(NamedTuple):
    """An experiment, or several that differ in their loss only; ``features, settings`` as of :func:`finetune`.

    ``keep``: an open file for what the heads say of the clips that chose the epoch (:class:`RowsInFile`); with None the
    answers hold neither that nor the heads.
    """

    features: Mapping[int, Sequence[Sequence[Path]]]
    settings: Mapping[str, Any]
    losses: Sequence[Mapping[str, Any]]
    keep: int | None = None


def answer(tasks: Sequence[Task]) -> list[list[Answers]]:
    """Train and test the heads of all tasks, side by side (:mod:`merflow.systems.tsdgcn.heads`).

    The labels of a fold's test clips are not read before all its heads are trained.

    Returns:
        For each task the answers of each of its losses.

    Raises:
        InputError: as :func:`load_samples` and :func:`merflow.protocols.folds`.
        ConfigError: as :func:`merflow.systems.tsdgcn.heads.train_heads`.
    """
    answers = [[Answers.none() for _ in task.losses] for task in tasks]
    waiting: list[_Repeat] = []
    total, done, start = sum(len(task.features) for task in tasks), 0, time.monotonic()
    repeats = ((number, task, seed) for number, task in enumerate(tasks) for seed in task.features)
    for number, task, seed in repeats:
        samples = load_samples(task.features[seed], task.settings)
        parts = trained_parts(folds_of(samples, task.settings, seed), task.settings)
        repeat = _Repeat(number, task, seed, samples, parts)
        log.info("repeat %d: %d clips, %d folds, %s", seed, len(samples.clips), len(repeat.folds), samples.rows.shape)
        if waiting and (
            repeat.alike() != waiting[0].alike() or sum(r.size for r in [*waiting, repeat]) > LESSONS_AT_ONCE
        ):
            done += _answer(waiting, answers)
            log.info("%d of %d repeats in %.0f s", done, total, time.monotonic() - start)
            waiting = []
        waiting.append(repeat)
    _answer(waiting, answers)
    return answers


class _Repeat(NamedTuple):
    """One repeat of a task."""

    number: int
    task: Task
    seed: int
    samples: Samples
    folds: Sequence[Fold]

    @property
    def size(self) -> int:
        """Bytes of the rows of all its folds."""
        return sum(map(self.size_of, self.folds))

    def size_of(self, fold: Fold) -> int:
        """Bytes of the rows that a fold learns from."""
        return 4 * math.prod(self.samples.rows.shape[1:]) * (len(fold.train) + len(fold.validation))

    def alike(self) -> tuple[list[str], Mapping[str, Any], bool]:
        """What repeats that train together have in common."""
        return self.samples.classes, self.task.settings["head"], self.task.settings.get("selection") == "nested"


class _Trained(NamedTuple):
    """A fold of a repeat with its heads, one per loss, and what was chosen inside it."""

    fold: Fold
    lesson: FoldData
    heads: Sequence[TrainedHead]
    chosen: Mapping[str, Any]


def _answer(repeats: Sequence[_Repeat], answers: Sequence[Sequence[Answers]]) -> int:
    """Train and test the heads of some repeats, and add what they answer; the number of repeats."""
    *_, nested = repeats[0].alike()
    if nested:
        for repeat in repeats:
            _add(repeat, _chosen(repeat), answers)
    else:
        for repeat, trained in _given(repeats):
            _add(repeat, [_answered(repeat, one) for one in trained], answers)
    return len(repeats)


def _add(repeat: _Repeat, found: Iterable[Sequence[Answers]], answers: Sequence[Sequence[Answers]]) -> None:
    """Add what the heads of some folds answered, for each loss, to what those before them did."""
    for fold in found:
        for own, more in zip(answers[repeat.number], fold, strict=True):
            for rows, new in zip(own, more, strict=True):
                rows.extend(new)


def _answered(repeat: _Repeat, trained: _Trained) -> list[Answers]:
    """What the heads of one fold answer, for each loss."""
    fold, own, heads, chosen = trained
    samples, names = repeat.samples, {"experiment": repeat.task.settings["experiment"], "repeat": repeat.seed}
    known, chances = probabilities(heads, own.rows), probabilities(heads, samples.rows[fold.test])
    keep = repeat.task.keep
    held = probabilities(heads, own.held_rows) if keep is not None and len(own.held_rows) else None
    found = []
    for place, head in enumerate(heads):
        learnt, asked = (known[place], own.labels), (fold.validation, held[place]) if held else None
        found.append(fold_answers(samples, fold, chances[place], learnt, head.training.curve, names, chosen, asked))
        if keep is not None:
            found[-1].validation[:] = [RowsInFile.of(rows, keep) for rows in found[-1].validation]
            found[-1].heads.append(SavedHead.of(head, samples.branch, repeat.seed, fold.name))
        log.info(
            "repeat %d: fold %s, epoch %d kept, training accuracy %.1f %%",
            *(repeat.seed, fold.name, head.training.epoch, 100 * found[-1].accuracy_train[0]["accuracy"]),
        )
    return found


def _given(repeats: Sequence[_Repeat]) -> Iterator[tuple[_Repeat, list[_Trained]]]:
    """The heads of repeats whose settings are given, all side by side; of a large one, some folds at a time."""
    classes, head_settings, _ = repeats[0].alike()
    if len(repeats) == 1:
        (repeat,) = repeats
        seeds = [(repeat.seed, place) for place in range(len(repeat.folds))]
        for trained in _in_groups(repeat, repeat.folds, seeds, repeat.task.losses, head_settings):
            yield repeat, trained
        return
    courses = [
        RepeatData(
            [fold_data(repeat.samples, fold, (repeat.seed, place)) for place, fold in enumerate(repeat.folds)],
            repeat.samples.branch,
            repeat.task.losses,
        )
        for repeat in repeats
    ]
    found = train_heads(courses, len(classes), head_settings)
    for repeat, course, trained in zip(repeats, courses, found, strict=True):
        yield repeat, [_Trained(*one, {}) for one in zip(repeat.folds, course.lessons, trained, strict=True)]


def _in_groups(
    repeat: _Repeat,
    folds: Sequence[Fold],
    seeds: Sequence[tuple[int, ...]],
    losses: Sequence[Mapping[str, Any]],
    head_settings: Mapping[str, Any],
) -> Iterator[list[_Trained]]:
    """The heads of some folds of a repeat, as many folds at a time as :data:`LESSONS_AT_ONCE` allows."""
    samples, groups, size = repeat.samples, [], math.inf
    for place, fold in enumerate(folds):
        size += repeat.size_of(fold)
        if size > LESSONS_AT_ONCE:
            groups.append([])
            size = repeat.size_of(fold)
        groups[-1].append(place)
    # A head has the same bits in every group, as its sizes are those of all folds.
    every = (fold_data(samples, fold, seed) for fold, seed in zip(folds, seeds, strict=True))
    frame = frame_of(every, samples.branch, head_settings) if len(groups) > 1 else None
    for group in groups:
        lessons = [fold_data(samples, folds[place], seeds[place]) for place in group]
        (found,) = train_heads(
            [RepeatData(lessons, samples.branch, losses, frame)], len(samples.classes), head_settings
        )
        yield [_Trained(*one, {}) for one in zip([folds[place] for place in group], lessons, found, strict=True)]


def _chosen(repeat: _Repeat) -> list[list[Answers]]:
    """What the heads of a repeat answer, those of each fold with the settings that were chosen inside it."""
    samples, settings = repeat.samples, repeat.task.settings | {"loss": repeat.task.losses[0]}
    seeds = [(repeat.seed, place) for place in range(len(repeat.folds))]

    def heads(
        folds: Sequence[Fold], own_seeds: Sequence[tuple[int, ...]], own: Mapping[str, Any]
    ) -> Iterator[_Trained]:
        for group in _in_groups(repeat, folds, own_seeds, [own["loss"]], own["head"]):
            yield from group

    def inner(folds: Sequence[Fold], own_seeds: Sequence[tuple[int, ...]], own: Mapping[str, Any]) -> list[np.ndarray]:
        return [one.heads[0].probabilities(samples.rows[one.fold.test]) for one in heads(folds, own_seeds, own)]

    share = settings["head"]["validation"]
    chosen = choose(repeat.folds, seeds, samples.subjects, samples.labels, settings, share, inner)
    found: dict[int, list[Answers]] = {}
    for option in candidates(settings["grid"]):
        places = [place for place, own in enumerate(chosen) if own == option]
        some = heads([repeat.folds[n] for n in places], [seeds[n] for n in places], varied(settings, option))
        for place, one in zip(places, some, strict=True):
            found[place] = _answered(repeat, one._replace(chosen=option))
    return [found[place] for place in range(len(repeat.folds))]


def fold_data(samples: Samples, fold: Fold, seed: tuple[int, ...]) -> FoldData:
    """What the heads of a fold learn from: neither rows nor labels of its test clips."""
    labels, held_labels = fold.training_labels(samples.labels)

    def rows(places: np.ndarray) -> np.ndarray | DiskArrayView:
        return DiskArrayView(samples.rows, places) if isinstance(samples.rows, DiskArray) else samples.rows[places]

    return FoldData(rows(fold.train), labels, rows(fold.validation), held_labels, seed, fold.name)


def folds_of(samples: Samples, settings: Mapping[str, Any], seed: int) -> list[Fold]:
    """The folds of labelled clips under the settings of an experiment.

    They are read from the file that all compared systems share: ``splits`` of the settings, by seed. Settings without
    it, outside a workflow, draw what such a file would hold (:func:`merflow.protocols.folds`).
    """
    if "splits" in settings:
        return list(read_folds(Path(settings["splits"][seed]), samples.clips))
    return folds(
        settings["protocol"],
        samples.subjects,
        samples.labels,
        validation=settings["head"]["validation"],
        seed=seed,
        settings=settings,
    )


def fold_of(samples: Samples, settings: Mapping[str, Any], seed: int, name: str) -> tuple[int, Fold] | None:
    """One of :func:`folds_of` by its name, with its place among them; None where it has no clip."""
    own = settings.get("splits")
    every = read_folds(Path(own[seed]), samples.clips) if own else folds_of(samples, settings, seed)
    return next(((place, fold) for place, fold in enumerate(every) if fold.name == name), None)


def fold_answers(
    samples: Samples,
    fold: Fold,
    test: np.ndarray,
    known: tuple[np.ndarray, np.ndarray],
    curve: Sequence[Mapping[str, Any]],
    names: Mapping[str, Any],
    chosen: Mapping[str, Any],
    held: tuple[np.ndarray, np.ndarray] | None = None,
) -> Answers:
    """What one fold adds to the tables.

    Args:
        samples: all clips with their classes.
        fold: as it trained.
        test: probabilities of its test clips, ``[clips, classes]``.
        known: probabilities of the clips that trained, and their classes; the audit counts them.
        curve: rows ``epoch, split, loss, accuracy``, and ``stage`` where it is not fine-tuning.
        names: ``experiment, repeat``.
        chosen: settings that were chosen inside the fold.
        held: places and probabilities of clips that did not train, and are not those of the test.
    """
    chances, labels = known
    accuracy = float((chances.argmax(axis=1) == labels).mean())
    about = {"fold": fold.name, "stage": "finetune", "accuracy": accuracy, "n": len(labels), "chosen": label(chosen)}
    course = [{**names, "stage": "finetune", "name": fold.name, **row} for row in curve]
    names = dict(names) | {"fold": fold.name}
    answered = answer_rows(samples, fold.test, test, names)
    rows = answer_rows(samples, *held, names) if held else []
    return Answers(answered, [names | about], course, [rows] if rows else [], [])


def answer_rows(
    samples: Samples, places: np.ndarray, chances: np.ndarray, names: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Rows of a table of predictions for the clips at some places; ``chances [clips, classes]``."""
    rows = []
    for place, chance in zip(places, chances, strict=True):
        predicted = samples.classes[int(chance.argmax())]
        shares = {f"p_{name}": float(share) for name, share in zip(samples.classes, chance, strict=True)}
        rows.append(dict(names) | samples.clips[place] | {"predicted": predicted} | shares)
    return rows


def load_samples(datasets: Sequence[Sequence[Path]], settings: Mapping[str, Any]) -> Samples:
    """Read and fuse the features of all labelled clips.

    Args:
        datasets: for each micro dataset the feature files of its one or two networks.
        settings: as in :func:`finetune`.

    Raises:
        InputError: files do not belong together, or lack what the branches need.
    """
    loaded, features = [], []
    for number, files in enumerate(datasets):
        name = settings["datasets"][number] if settings.get("datasets") else None
        samples, clips = _load_dataset(files, name, settings)
        loaded.append(samples)
        features.append(clips)
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
        rows=DiskArray(itertools.chain.from_iterable(features)),
        branch=loaded[0].branch,
        labels=np.concatenate([samples.labels for samples in loaded]),
        classes=classes,
    )


def _load_dataset(
    files: Sequence[Path], name: str | None, settings: Mapping[str, Any]
) -> tuple[Samples, Iterator[np.ndarray]]:
    """The samples of one dataset, but for their rows, of which they show the shape alone; and the rows of each clip."""
    shapes: dict[str, list[tuple[int, ...]]] = {branch: [] for branch in settings["branches"]}
    clips = None
    for path in files:
        with _feature_file(path) as file:
            labels = file["label"].asstr()[:]
            table = [(str(c), str(s)) for c, s in zip(file["clip"].asstr(), file["subject"].asstr(), strict=True)]
            classes = list(settings.get("classes") or map(str, file.attrs["classes"]))
            name = name or str(file.attrs["dataset"])
            repeats = int(file.attrs["rows_per_flow"])
            own = settings.get("labels", {}).get(name)
            labels = labels if own is None else np.array([own.get(clip, "") for clip, _ in table], dtype=object)
            kept = np.flatnonzero(np.isin(labels, classes) if settings.get("classes") else labels != "")
            for branch, parts in shapes.items():
                parts.append(file[branch].shape[1:])
        if clips is not None and table != clips:
            raise InputError(f"{path} holds other clips than {files[0]}; delete both and run again")
        clips = table
    if not len(kept):
        raise InputError(f"{files[0]} holds no labelled clip")
    for branch, parts in shapes.items():
        if not parts[0][0]:
            raise InputError(f"{files[0]} has no {branch} features; leave {branch} out of `branches`")
    nothing = {
        branch: np.concatenate([np.zeros((0, *shape), np.float32) for shape in parts], axis=2)
        for branch, parts in shapes.items()
    }
    rows, branch = fuse(nothing, settings["fusion"], repeats)
    labels = labels[kept]
    samples = Samples(
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
    return samples, _fused(files, kept, settings, repeats)


def _fused(files: Sequence[Path], kept: np.ndarray, settings: Mapping[str, Any], repeats: int) -> Iterator[np.ndarray]:
    """Rows ``[rows, features]`` of the clips at the places ``kept``, rising: the features of the networks side by side
    (Eq. 4), then the branches fused.
    """
    for first in range(0, len(kept), CLIPS_AT_ONCE):
        places = kept[first : first + CLIPS_AT_ONCE]
        networks: dict[str, list[np.ndarray]] = {branch: [] for branch in settings["branches"]}
        for path in files:
            with _feature_file(path) as file:
                for branch, parts in networks.items():
                    parts.append(file[branch][places[0] : places[-1] + 1][places - places[0]])
        yield from fuse(
            {branch: np.concatenate(parts, axis=2) for branch, parts in networks.items()}, settings["fusion"], repeats
        )[0]


@contextmanager
def _feature_file(path: Path) -> Iterator[h5py.File]:
    """A feature file, open.

    Raises:
        InputError: it is none.
    """
    try:
        with open_h5(path) as file:
            yield file
    except (OSError, KeyError) as error:
        raise InputError(f"{path} is not a feature file of merflow: {error}; delete it and run again") from error


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
