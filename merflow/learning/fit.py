"""The training loop of all networks but the heads: Adam, Keras' decay, the epoch with the smallest validation loss.

Heads follow the same rules in a loop of their own, because thousands of them train batched
(:mod:`merflow.systems.tsdgcn.head_training`). The scorer of key-frames draws random clips and ranks their frames, so it
has its own loop, too (:mod:`merflow.preprocessing.frame_scorer.scorer`).
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from merflow.errors import ConfigError
from merflow.learning.batches import Batches
from merflow.learning.checkpoints import Checkpoints
from merflow.learning.losses import Loss, right
from merflow.learning.settings import Schedule

log = logging.getLogger(__name__)


class Rows(NamedTuple):
    """Inputs ``[rows, ...]`` and int64 classes ``[rows]``, or units; tensors, or objects that index like them."""

    x: Tensor | Batches
    y: Any


@dataclass(frozen=True)
class Training:
    """The epoch whose weights :func:`fit` kept, from 1, and the learning curve.

    It has a dictionary ``epoch, split, loss, accuracy`` per epoch and split (train, validation), over rows. The
    training figures are measured during the epoch, with dropout. ``answers`` are those of ``answer`` after every
    :attr:`merflow.learning.settings.Schedule.answers_every` epochs.
    """

    epoch: int
    curve: list[dict[str, Any]]
    answers: list[list[int]]


@contextmanager
def repeatable(*seed: int) -> Iterator[None]:
    """Use one thread and seed torch's generator; restore both afterwards."""
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
    answer: Callable[[], list[int]] | None = None,
) -> Training:
    """Train ``network`` in place; it ends in evaluation mode, with the weights of its best epoch.

    The best epoch has the smallest validation loss. Without validation rows it is the last one; its weights are
    replaced by the mean of those of the last epochs if the schedule says so. Random numbers come from torch's
    generator: call this inside :func:`repeatable`. A network with a method ``supervise(x, y, loss)`` computes its
    training loss and its scores itself.

    Args:
        network: maps ``x`` of rows to class scores ``[rows, classes]``.
        loss: mean loss of scores and classes.
        training: rows that train.
        validation: rows that choose the epoch, or None.
        schedule: how long and how fast.
        name: if not empty, one line per epoch is logged, with an upper bound of the remaining time.
        checkpoints: where the training saves its state and resumes from a saved state, or None.
        answer: classes of the test clips by the network as it is, which chooses nothing and draws no random number, or
            None.

    Raises:
        ConfigError: the training loss is not finite, or the validation loss never was.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True)
    supervise, steps = (
        getattr(network, "supervise", None),
        schedule.epochs * math.ceil(len(training.y) / schedule.batch),
    )
    progress, best_weights, checkpoint = _Progress(), None, None
    if checkpoints:
        checkpoint = checkpoints.next(
            training, validation or (), network.state_dict(), torch.get_rng_state(), schedule, name
        )
        if saved := checkpoint.load(network, optimiser):
            progress, best_weights = _Progress(**saved[0]), saved[1] or None
            log.info("%s: resumed after epoch %d from its checkpoint", name, progress.epoch)
    start, first, prefix = time.monotonic(), progress.epoch, f"{name}: " if name else ""
    while not progress.over:
        progress.epoch += 1
        network.train()
        total, correct = 0.0, 0.0
        for rows in torch.split(torch.randperm(len(training.y)), schedule.batch):
            x, y = training.x[rows], training.y[rows]
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate(progress.step, steps)
            if supervise:
                value, scores = supervise(x, y, loss)
            else:
                scores = network(x)
                value = loss(scores, y)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            progress.step += 1
            total += value.item() * len(y)
            correct += right(scores, y).sum().item()
        mean, accuracy = total / len(training.y), correct / len(training.y)
        if not np.isfinite(mean):
            raise ConfigError(
                f"{prefix}training diverged in epoch {progress.epoch} (loss {mean}); choose a smaller learning_rate"
            )
        progress.curve.append({"epoch": progress.epoch, "split": "train", "loss": mean, "accuracy": accuracy})
        if validation is None:
            progress.best = progress.epoch
            if schedule.average:
                best_weights = _mean_weights(best_weights or {}, network.state_dict(), schedule.share(progress.epoch))
        else:
            figures = evaluate(network, loss, validation, schedule.batch)
            progress.curve.append({"epoch": progress.epoch, "split": "validation"} | figures)
            if figures["loss"] < progress.smallest:
                progress.best, progress.smallest = progress.epoch, figures["loss"]
                best_weights = copy.deepcopy(network.state_dict())
        if answer and progress.epoch % schedule.answers_every == 0:
            progress.answers.append(answer())
        if name:
            left = (schedule.epochs - progress.epoch) * (time.monotonic() - start) / (progress.epoch - first)
            latest = [row for row in progress.curve[-2:] if row["epoch"] == progress.epoch]
            rows_text = ", ".join(f"{r['split']} loss {r['loss']:.3f} accuracy {r['accuracy']:.1%}" for r in latest)
            epoch_text = f"{prefix}epoch {progress.epoch} of {schedule.epochs}"
            log.info("%s, %s, at most %.0f s left", epoch_text, rows_text, left)
        progress.over = progress.epoch >= schedule.epochs or progress.epoch - progress.best >= schedule.patience
        if progress.over and not progress.best:
            raise ConfigError(
                f"{prefix}training diverged: the loss of the validation clips was not a number in any of "
                f"{progress.epoch} epochs; choose a smaller learning_rate"
            )
        if progress.over and best_weights is not None:
            network.load_state_dict(best_weights)
            if schedule.average and validation is None:
                _recompute_statistics(network, training.x, schedule.batch)
        if checkpoint and progress.over:
            checkpoint.save(asdict(progress), network)
        elif checkpoint and checkpoint.due():
            checkpoint.save(asdict(progress), network, best_weights, optimiser)
    network.eval()
    return Training(progress.best, progress.curve, progress.answers)


@dataclass
class _Progress:
    """State of a training apart from its tensors, as a checkpoint of :func:`fit` stores it."""

    epoch: int = 0
    best: int = 0
    smallest: float = float("inf")
    step: int = 0
    over: bool = False
    curve: list[dict[str, Any]] = field(default_factory=list)
    answers: list[list[int]] = field(default_factory=list)


def _mean_weights(mean: Mapping[str, Tensor], weights: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return ``mean`` with a ``share`` of new weights; counters are the new ones."""
    return {
        name: torch.lerp(mean[name].to(weight.device), weight, share)
        if mean and weight.is_floating_point()
        else weight.clone()
        for name, weight in weights.items()
    }


@torch.no_grad()
def _recompute_statistics(network: nn.Module, x: Tensor | Batches, batch: int) -> None:
    """Set the means and variances of batch normalisation, which belong to other weights, from the training rows."""
    network.train()
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.training]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # The mean over all batches.
    for part in x.split(batch) if layers else ():
        network(part)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@torch.no_grad()
def scores_of(network: nn.Module, x: Tensor | Batches, batch: int) -> Tensor:
    """Return the class scores of all rows in evaluation mode, ``[rows, classes]``."""
    network.eval()
    return torch.cat([network(part) for part in x.split(batch)])


def evaluate(network: nn.Module, loss: Loss, rows: Rows, batch: int) -> dict[str, float]:
    """Return ``loss`` (mean) and ``accuracy`` over rows in evaluation mode, ``batch`` inputs at a time."""
    scores = scores_of(network, rows.x, batch)
    return {
        "loss": float(loss(scores, rows.y)),
        "accuracy": float(right(scores, rows.y).mean()),
    }
