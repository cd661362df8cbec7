"""Training of one network on the images of a fold."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from merflow.learning.batches import Batches, Centred
from merflow.learning.checkpoints import Checkpoints
from merflow.learning.fit import Rows, Training, fit, repeatable, scores_of
from merflow.learning.losses import make_loss
from merflow.learning.settings import LossSettings, Schedule
from merflow.runtime.devices import device
from merflow.storage.disk_arrays import DiskArray
from merflow.systems.fold_runner import TrainedFold
from merflow.systems.predictions import EpochAnswers
from merflow.systems.samples import FoldData

log = logging.getLogger(__name__)

EPOCHS = {"prior": "network.prior_epochs", "finetune": "network.epochs"}
"""The setting of the number of epochs of each stage."""


class Images(NamedTuple):
    """The images of all clips, float32 ``[clips, rows, pixels]``, as inputs of a ``shape``.

    If ``by_row``, each row of a clip is an input, and the prediction for a clip is the mean of the probabilities of its
    rows. Otherwise a clip is one input.
    """

    rows: np.ndarray | DiskArray | Centred
    shape: tuple[int, ...]
    by_row: bool

    def batches(self, indices: np.ndarray) -> Batches:
        """Return the inputs of some clips."""
        return Batches(self.rows, indices, self.shape, device(), rows=self.by_row)

    def labelled(self, indices: np.ndarray, labels: np.ndarray) -> Rows:
        """Return the inputs of some clips with their classes, int64 ``[indices]``."""
        inputs_per_clip = self.rows.shape[1] if self.by_row else 1
        return Rows(self.batches(indices), torch.from_numpy(np.repeat(labels, inputs_per_clip)).to(device()))


def train_network(
    make_network: Callable[[], nn.Module],
    images: Images,
    fold: FoldData,
    loss: LossSettings,
    classes: int,
    schedule: Schedule,
    checkpoints: Checkpoints | None,
) -> tuple[nn.Module, TrainedFold]:
    """Train a network on a fold; if it has a method ``prior`` (siamese pairs), that stage comes first.

    ``make_network``: makes a network that maps inputs ``[n, *images.shape]`` to class scores ``[n, classes]``, with
    random numbers from torch's generator; ``images``: inputs of all clips; ``checkpoints``: as in
    :func:`merflow.learning.fit.fit`.

    Returns:
        The network in evaluation mode with the weights of the chosen epoch, and the trained fold, without its model.

    Raises:
        ConfigError: the loss does not fit the classes, or the training diverged.
    """
    training = images.labelled(fold.train, fold.train_labels)
    validation = images.labelled(fold.validation, fold.validation_labels) if len(fold.validation) else None
    trainings: dict[str, Training] = {}

    def predict(indices: np.ndarray) -> np.ndarray:
        with repeatable(0):
            probs = scores_of(network, images.batches(indices), schedule.batch).double().softmax(dim=1)
            return probs.reshape(len(indices), -1, classes).mean(dim=1).cpu().numpy()

    with repeatable(*fold.seed):
        network: Any = make_network().to(device())
        if isinstance(images.rows, Centred) and not images.by_row:  # For a `supervise` that changes clips.
            mean_image = torch.from_numpy(images.rows.mean / images.rows.divisor).view(images.shape)
            network.register_buffer("mean_image", mean_image.to(device()), persistent=False)
        if hasattr(network, "prior"):
            learned = network.prior(training, validation, schedule, f"{fold.name}, pairs", checkpoints)
            trainings |= {"prior": learned} if learned else {}
        minimised = make_loss(loss, classes)
        trainings["finetune"] = fit(
            *(network, minimised, training, validation, schedule, fold.name, checkpoints),
            answer=(lambda: predict(fold.test).argmax(axis=1).tolist()) if len(fold.test) else None,
        )
    epochs = {EPOCHS[stage]: stage_training.epoch for stage, stage_training in trainings.items()}
    log.info("%s: kept %s", fold.name, ", ".join(f"{key}: {epoch}" for key, epoch in epochs.items()))
    curve = [{"stage": stage, **row} for stage, of_stage in trainings.items() for row in of_stage.curve]
    answers = EpochAnswers(schedule.answers_every, trainings["finetune"].answers)
    return network, TrainedFold(predict, None, curve, epochs, answers)
