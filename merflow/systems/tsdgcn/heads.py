"""Heads: the network after fusion, a small one, of which a study trains thousands; they are trained side by side.

A head alone keeps a processor waiting: its matrices are small, and every step pays for dozens of calls. Heads that take
the same number of steps march together here, every matrix with a leading axis of heads. Each head has its own batches,
its own dropout, its own loss, its own best epoch and its own end, exactly as :func:`merflow.learning.fit.fit` would
train it alone; a head that has finished leaves, and the others go on.
"""

import copy
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.adam import adam

from merflow.errors import ConfigError, InputError
from merflow.learning.fit import Training, repeatable
from merflow.learning.losses import StackedLoss
from merflow.storage.disk_arrays import DiskArrayView, index_chunks
from merflow.storage.weights import read_weights, write_weights
from merflow.systems.settings import HeadSettings

LEAST_SCALE = 0.2
"""Least divisor of a feature, as a share of its branch's root mean square deviation. A feature that is silent (after
ReLU) on the training people and speaks on another person would else be blown up to hundreds of deviations."""
TOGETHER = 2**21
"""Weights of the heads that march together; with gradients and Adam's averages four times that."""
ENOUGH = 8
"""So many heads of one lesson march by themselves."""
IN_MEMORY = 2**26
"""Bytes of rows of a lesson that are read into memory. With more they stay on the disk, and each step reads its own."""
READ_WHOLE = 2**23
"""Bytes of rows that are read at once to standardise a lesson: a little faster than row by row."""
ROWS_AT_ONCE = 1024
"""Rows that are standardised and judged together, where a lesson stays on the disk or its clips are answered."""
DRAWN = 2**22
"""Numbers of dropout that are drawn ahead, but at least those of one step."""
VECTOR = 16
"""float32 in the widest vector register of a processor."""
ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False, "maximize": False, "fused": True}


WEIGHTS = ("weight_1", "bias_1", "weight_2", "bias_2")
"""Names of the parameters of a head in files, in their order."""


class Head(nn.Sequential):
    """The fully connected layer after fusion, with ReLU and dropout, and the classifier."""

    def __init__(self, inputs: int, hidden: int, classes: int, dropout: float):
        """Make a head with random weights from torch's generator."""
        super().__init__(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), Dropout(dropout), nn.Linear(hidden, classes))


class Dropout(nn.Module):
    """Dropout as torch has it, from uniform numbers: half of the time, for as few numbers as a head needs."""

    def __init__(self, share: float):
        """``share`` of the inputs is silenced in training."""
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """The inputs, of any shape, times 0 or 1 / (1 - share)."""
        if not self.training or not self.share:
            return x
        return x * torch.rand(x.shape, device=x.device).ge_(self.share).div_(1 - self.share)


