"""Networks that read clips (:mod:`merflow.systems.registry`), trained inside each fold.

Many published numbers of such networks rest on an epoch that was chosen on the test fold. Here, validation subjects of
the training part choose it, or it is fixed (:mod:`merflow.protocols.selection`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from merflow.learning.augmentation import Augmentation
from merflow.learning.batches import Centred, centre_arrays
from merflow.learning.checkpoints import Checkpoints
from merflow.runtime.devices import device
from merflow.systems.clip_images import image_fields, read_clip_images
from merflow.systems.fold_runner import ClipRows, System, TrainedFold, run_job
from merflow.systems.network_training import Images, train_network
from merflow.systems.predictions import ResultFiles
from merflow.systems.samples import FoldData
from merflow.systems.saved_models import SavedModel
from merflow.systems.settings import ClipNetworkSettings


class ClipNetwork(System[ClipNetworkSettings]):
    """A network of the registry.

    Its saved model has the arrays ``network.*`` and ``centre.mean, centre.divisor``
    (:class:`merflow.learning.batches.Centred`), and what :func:`make_network` makes it from: ``network`` (its module
    and class) and ``options``.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        """See :class:`merflow.systems.fold_runner.System`."""
        self.checkpoints = checkpoints

    def train(
        self, rows: ClipRows, classes: int, folds: Sequence[FoldData], settings: ClipNetworkSettings
    ) -> Iterator[TrainedFold]:
        """See :meth:`merflow.systems.fold_runner.System.train`."""
        network = settings.network
        options = {"dropout": network.dropout, **network.options}
        about = {"network": network.model, "options": options}
        frames = () if network.input_kind == "flow-image" else (rows.shape[2] // network.side**2,)
        fields = image_fields(network.input_kind, rows.shape[2], network.side)
        for fold in folds:
            # Inputs are standardised by the training clips; the key-frames of a clip share one mean image and divisor.
            centred = Centred(rows, fold.train)
            augment = Augmentation.of(settings.augment, fields, rows, fold.train, centred)
            images = Images(
                centred, (rows.shape[1], *frames, network.side, network.side), by_row=False, augment=augment
            )
            make = partial(make_network, network.model, classes, options)
            trained_network, trained = train_network(
                make, images, fold, settings.loss, classes, network.schedule, self.checkpoints
            )
            state = {f"network.{name}": tensor for name, tensor in trained_network.state_dict().items()}
            yield replace(trained, models=[SavedModel.of(about, state | centre_arrays(centred))])


def make_network(model: str, classes: int, options: Mapping[str, Any]) -> nn.Module:
    """Return a network with random weights from torch's generator.

    ``model``: module of :mod:`merflow.systems` and class in it, such as ``ststnet:STSTNet``; ``options``: ``dropout``
    and the network's own options.
    """
    module, name = model.split(":")
    network: nn.Module = getattr(import_module(f"merflow.systems.{module}"), name)(classes, **options)
    return network


def train_clip_networks(
    caches: Sequence[Path],
    files: ResultFiles,
    model: Path,
    settings: ClipNetworkSettings,
    folds: Sequence[str] | None,
    code: str,
) -> None:
    """Train and test the networks of some folds, fold by fold (:func:`merflow.systems.fold_runner.run_job`).

    The job resumes from the checkpoints beside its tables, and removes them at the end. ``caches``: cache of each micro
    dataset; ``model``: output, the trained networks; ``folds``: names of the folds (None: all); ``code``: digest of the
    code, as checkpoints of other code are not used.

    Raises:
        InputError: the caches cannot be used, or do not belong to the splits.
        ConfigError: a training diverged.
    """
    samples = read_clip_images(caches, settings.clips, settings.network.input_kind, settings.network.side)
    checkpoints = Checkpoints(files.predictions.parent / "checkpoints", code, settings, device().type)
    system = ClipNetwork(checkpoints)
    run_job(lambda _: (system, samples), settings, files, model, folds)
    checkpoints.remove()
