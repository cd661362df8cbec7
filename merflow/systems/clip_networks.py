"""Networks that read clips (:mod:`merflow.systems.registry`), trained inside each fold.

Many published numbers of such networks rest on an epoch that was chosen on the test fold. Here, validation subjects
inside the training part choose it, or nobody does (:mod:`merflow.protocols.selection`).
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from merflow.learning.batches import Centred, centre_arrays
from merflow.storage.weights import write_weights
from merflow.systems.clip_images import read_clip_images
from merflow.systems.fold_runner import ClipRows, System, TrainedFold
from merflow.systems.network_training import Images, network_probs, train_fold, train_network
from merflow.systems.predictions import ResultFiles
from merflow.systems.samples import FoldData
from merflow.systems.settings import ClipNetworkSettings

log = logging.getLogger(__name__)

EPOCHS = {"prior": "network.prior_epochs", "finetune": "network.epochs"}
"""The setting of the number of epochs of each stage."""


class ClipModel(NamedTuple):
    """A trained network, and the mean image and divisor of its inputs."""

    network: nn.Module
    centred: Centred


class ClipNetwork(System[ClipNetworkSettings]):
    """A network of the registry."""

    def __init__(self, settings: ClipNetworkSettings) -> None:
        """``settings``: those of the job."""
        self.refits = settings.network.refit

    def train(
        self, rows: ClipRows, classes: int, folds: Sequence[FoldData], settings: ClipNetworkSettings
    ) -> Iterator[TrainedFold]:
        """See :meth:`merflow.systems.fold_runner.System.train`; the model is a :class:`ClipModel`."""
        for fold in folds:
            yield self._train(rows, classes, fold, settings)

    def _train(self, rows: ClipRows, classes: int, fold: FoldData, settings: ClipNetworkSettings) -> TrainedFold:
        network = settings.network
        # Inputs are standardised by the training clips; the key-frames of a clip share one mean image and divisor.
        centred = Centred(rows, fold.train)
        frames = () if network.input_kind == "flow-image" else (rows.shape[2] // network.side**2,)
        images = Images(centred, (rows.shape[1], *frames, network.side, network.side), by_row=False)
        trained = train_network(
            lambda: make_network(network.model, classes, {"dropout": network.dropout, **network.options}),
            *(images, fold, settings.loss, classes, network.schedule, self.checkpoints),
        )
        epochs = {EPOCHS[stage]: training.epoch for stage, training in trained.trainings.items()}
        log.info("%s: kept %s", fold.name, ", ".join(f"{key}: {epoch}" for key, epoch in epochs.items()))
        return TrainedFold(
            predict=lambda places: network_probs(trained.network, images, places, network.batch),
            model=ClipModel(trained.network, centred),
            curve=trained.curve,
            epochs=epochs,
        )

    def save(self, models: Sequence[ClipModel], path: Path, settings: ClipNetworkSettings) -> None:
        """Write the network of the fold as safetensors.

        Arrays: ``network.*`` and ``centre.mean, centre.divisor`` (:class:`merflow.learning.batches.Centred`).
        Metadata: ``network`` (its module and class) and ``settings``, from which :func:`make_network` makes it again.
        """
        if not models:
            write_weights({}, path, {"network": "none"})
            return
        ((network, centred),) = models
        state = {f"network.{name}": tensor.detach().cpu() for name, tensor in network.state_dict().items()}
        options = {"dropout": settings.network.dropout, **settings.network.options}
        metadata = {"network": settings.network.model, "settings": json.dumps(options, sort_keys=True)}
        write_weights(state | centre_arrays(centred), path, metadata)


def make_network(model: str, classes: int, options: Mapping[str, Any]) -> nn.Module:
    """Return a network with random weights from torch's generator.

    Args:
        model: module of :mod:`merflow.systems` and class in it, such as ``ststnet:STSTNet``.
        classes: number of classes.
        options: ``dropout`` and the network's own options.
    """
    module, name = model.split(":")
    network: nn.Module = getattr(import_module(f"merflow.systems.{module}"), name)(classes, **options)
    return network


def train_clip_network(
    caches: Sequence[Path],
    files: ResultFiles,
    model: Path,
    settings: ClipNetworkSettings,
    seed: int,
    fold: str,
    code: str,
) -> None:
    """Train and test the network of one fold (:func:`merflow.systems.network_training.train_fold`).

    Args:
        caches: cache of each micro dataset.
        files: output tables.
        model: output, the trained network.
        settings: settings of the job.
        seed: seed of the repeat.
        fold: name of the fold.
        code: digest of the code.

    Raises:
        InputError: the caches cannot be used.
    """
    samples = read_clip_images(caches, settings.clips, settings.network.input_kind, settings.network.side)
    train_fold(ClipNetwork(settings), samples, settings, seed, fold, files, model, code)
