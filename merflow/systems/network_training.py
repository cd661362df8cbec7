"""Training of one network on the images of a fold, and the job that trains one fold."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from merflow.learning.batches import Batches, Centred
from merflow.learning.checkpoints import Checkpoints
from merflow.learning.fit import Rows, Training, fit, repeatable, scores_of
from merflow.learning.losses import make_loss
from merflow.learning.settings import LossSettings, Schedule
from merflow.protocols.splits import read_folds
from merflow.runtime.devices import device
from merflow.storage.disk_arrays import DiskArray
from merflow.storage.weights import write_weights
from merflow.systems.fold_runner import S, System, TrainedFold, run_folds
from merflow.systems.predictions import ResultFiles, write_results
from merflow.systems.samples import FoldData, Samples

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

    def batches(self, places: np.ndarray) -> Batches:
        """Return the inputs of the clips at some places."""
        return Batches(self.rows, places, self.shape, device(), rows=self.by_row)

    def labelled(self, places: np.ndarray, labels: np.ndarray) -> Rows:
        """Return the inputs of the clips at some places with their classes."""
        inputs_per_clip = self.rows.shape[1] if self.by_row else 1
        return Rows(self.batches(places), torch.from_numpy(np.repeat(labels, inputs_per_clip)).to(device()))


def train_network(
    make_network: Callable[[], nn.Module],
    images: Images,
    fold: FoldData,
    loss: LossSettings,
    classes: int,
    schedule: Schedule,
    checkpoints: Checkpoints | None,
) -> TrainedFold:
    """Train a network on a fold; if it has a method ``prior`` (siamese pairs), that stage comes first.

    ``make_network`` takes its random numbers from torch's generator; ``images``: inputs of all clips.
    """
    training = images.labelled(fold.train, fold.train_labels)
    validation = images.labelled(fold.validation, fold.validation_labels) if len(fold.validation) else None
    trainings: dict[str, Training] = {}
    with repeatable(*fold.seed):
        network: Any = make_network().to(device())
        if hasattr(network, "prior"):
            learned = network.prior(training, validation, schedule, f"{fold.name}, pairs", checkpoints)
            trainings |= {"prior": learned} if learned else {}
        minimised = make_loss(loss, classes)
        trainings["finetune"] = fit(network, minimised, training, validation, schedule, fold.name, checkpoints)
    epochs = {EPOCHS[stage]: stage_training.epoch for stage, stage_training in trainings.items()}
    log.info("%s: kept %s", fold.name, ", ".join(f"{key}: {epoch}" for key, epoch in epochs.items()))

    def predict(places: np.ndarray) -> np.ndarray:
        with repeatable(0):
            probs = scores_of(network, images.batches(places), schedule.batch).double().softmax(dim=1)
            return probs.reshape(len(places), -1, classes).mean(dim=1).cpu().numpy()

    curve = [{"stage": stage, **row} for stage, of_stage in trainings.items() for row in of_stage.curve]
    return TrainedFold(predict, network, curve, epochs)


def train_fold(
    system: System[S],
    samples: Samples,
    settings: S,
    repeat: int,
    fold_name: str,
    files: ResultFiles,
    model: Path,
    *made_of: Any,
) -> None:
    """Train and test one fold in a job of its own, and write its tables and its model.

    The job resumes from the checkpoints beside its tables, and removes them at the end. If no clip of the fold could
    be used, the tables have a header only and the model has no arrays.

    Args:
        system: how the model is made and trained.
        samples: labelled clips, on the disk.
        settings: settings of the job.
        repeat: seed of the repeat.
        fold_name: name of the fold.
        files: output tables.
        model: output, the trained model.
        made_of: what else decides the training, such as the digest of the code: checkpoints of other values are not
            used.
    """
    folds = [fold for fold in read_folds(settings.splits[repeat], samples.clips) if fold.name == fold_name]
    if not folds:
        log.warning("no clip of fold %s could be used; its tables are empty", fold_name)
    parts = [(fold.number, fold.train, fold.validation, fold.test) for fold in folds]
    decides = settings, repeat, fold_name, device().type, str(samples.rows), samples.labels, parts, *made_of
    system.checkpoints = Checkpoints(files.predictions.parent / "checkpoints", *decides)
    results = run_folds(system, samples, folds, repeat, settings)
    if results:
        system.save([result.model for result in results], model, settings)
    else:
        write_weights({}, model, {"network": "none"})
    write_results(results, settings.experiment, files)
    system.checkpoints.remove()
