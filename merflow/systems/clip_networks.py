"""Networks that read clips (:mod:`merflow.systems.registry`), trained inside each fold.

Many published numbers of such networks rest on an epoch that was chosen on the test fold. Here, the epoch with the
lowest loss on validation subjects of the training part is kept, or the last one (:mod:`merflow.protocols.selection`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from merflow.learning.batches import Centred, centre_arrays
from merflow.storage.weights import write_weights
from merflow.systems.clip_images import read_clip_images
from merflow.systems.fold_runner import ClipRows, System, TrainedFold
from merflow.systems.network_training import Images, train_fold, train_network
from merflow.systems.predictions import ResultFiles
from merflow.systems.samples import FoldData
from merflow.systems.settings import ClipNetworkSettings


class ClipNetwork(System[ClipNetworkSettings]):
    """A network of the registry; its model is the network with the mean image and divisor of its inputs."""

    def __init__(self, settings: ClipNetworkSettings) -> None:
        """``settings``: those of the job."""
        self.refits = settings.network.refit

    def train(
        self, rows: ClipRows, classes: int, folds: Sequence[FoldData], settings: ClipNetworkSettings
    ) -> Iterator[TrainedFold]:
        """See :meth:`merflow.systems.fold_runner.System.train`."""
        network = settings.network
        frames = () if network.input_kind == "flow-image" else (rows.shape[2] // network.side**2,)
        for fold in folds:
            # Inputs are standardised by the training clips; the key-frames of a clip share one mean image and divisor.
            centred = Centred(rows, fold.train)
            images = Images(centred, (rows.shape[1], *frames, network.side, network.side), by_row=False)
            trained = train_network(
                lambda: make_network(network.model, classes, {"dropout": network.dropout, **network.options}),
                *(images, fold, settings.loss, classes, network.schedule, self.checkpoints),
            )
            yield replace(trained, model=(trained.model, centred))

    def save(self, models: Sequence[tuple[nn.Module, Centred]], path: Path, settings: ClipNetworkSettings) -> None:
        """Write the network of the fold as safetensors.

        Arrays: ``network.*`` and ``centre.mean, centre.divisor`` (:class:`merflow.learning.batches.Centred`).
        Metadata: ``network`` (its module and class) and ``settings``, from which :func:`make_network` makes it again.
        """
        ((network, centred),) = models
        state = {f"network.{name}": tensor.detach().cpu() for name, tensor in network.state_dict().items()}
        options = {"dropout": settings.network.dropout, **settings.network.options}
        metadata = {"network": settings.network.model, "settings": json.dumps(options, sort_keys=True)}
        write_weights(state | centre_arrays(centred), path, metadata)


def make_network(model: str, classes: int, options: Mapping[str, Any]) -> nn.Module:
    """Return a network with random weights from torch's generator.

    ``model``: module of :mod:`merflow.systems` and class in it, such as ``ststnet:STSTNet``; ``options``: ``dropout``
    and the network's own options.
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

    ``caches``: cache of each micro dataset; ``model``: output, the trained network; ``code``: digest of the code.
    """
    samples = read_clip_images(caches, settings.clips, settings.network.input_kind, settings.network.side)
    train_fold(ClipNetwork(settings), samples, settings, seed, fold, files, model, code)
