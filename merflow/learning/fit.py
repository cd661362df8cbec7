"""One training loop for every network: Adam, Keras' decay, the epoch with the best validation loss."""

import copy
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from merflow.errors import ConfigError, InputError
from merflow.learning.checkpoints import Checkpoints
from merflow.learning.losses import Loss
from merflow.storage.disk_arrays import Batches

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        epochs: at most so many.
        patience: stop after so many epochs without a smaller validation loss.
        learning_rate: of Adam.
        decay: the rate at step n is ``learning_rate / (1 + decay * n)``, as in Keras.
        batch: rows per step.
        weight_decay: L2 penalty.
    """

    epochs: int
    patience: int
    learning_rate: float
    decay: float
    batch: int
    weight_decay: float = 0.0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Schedule":
        """The schedule among the settings of a network."""
        return cls(**{field.name: settings[field.name] for field in fields(cls) if field.name in settings})


class Rows(NamedTuple):
    """Inputs and classes of rows (images, or feature vectors).

    Attributes:
        x: float32 ``[rows, ...]``, as the network takes it, or what gives such tensors when it is indexed.
        y: int64 ``[rows]``.
    """

    x: Tensor | Batches
    y: Tensor


@dataclass(frozen=True)
class Training:
    """What a training was.

    Attributes:
        epoch: the epoch whose weights were kept, from 1.
        curve: per epoch and split (train, validation) a dictionary of ``epoch, split, loss, accuracy``, over rows. The
            training figures are those met on the way, with dropout.
    """

    epoch: int
    curve: list[dict[str, Any]]


def class_numbers(labels: Sequence[str], classes: Sequence[str], source: Path) -> np.ndarray:
    """Place of each label among the classes, int64.

    Raises:
        InputError: a label is no class.
    """
    places = {name: number for number, name in enumerate(classes)}
    unknown = sorted(set(labels) - set(places))
    if unknown:
        raise InputError(f"{source}: label {unknown[0]!r} is not among the classes {', '.join(classes)}")
    return np.array([places[label] for label in labels], dtype=np.int64)


@contextmanager
def repeatable(*seed: int) -> Iterator[None]:
    """One thread, and torch's generator at ``seed``; both as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            yield
    finally:
        torch.set_num_threads(threads)


def fit(
    network: nn.Module,
    loss: Loss,
    training: Rows,
    validation: Rows | None,
    schedule: Schedule,
    name: str | None = None,
    checkpoints: Checkpoints | None = None,
) -> Training:
    """Train ``network`` in place; it ends with the weights of its best epoch, in evaluation mode.

    The best epoch is the one with the smallest validation loss; without validation rows, the last. Random numbers come
    from torch's generator: call it inside :func:`repeatable`. A network with a method ``supervise(x, y, loss)`` gives
    its training loss and its scores itself.

    Args:
        network: from ``x`` of rows to class scores ``[rows, classes]``.
        loss: mean loss of scores and classes.
        training: rows that train.
        validation: rows that choose the epoch, or None.
        schedule: how long and how fast.
        name: if given, a line per epoch goes to the log, with the time left at most.
        checkpoints: if given, the training leaves its state there, and goes on from the one that it finds.

    Raises:
        ConfigError: the loss is no longer finite, or that of the validation rows never was.
    """
    learning = [one for one in network.parameters() if one.requires_grad]
    optimiser = torch.optim.Adam(learning, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True)
    supervise = getattr(network, "supervise", None)
    now, kept, state = _Progress(), None, None
    if checkpoints:
        state = checkpoints.next(
            training, validation or (), network.state_dict(), torch.get_rng_state(), schedule, name
        )
        if found := state.load(network, optimiser):
            now, kept = _Progress(**found[0]), found[1] or None
            log.info("%s: goes on after epoch %d, from its checkpoint", name, now.epoch)
    start, first, of = time.monotonic(), now.epoch, f"{name}: " if name else ""
    while not now.over:
        now.epoch += 1
        network.train()
        total, right = 0.0, 0
        for rows in torch.randperm(len(training.y)).split(schedule.batch):
            x, y = training.x[rows], training.y[rows]
            for group in optimiser.param_groups:
                group["lr"] = schedule.learning_rate / (1 + schedule.decay * now.step)
            if supervise:
                value, scores = supervise(x, y, loss)
            else:
                scores = network(x)
                value = loss(scores, y)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            now.step += 1
            total += value.item() * len(y)
            right += int((scores.argmax(dim=1) == y).sum())
        mean = total / len(training.y)
        if not np.isfinite(mean):
            told = f"diverged in epoch {now.epoch} (loss {mean}); choose a smaller learning_rate"
            raise ConfigError(f"{of}training {told}")
        now.curve.append({"epoch": now.epoch, "split": "train", "loss": mean, "accuracy": right / len(training.y)})
        if validation is None:
            now.best = now.epoch
        else:
            held = evaluate(network, loss, validation, schedule.batch)
            now.curve.append({"epoch": now.epoch, "split": "validation"} | held)
            if held["loss"] < now.smallest:
                now.best, now.smallest, kept = now.epoch, held["loss"], copy.deepcopy(network.state_dict())
        if name:
            _report(name, now.epoch, schedule.epochs, now.curve, (time.monotonic() - start) / (now.epoch - first))
        now.over = now.epoch >= schedule.epochs or now.epoch - now.best >= schedule.patience
        if now.over and not now.best:
            raise ConfigError(
                f"{of}training diverged: no loss of the validation clips was a number in {now.epoch} epochs; choose a "
                "smaller learning_rate"
            )
        if now.over and kept is not None:
            network.load_state_dict(kept)
        if state and now.over:
            state.save(asdict(now), network)
        elif state and state.due():
            state.save(asdict(now), network, kept, optimiser)
    network.eval()
    return Training(now.best, now.curve)


@dataclass
class _Progress:
    """Where a training is: what a checkpoint of :func:`fit` holds beside tensors."""

    epoch: int = 0
    best: int = 0
    smallest: float = float("inf")
    step: int = 0
    over: bool = False
    curve: list[dict[str, Any]] = field(default_factory=list)


def _report(name: str, epoch: int, epochs: int, curve: list[dict[str, Any]], seconds: float) -> None:
    """A line of the log; ``seconds`` is the time of an epoch."""
    latest = [row for row in curve[-2:] if row["epoch"] == epoch]
    figures = ", ".join(f"{row['split']} loss {row['loss']:.3f} accuracy {row['accuracy']:.1%}" for row in latest)
    left = seconds * (epochs - epoch)
    log.info("%s: epoch %d of %d, %s, at most %.0f s left", name, epoch, epochs, figures, left)


@torch.no_grad()
def scores_of(network: nn.Module, x: Tensor | Batches, batch: int) -> Tensor:
    """Class scores of all rows in evaluation mode, ``[rows, classes]``."""
    network.eval()
    return torch.cat([network(part) for part in x.split(batch)])


def evaluate(network: nn.Module, loss: Loss, rows: Rows, batch: int) -> dict[str, float]:
    """``loss`` and ``accuracy`` over rows in evaluation mode."""
    scores = scores_of(network, rows.x, batch)
    return {
        "loss": float(loss(scores, rows.y)),
        "accuracy": float((scores.argmax(dim=1) == rows.y).double().mean()),
    }