@dataclass(frozen=True)
class Standard:
    """Standardisation of the features of a training fold, by branch.

    Attributes:
        mean: float32 ``[rows, features]``.
        scale: float32 ``[rows, features]``: the deviation, but see :data:`LEAST_SCALE`.
        speaks: bool ``[features]``: whether a feature varies at all.
    """

    mean: np.ndarray
    scale: np.ndarray
    speaks: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray | DiskArrayView, branch: np.ndarray) -> "Standard":
        """Of training rows ``[clips, rows, features]``; rows with the same number in ``branch`` share it."""
        mean, scale = np.empty(rows.shape[1:], np.float32), np.empty(rows.shape[1:], np.float32)
        speaks = np.zeros(rows.shape[2], bool)
        for number in np.unique(branch):
            middle, deviation = _moments(rows, branch == number)
            mean[branch == number] = middle
            floor = LEAST_SCALE * float(np.sqrt(np.mean(deviation**2)))
            scale[branch == number] = np.maximum(deviation, floor) if floor > 1e-6 else 1
            speaks |= deviation > 0
        return cls(mean, scale, speaks)

    def of_some(self, rows: np.ndarray, features: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Standardised rows ``[clips, rows, features]``, of all features or of those at some places."""
        return (rows[..., features] - self.mean[:, features]) / self.scale[:, features]


def _moments(rows: np.ndarray | DiskArrayView, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each feature, float32 ``[features]``, over the chosen rows of all clips."""
    if isinstance(rows, np.ndarray):
        own = rows[:, chosen]
        return own.mean(axis=(0, 1)), own.std(axis=(0, 1))
    # The sums of numpy, in its order: row by row, the first row of all clips first.
    count = len(rows) * int(chosen.sum())

    def summed(term: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        total = np.zeros((0, rows.shape[2]), np.float32)
        for row in np.flatnonzero(chosen):
            for part in index_chunks(len(rows), ROWS_AT_ONCE):
                own = rows.rows(part, np.full(len(part), row))
                total = np.add.reduce(np.concatenate([total, term(own)]), axis=0, keepdims=True)
        return (total[0] / count).astype(np.float32)

    mean = summed(lambda own: own)
    return mean, np.sqrt(summed(lambda own: np.square(own - mean)))


class FoldData(NamedTuple):
    """What the heads of one fold learn from.

    Attributes:
        rows: float32 ``[clips, rows, features]`` of the clips that train, in memory or on the disk; they alone set the
            standardisation.
        labels: int64 ``[clips]``.
        held_rows: the same of the clips that choose the epoch; may be empty.
        held_labels: their classes.
        seed: seed of weights, batches and dropout.
        fold: its name, for messages.
    """

    rows: np.ndarray | DiskArrayView
    labels: np.ndarray
    held_rows: np.ndarray | DiskArrayView
    held_labels: np.ndarray
    seed: tuple[int, ...]
    fold: str = ""

    @property
    def stays(self) -> bool:
        """Whether its rows stay on the disk while heads learn from them."""
        return isinstance(self.rows, DiskArrayView) and self.rows.nbytes + self.held_rows.nbytes > IN_MEMORY


class RepeatData(NamedTuple):
    """The folds of one repeat of an experiment, or of several that differ in their loss only.

    Attributes:
        lessons: of equal rows and features.
        branch: int64 ``[rows]``: rows of a clip with the same number share their standardisation.
        losses: settings of each loss, as of :func:`merflow.learning.losses.make_loss`.
        frame: of a course that is taught in parts, what :func:`frame_of` says of all of its lessons.
    """

    lessons: Sequence[FoldData]
    branch: np.ndarray
    losses: Sequence[Mapping[str, Any]]
    frame: "Frame | None" = None


@dataclass(frozen=True)
class TrainedHead:
    """A head with the standardisation of its training fold.

    Attributes:
        head: the network.
        standard: of the rows that trained it.
        training: epoch and curve.
    """

    head: Head
    standard: Standard
    training: Training

    def probabilities(self, rows: np.ndarray | DiskArrayView) -> np.ndarray:
        """A clip's answer: the mean probability over its rows, float64 ``[clips, classes]``."""
        return probabilities([self], rows)[0]


@torch.no_grad()
def probabilities(heads: Sequence[TrainedHead], rows: np.ndarray | DiskArrayView) -> list[np.ndarray]:
    """:meth:`TrainedHead.probabilities` of heads of one fold, which share their standardisation."""
    found: list[list[np.ndarray]] = [[] for _ in heads]
    with repeatable(0):
        for part in index_chunks(len(rows), ROWS_AT_ONCE // rows.shape[1]):
            x = _flat(heads[0].standard.of_some(rows[part]))
            for one, own in zip(heads, found, strict=True):
                scores = one.head.eval()(x).double().softmax(dim=1)
                own.append(scores.reshape(len(part), rows.shape[1], scores.shape[-1]).mean(dim=1).numpy())
    return [np.concatenate(own) for own in found]


class SavedHead(NamedTuple):
    """A trained head as arrays, with the standardisation of its training fold.

    Attributes:
        seed: the repeat.
        fold: name of the fold.
        branch: int64 ``[rows]``, as of :class:`RepeatData`.
        arrays: :data:`WEIGHTS` of :class:`Head`; ``mean, scale`` ``[branches, features]``.
    """

    seed: int
    fold: str
    branch: np.ndarray
    arrays: dict[str, np.ndarray]

    @classmethod
    def of(cls, trained: TrainedHead, branch: np.ndarray, seed: int, fold: str) -> "SavedHead":
        """Of a head; rows of one branch share their standardisation, which is kept once."""
        weights = [weight.detach().cpu().numpy() for weight in trained.head.parameters()]
        first = np.unique(branch, return_index=True)[1]
        arrays = dict(zip(WEIGHTS, weights, strict=True))
        standard = {"mean": trained.standard.mean[first], "scale": trained.standard.scale[first]}
        return cls(seed, fold, branch, arrays | standard)

    def network(self) -> "StandardHead":
        """The head as a network."""
        return StandardHead(self.branch, self.arrays)


class StandardHead(nn.Module):
    """A saved head with its standardisation: rows of a clip to the clip's answer."""

    def __init__(self, branch: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """See :class:`SavedHead`."""
        super().__init__()
        hidden, inputs = arrays["weight_1"].shape
        self.head = Head(inputs, hidden, len(arrays["bias_2"]), 0.0)
        with torch.no_grad():
            for weight, name in zip(self.head.parameters(), WEIGHTS, strict=True):
                weight.copy_(torch.as_tensor(arrays[name]))
        for name in ("mean", "scale"):
            self.register_buffer(name, torch.as_tensor(arrays[name])[torch.as_tensor(branch)])
        self.eval()

    def forward(self, rows: Tensor) -> Tensor:
        """Features ``[clips, rows, features]`` to class scores ``[clips, rows, classes]``."""
        return self.head((rows - self.mean) / self.scale)


def save_heads(heads: Sequence[SavedHead], path: str | Path, settings: Mapping[str, Any]) -> None:
    """Write heads as one safetensors file; its metadata say whose they are and what they were trained with."""
    tensors = {
        f"{number}/{name}": torch.from_numpy(np.ascontiguousarray(array))
        for number, one in enumerate(heads)
        for name, array in one.arrays.items()
    }
    about = [{"seed": one.seed, "fold": one.fold} for one in heads]
    branch = heads[0].branch.tolist() if heads else []
    metadata = {"network": "heads", "heads": json.dumps(about), "branch": json.dumps(branch)}
    told = {key: value for key, value in settings.items() if key not in ("splits", "labels")}
    write_weights(tensors, path, metadata | {"settings": json.dumps(told, sort_keys=True)})


def load_heads(path: str | Path) -> list[SavedHead]:
    """The heads of :func:`save_heads`.

    Raises:
        InputError: the file holds none.
    """
    metadata, tensors = read_weights(path)
    with _heads(path):
        branch = np.array(json.loads(metadata["branch"]), np.int64)
        about = json.loads(metadata["heads"])
        names = (*WEIGHTS, "mean", "scale")
        heads = [
            SavedHead(one["seed"], one["fold"], branch, {name: tensors[f"{number}/{name}"].numpy() for name in names})
            for number, one in enumerate(about)
        ]
        if not all(_fits(head) for head in heads):
            raise ValueError("its arrays do not fit together")
    return heads


def heads_in(path: str | Path) -> list[tuple[int, str]]:
    """Seed and fold of the heads of :func:`save_heads`, which are not read themselves; raises as :func:`load_heads`."""
    metadata, _ = read_weights(path, arrays=False)
    with _heads(path):
        return [(one["seed"], one["fold"]) for one in json.loads(metadata["heads"])]


@contextmanager
def _heads(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} holds no heads of merflow ({error}); delete it and run again") from error


def _fits(head: SavedHead) -> bool:
    """Whether the arrays of a head have the shapes that :class:`SavedHead` tells."""
    arrays = head.arrays
    (hidden, inputs), classes, standards = arrays["weight_1"].shape, len(arrays["bias_2"]), len(arrays["mean"])
    shapes = {"weight_1": (hidden, inputs), "bias_1": (hidden,), "weight_2": (classes, hidden), "bias_2": (classes,)}
    shapes |= dict.fromkeys(("mean", "scale"), (standards, inputs))
    return (
        isinstance(head.seed, int)
        and isinstance(head.fold, str)
        and head.branch.ndim == 1
        and bool(((head.branch >= 0) & (head.branch < standards)).all())
        and all(arrays[name].shape == shape and arrays[name].dtype.kind == "f" for name, shape in shapes.items())
    )


def train_heads(
    courses: Sequence[RepeatData], classes: int, settings: Mapping[str, Any]
) -> list[list[list[TrainedHead]]]:
    """Train a head for every lesson and loss.

    Args:
        courses: what is learnt; they may differ in everything but the classes.
        classes: number of classes.
        settings: of the heads: ``hidden, dropout, learning_rate, decay, epochs, patience, batch, weight_decay``.

    Returns:
        For each course and each of its lessons a head per loss.

    Raises:
        ConfigError: a loss is wrong, or no longer finite.
    """
    standards = [[_standard(lesson, course.branch) for lesson in course.lessons] for course in courses]
    frames = [
        course.frame
        or Frame.of(
            len(course.branch),
            [standard.speaks for standard in own],
            [len(lesson.labels) for lesson in course.lessons],
            [len(lesson.held_labels) for lesson in course.lessons],
            settings,
        )
        for course, own in zip(courses, standards, strict=True)
    ]
    trained: dict[tuple[int, int, int], TrainedHead] = {}
    for company in _companies(courses, frames, classes, settings):
        places = list(dict.fromkeys((course, lesson) for course, lesson, _ in company))
        pupils = [_Pupil(courses[c].lessons[n], standards[c][n], frames[c]) for c, n in places]
        losses = StackedLoss([courses[course].losses[which] for course, _, which in company], classes)
        owner = [places.index((course, lesson)) for course, lesson, _ in company]
        with repeatable(0):
            results = _March(pupils, owner, losses, settings).run()
        for place, (head, training) in zip(company, results, strict=True):
            trained[place] = TrainedHead(head, standards[place[0]][place[1]], training)
    return [
        [[trained[c, n, which] for which in range(len(course.losses))] for n in range(len(course.lessons))]
        for c, course in enumerate(courses)
    ]


def frame_of(lessons: Iterable[FoldData], branch: np.ndarray, settings: Mapping[str, Any]) -> "Frame":
    """The sizes of a course, for one that is taught in parts; its lessons are gone through one by one."""
    known = [(_standard(one, branch).speaks, len(one.labels), len(one.held_labels)) for one in lessons]
    return Frame.of(len(branch), *zip(*known, strict=True), settings)


def _standard(lesson: FoldData, branch: np.ndarray) -> Standard:
    """The standardisation that a lesson's rows set."""
    return Standard.of(lesson.rows[:] if lesson.rows.nbytes <= READ_WHOLE else lesson.rows, branch)


def _companies(
    courses: Sequence[RepeatData], frames: Sequence["Frame"], classes: int, settings: Mapping[str, Any]
) -> Iterator[list[tuple[int, int, int]]]:
    """Heads that march together, as (course, lesson, loss): of one lesson, or of many of equal sizes.

    Heads of one lesson share their batches, so that nothing is copied; those of several have batches of their own. A
    lesson whose rows stay on the disk is taught by itself.
    """
    groups: dict[tuple[int, ...], list[tuple[int, int, int]]] = {}
    for number, (course, frame) in enumerate(zip(courses, frames, strict=True)):
        for place, lesson in enumerate(course.lessons):
            heads = [(number, place, which) for which in range(len(course.losses))]
            steps = math.ceil(len(lesson.labels) * lesson.rows.shape[1] / settings["batch"])
            alone = (number, place) if len(heads) >= ENOUGH or lesson.stays else ()
            groups.setdefault((len(frame.spoken), frame.batch, frame.held, steps, *alone), []).extend(heads)
    for (width, *_), group in groups.items():
        most = max(1, TOGETHER // ((width + classes + 1) * settings["hidden"] + classes))
        parts = math.ceil(len(group) / most)
        for part in range(parts):
            yield group[part * len(group) // parts : (part + 1) * len(group) // parts]


@dataclass(frozen=True)
class Frame:
    """Sizes of a course, so that the bits of a head do not depend on who marches beside it.

    They are whole vectors of a processor: what is left over at the end of an array is rounded in another way.

    Attributes:
        spoken: places of the features that vary in training, filled up with others.
        silent: places of all others. A feature that is silent in training (half of them are, after ReLU) has no
            gradient: its weights stay as they are, and only validation and test rows meet them.
        batch: rows of a batch with its filling.
        held: most validation rows of a lesson, with filling.
    """

    spoken: np.ndarray
    silent: np.ndarray
    batch: int
    held: int

    @classmethod
    def of(
        cls,
        each: int,
        spoken: Sequence[np.ndarray],
        taught: Sequence[int],
        held: Sequence[int],
        settings: Mapping[str, Any],
    ) -> "Frame":
        """The sizes for the lessons of a course. With weight decay, silent features have a gradient too: all speak.

        Args:
            each: rows of a clip.
            spoken: of each lesson, which features speak (:class:`Standard`).
            taught: of each lesson, clips that train.
            held: of each lesson, clips that are held.
            settings: of the heads.
        """
        speaks = np.any(spoken, axis=0) | (settings["weight_decay"] > 0)
        order = np.argsort(~speaks, kind="stable")
        count = min(_whole(int(speaks.sum()), 8 * VECTOR), len(order))
        batch = _whole(min(settings["batch"], each * max(taught)))
        return cls(np.sort(order[:count]), np.sort(order[count:]), batch, _whole(each * max(held)))


def _whole(size: int, unit: int = VECTOR) -> int:
    """``size`` and its filling to whole units, of a vector if not given."""
    return -(-size // unit) * unit


class _Pupil(NamedTuple):
    """A lesson on its way: with its standardisation, and the sizes of its course."""

    lesson: FoldData
    standard: Standard
    frame: Frame


class _OnDisk:
    """The rows of a lesson on the disk, standardised when they are read."""

    def __init__(self, rows: DiskArrayView, standard: Standard, features: np.ndarray) -> None:
        """``features``: places of those that are wanted."""
        self._rows, self._standard, self._features = rows, standard, features

    def __getitem__(self, places: Tensor) -> Tensor:
        """The rows at ``places`` among those of all clips, one clip after the other, ``[places, features]``."""
        clips, rows = np.divmod(places.numpy(), self._rows.shape[1])
        own, features = self._rows.rows(clips, rows)[:, self._features], (rows[:, None], self._features)
        return torch.from_numpy((own - self._standard.mean[features]) / self._standard.scale[features])


class _Stacked(NamedTuple):
    """Rows of several lessons, the short ones filled up.

    Attributes:
        x: float32 ``[lessons, rows, features]``; of a lesson by itself that stays on the disk, what reads them.
        y: int64 ``[lessons, rows]``; every row of a clip is a sample with the clip's label.
        present: float32 ``[lessons, rows]``, 0 for the filling and 1 for all others.
    """

    x: Tensor | _OnDisk
    y: Tensor
    present: Tensor

    @classmethod
    def of(cls, pupils: Sequence[_Pupil], length: int, held: bool) -> "_Stacked":
        """``length`` rows of each lesson: of those that train, or that are held."""
        lessons = [(p.lesson.held_rows, p.lesson.held_labels) if held else p.lesson[:2] for p in pupils]
        size, (first, *_) = (len(pupils), length), pupils
        y, present = torch.zeros(size, dtype=torch.int64), torch.zeros(size)
        for place, (rows, labels) in enumerate(lessons):
            count = rows.shape[0] * rows.shape[1]
            present[place, :count], y[place, :count] = 1, torch.from_numpy(np.repeat(labels, rows.shape[1]))
        if first.lesson.stays:
            return cls(_OnDisk(lessons[0][0], first.standard, first.frame.spoken), y, present)
        x = torch.zeros(*size, len(first.frame.spoken))
        for place, (pupil, (rows, _)) in enumerate(zip(pupils, lessons, strict=True)):
            own = x[place, : rows.shape[0] * rows.shape[1]].view(*rows.shape[:2], x.shape[2])
            for part in index_chunks(len(rows), ROWS_AT_ONCE // rows.shape[1]):
                own[part] = torch.from_numpy(pupil.standard.of_some(rows[part], pupil.frame.spoken))
        return cls(x, y, present)

    def at(self, places: Tensor) -> Tensor:
        """The rows at ``places``, of any shape, among those of all lessons: ``[..., features]``."""
        flat = places.flatten()
        x = self.x[flat] if isinstance(self.x, _OnDisk) else self.x.flatten(0, 1).index_select(0, flat)
        return x.view(*places.shape, -1)

    def between(self, first: int, last: int, who: slice | Tensor) -> Tensor:
        """The rows from ``first`` to ``last`` of some lessons, ``[lessons, rows, features]``; filling is 0."""
        if isinstance(self.x, Tensor):
            return self.x[who, first:last]
        own = self.x[torch.arange(first, min(last, int(self.present.sum())))]
        return functional.pad(own, (0, 0, 0, last - first - len(own)))[None]


class _March:
    """Heads that train side by side. Every tensor has a leading axis: of lessons, or of the heads still on the way."""

    def __init__(self, pupils: Sequence[_Pupil], owner: Sequence[int], loss: StackedLoss, settings: Mapping[str, Any]):
        """``owner`` is the lesson of each head. The lessons have equal sizes, and equally many steps in an epoch."""
        self.schedule = HeadSettings(**settings).schedule
        self.hidden, self.dropout = settings["hidden"], settings["dropout"]
        self.frames, self.loss, self.owner = [pupil.frame for pupil in pupils], loss, torch.tensor(owner)
        self.folds = [f"fold {pupil.lesson.fold}: " if pupil.lesson.fold else "" for pupil in pupils]
        self.lone, batch, held = len(pupils) == 1, pupils[0].frame.batch, pupils[0].frame.held
        self.lengths = [len(pupil.lesson.labels) * pupil.lesson.rows.shape[1] for pupil in pupils]
        self.taught, self.held = _Stacked.of(pupils, max(self.lengths), False), _Stacked.of(pupils, held, True)
        self.unmoved = torch.zeros(len(pupils), self.hidden, 0 if pupils[0].lesson.stays else held)
        self.silent: tuple[_OnDisk, Tensor] | None = None
        self.starts, self.dice, weights = [], [], []
        for n, (lesson, standard, frame) in enumerate(pupils):
            with repeatable(*lesson.seed):
                head = Head(lesson.rows.shape[2], self.hidden, loss.classes, self.dropout).requires_grad_(False)
                self.dice.append(torch.Generator().set_state(torch.get_rng_state()))
            self.starts.append(head)
            silent = head[0].weight[:, frame.silent].T
            if lesson.stays:
                self.silent = _OnDisk(lesson.held_rows, standard, frame.silent), silent
            else:
                end = 0
                for part in index_chunks(len(lesson.held_rows), ROWS_AT_ONCE // lesson.rows.shape[1]):
                    still = _flat(standard.of_some(lesson.held_rows[part], frame.silent)) @ silent
                    self.unmoved[n, :, end : end + len(still)] = still.T
                    end += len(still)
            # Two arrays a head, each of whole vectors: the matrix of the layer, and everything else.
            weights.append((head[0].weight[:, frame.spoken], self._flattened(head)))
        self.steps = math.ceil(max(self.lengths) / self.schedule.batch)
        self.present = torch.zeros(len(pupils), self.steps, batch)
        for n, length in enumerate(self.lengths):
            for step in range(self.steps):
                self.present[n, step, : min(self.schedule.batch, length - step * self.schedule.batch)] = 1
        self.weights = [torch.stack([weights[o][place] for o in owner]).requires_grad_() for place in (0, 1)]
        self.averages, self.squares = ([torch.zeros_like(weight) for weight in self.weights] for _ in range(2))
        self.counters = [torch.zeros(()) for _ in self.weights]
        self.kept = [weight.detach().clone() for weight in self.weights]
        self.best = torch.zeros(len(owner), dtype=torch.int64)
        self.smallest = torch.full((len(owner),), math.inf)
        self.names = list(range(len(owner)))
        self.curves: list[list[dict[str, Any]]] = [[] for _ in owner]
        self.results: dict[int, tuple[Head, Training]] = {}

    @staticmethod
    def _flattened(head: Head) -> Tensor:
        """Everything but the first matrix, and a filling."""
        flat = torch.cat([weight.flatten() for weight in list(head.parameters())[1:]])
        return functional.pad(flat, (0, _whole(len(flat)) - len(flat)))

    def _parts(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First bias ``[heads, hidden]``, second matrix ``[heads, classes, hidden]`` and bias ``[heads, classes]``."""
        hidden, classes = self.hidden, self.loss.classes
        first, second, bias, _ = flat.split(
            [hidden, classes * hidden, classes, flat.shape[1] - hidden - classes * (hidden + 1)], dim=1
        )
        return first, second.view(-1, classes, hidden), bias

    def run(self) -> list[tuple[Head, Training]]:
        """Train until every head has had its last epoch."""
        for epoch in range(1, self.schedule.epochs + 1):
            self._train(epoch)
            with torch.no_grad():
                self._choose(epoch)
                finished = epoch - self.best >= self.schedule.patience
                self._leave(finished if epoch < self.schedule.epochs else torch.ones_like(finished))
            if not self.names:
                break
        return [self.results[name] for name in range(len(self.curves))]

    def _train(self, epoch: int) -> None:
        """One epoch: the rows of each lesson in an order of its own, in batches."""
        places = self._drawn()
        present = self.present if self.lone else self.present[self.owner]
        y = self.taught.y.flatten()[places]
        ahead = max(1, DRAWN // (len(self.names) * present.shape[2] * self.hidden))
        total, right = torch.zeros(2, len(self.names))
        for step in range(self.steps):
            if self.dropout and step % ahead == 0:
                factors = self._silenced(step, step + ahead)
            rows, counted = places[:, step], present[:, step]
            chosen = self.taught.at(rows)
            scores = self._scores(chosen, factors[:, step % ahead].transpose(1, 2) if self.dropout else None)
            values, counts = (self.loss(scores, y[:, step]) * counted).sum(dim=1), counted.sum(dim=1)
            gradients = torch.autograd.grad((values / counts).sum(), self.weights)
            number = (epoch - 1) * self.steps + step
            with torch.no_grad():
                adam(
                    *(self.weights, list(gradients), self.averages, self.squares, [], self.counters),
                    lr=self.schedule.learning_rate / (1 + self.schedule.decay * number),
                    weight_decay=self.schedule.weight_decay,
                    **ADAM,
                )
                total += values.detach()
                right += ((scores.max(dim=1).indices == y[:, step]) * counted).sum(dim=1)
        lengths = torch.tensor(self.lengths)[self.owner]
        self._note(epoch, "train", total / lengths, right / lengths)

    def _drawn(self) -> Tensor:
        """Rows of an epoch, ``[1 or heads, steps, rows]``.

        A lesson draws its own, and then its dropout, in the order in which a head alone draws them, whoever marches
        beside it. The filling is row 0, and does not count.
        """
        places = torch.zeros(self.present.shape, dtype=torch.int64)
        for n in sorted(set(self.owner.tolist())):
            drawn = torch.randperm(self.lengths[n], generator=self.dice[n])
            places[n][self.present[n] > 0] = drawn + n * self.taught.y.shape[1]
        return places if self.lone else places[self.owner]

    def _silenced(self, first: int, last: int) -> Tensor:
        """Dropout of some steps, in their order: factors ``[1 or heads, steps, rows, hidden]``."""
        present = self.present[:, first:last]
        factors = torch.zeros(*present.shape, self.hidden)
        for n in sorted(set(self.owner.tolist())):
            inside = present[n] > 0
            factors[n][inside] = torch.rand(int(inside.sum()), self.hidden, generator=self.dice[n])
        factors = factors.ge_(self.dropout).div_(1 - self.dropout)
        return factors if self.lone else factors[self.owner]

    def _scores(self, x: Tensor, factors: Tensor | None = None, unmoved: Tensor | None = None) -> Tensor:
        """``x [1 or heads, rows, features]`` to ``[heads, classes, rows]``: each head's matrices times its columns."""
        first, (first_bias, second, second_bias) = self.weights[0], self._parts(self.weights[1])
        columns, bias = x.transpose(1, 2).expand(len(first), -1, -1), first_bias[:, :, None]
        hidden = torch.baddbmm(bias if unmoved is None else bias + unmoved, first, columns).relu_()
        return torch.baddbmm(second_bias[:, :, None], second, hidden if factors is None else hidden * factors)

    def _choose(self, epoch: int) -> None:
        """Keep the weights of the heads whose validation loss has fallen; of all, where nothing validates."""
        if not self.held.y.shape[1]:
            self.best[:] = epoch
            self.kept = [weight.detach() for weight in self.weights]
            return
        who = slice(None) if self.lone else self.owner
        losses, right = [], []
        for first in range(0, self.held.y.shape[1], ROWS_AT_ONCE):
            last = min(first + ROWS_AT_ONCE, self.held.y.shape[1])
            y = self.held.y[who, first:last]
            scores = self._scores(self.held.between(first, last, who), unmoved=self._still(first, last, who))
            losses.append(self.loss(scores, y))
            right.append(scores.argmax(dim=1) == y)
        present = self.held.present[who]
        losses, right = (
            (torch.cat(parts, dim=1) * present).sum(dim=1) / present.sum(dim=1) for parts in (losses, right)
        )
        self._note(epoch, "validation", losses, right)
        better = losses < self.smallest
        self.best[better], self.smallest[better] = epoch, losses[better]
        for kept, weight in zip(self.kept, self.weights, strict=True):
            kept[better] = weight[better]

    def _still(self, first: int, last: int, who: slice | Tensor) -> Tensor:
        """What the features that are silent in training add to some validation rows, ``[lessons, hidden, rows]``."""
        if self.silent is None:
            return self.unmoved[who, :, first:last]
        rows, weights = self.silent
        still = rows[torch.arange(first, min(last, int(self.held.present.sum())))] @ weights
        return functional.pad(still.T, (0, last - first - len(still)))[None]

    def _note(self, epoch: int, split: str, losses: Tensor, right: Tensor) -> None:
        for place, (name, loss, accuracy) in enumerate(zip(self.names, losses.tolist(), right.tolist(), strict=True)):
            if split == "train" and not math.isfinite(loss):
                told = f"diverged in epoch {epoch} (loss {loss}); choose a smaller learning_rate"
                raise ConfigError(f"{self.folds[self.owner[place]]}training {told}")
            self.curves[name].append({"epoch": epoch, "split": split, "loss": loss, "accuracy": accuracy})

    def _leave(self, finished: Tensor) -> None:
        """Heads that have finished leave with their best weights."""
        if not finished.any():
            return
        if (lost := finished & (self.best == 0)).any():
            told = "diverged: no loss of the validation clips was a number; choose a smaller learning_rate"
            raise ConfigError(f"{self.folds[self.owner[lost.nonzero()[0, 0]]]}training {told}")
        for place in finished.nonzero()[:, 0].tolist():
            head, name = copy.deepcopy(self.starts[self.owner[place]]), self.names[place]
            head[0].weight[:, self.frames[self.owner[place]].spoken] = self.kept[0][place]
            parts = (part[0] for part in self._parts(self.kept[1][[place]]))
            for weight, kept in zip(list(head.parameters())[1:], parts, strict=True):
                weight.copy_(kept)
            self.results[name] = head.eval(), Training(int(self.best[place]), self.curves[name])
        stay = (~finished).nonzero()[:, 0]
        self.names = [self.names[place] for place in stay.tolist()]
        self.owner, self.best, self.smallest = self.owner[stay], self.best[stay], self.smallest[stay]
        self.loss = self.loss.of(stay)
        self.weights = [weight[stay].requires_grad_() for weight in self.weights]
        self.averages, self.squares, self.kept = (
            [tensor[stay] for tensor in tensors] for tensors in (self.averages, self.squares, self.kept)
        )


def _flat(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(rows.reshape(rows.shape[0] * rows.shape[1], rows.shape[2]))
