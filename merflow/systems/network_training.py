"""Training of one network on the images of a fold."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from merflow.learning.augmentation import Augmentation
from merflow.learning.batches import Batches, Centred
from merflow.learning.checkpoints import Checkpoints
from merflow.learning.fit import Rows, Training, fit, repeatable, scores_of
from merflow.learning.losses import make_loss, probabilities
from merflow.learning.settings import LossSettings, Schedule
from merflow.runtime.devices import device
from merflow.storage.disk_arrays import DiskArray
from merflow.systems.fold_runner import TrainedFold
from merflow.systems.predictions import EpochAnswers
from merflow.systems.samples import FoldData

log = logging.getLogger(__name__)


class Images(NamedTuple):
    """The images of all clips, float32 ``[clips, rows, pixels]``, as inputs of a ``shape``.

    If ``by_row``, each row of a clip is an input, and the prediction for a clip is the mean of the probabilities of its
    rows. Otherwise a clip is one input. ``augment`` transforms training clips.
    """

    rows: np.ndarray | DiskArray | Centred
    shape: tuple[int, ...]
    by_row: bool
    augment: Augmentation | None = None

    def batches(self, indices: np.ndarray, augmented: bool = False) -> Batches:
        """Return the inputs of some clips."""
        augment = self.augment if augmented else None
        return Batches(self.rows, indices, self.shape, device(), rows=self.by_row, augment=augment)

    def labelled(self, indices: np.ndarray, labels: np.ndarray, augmented: bool = False) -> Rows:
        """Return the inputs of some clips with their classes, int64 ``[indices]``, or units ``[indices, units]``."""
        classes = torch.from_numpy(np.repeat(labels, self.rows.shape[1] if self.by_row else 1, axis=0))
        return Rows(self.batches(indices, augmented), classes.to(device()))


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
    training = images.labelled(fold.train, fold.train_labels, augmented=True)
    validation = images.labelled(fold.validation, fold.validation_labels) if len(fold.validation) else None
    trainings: dict[str, Training] = {}
    units = fold.train_labels.ndim == 2

    def predict(indices: np.ndarray) -> np.ndarray:
        with repeatable(0):
            probs = probabilities(scores_of(network, images.batches(indices), schedule.batch).double(), units)
            return probs.reshape(len(indices), -1, classes).mean(dim=1).cpu().numpy()

    with repeatable(*fold.seed):
        network: Any = make_network().to(device())
        if hasattr(network, "prior"):
            learned = network.prior(training, schedule, f"{fold.name}, pairs", checkpoints)
            trainings |= {"prior": learned} if learned else {}
        minimised = make_loss(loss, fold.train_labels, classes)
        answer = (lambda: predict(fold.test).argmax(axis=1).tolist()) if len(fold.test) else None
        trainings["finetune"] = fit(network, minimised, training, validation, schedule, fold.name, checkpoints, answer)
    epochs = {"network.epochs": trainings["finetune"].epoch}
    log.info("%s: kept network.epochs: %d", fold.name, epochs["network.epochs"])
    curve = [{"stage": stage, **row} for stage, of_stage in trainings.items() for row in of_stage.curve]
    answers = EpochAnswers(schedule.answers_every, trainings["finetune"].answers)
    return network, TrainedFold(predict, [], curve, epochs, answers)
