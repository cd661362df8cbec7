"""TSDGCN trained inside each fold: end to end, without a macro set, or pre-trained without the test subjects.

:mod:`merflow.systems.tsdgcn.finetune` trains heads on features that are extracted once. That is not possible if the
SGCNs depend on the fold: if they continue to learn on micro clips (``transfer: end-to-end``), if there is no macro set
to learn from before (``macro: none``), and if the macro set shows the test subjects, who must be left out
(``pretrain.exclude_test_subjects``).
"""

import json
import logging
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from merflow.errors import InputError
from merflow.learning.batches import Batches, Centred, centre_arrays
from merflow.learning.checkpoints import Checkpoints
from merflow.learning.fit import Rows, fit, repeatable
from merflow.protocols.folds import Fold, hold_out
from merflow.runtime.devices import device
from merflow.storage.weights import write_weights
from merflow.systems.fold_runner import ClipRows, System, TrainedFold
from merflow.systems.network_training import Images, network_probs, train_fold, train_network
from merflow.systems.predictions import ResultFiles
from merflow.systems.samples import FoldData
from merflow.systems.settings import FoldTrainingSettings, PretrainSettings
from merflow.systems.tsdgcn.finetune import HeadSystem
from merflow.systems.tsdgcn.fusion import load_signals
from merflow.systems.tsdgcn.graph import Graph
from merflow.systems.tsdgcn.heads import WEIGHTS, Head, SavedHead
from merflow.systems.tsdgcn.pretrain import load_network, macro_images
from merflow.systems.tsdgcn.sgcn import HIDDEN, SGCN

log = logging.getLogger(__name__)


class EndToEnd(nn.Module):
    """One or two SGCNs and the fused head (Eq. 4 and 5) as one network."""

    def __init__(self, networks: Sequence[nn.Module], head: nn.Module, images: int) -> None:
        """Join the parts; ``images``: number of images side by side in a row (2 for ``fusion: concat``)."""
        super().__init__()
        self.networks, self.head, self.images = nn.ModuleList(networks), head, images

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[rows, images * pixels]`` to class scores ``[rows, classes]``."""
        features = [network.features(part) for part in x.chunk(self.images, dim=1) for network in self.networks]
        return self.head(torch.cat(features, dim=1))


class FoldModel(NamedTuple):
    """What a fold learned.

    Attributes:
        networks: the SGCNs.
        head: a head on their features, with its standardisation; or the head that was trained with them.
        centred: mean image and divisor of the inputs, if they were centred.
    """

    networks: Sequence[nn.Module]
    head: SavedHead | Head
    centred: Centred | None


class FoldSGCN(System[FoldTrainingSettings]):
    """SGCNs that are loaded, pre-trained or made for each fold, with a head on their features or trained with them."""

    def __init__(
        self,
        graphs: Sequence[Graph],
        weights: Sequence[Path],
        macro: Path | None,
        branch: np.ndarray,
        settings: FoldTrainingSettings,
    ) -> None:
        """Keep what the networks of a fold are made of.

        Args:
            graphs: graph of each SGCN.
            weights: pre-trained weights of each; empty if the fold pre-trains them, or if they are not pre-trained.
            macro: cache of the macro set, if the fold pre-trains.
            branch: branch of each row of a clip.
            settings: settings of the job.
        """
        self.graphs, self.weights, self.macro, self.settings = graphs, weights, macro, settings
        self.heads = HeadSystem[FoldTrainingSettings](branch)
        self.networks: list[nn.Module] = []

    def prepare(self, fold: Fold, subjects: Sequence[str], classes: int, repeat: int) -> None:
        """Load the SGCNs, pre-train them without the test subjects, or make them."""
        self.networks = []
        tested = {subjects[place].split("/", 1)[1] for place in fold.test}
        for place, graph in enumerate(self.graphs):
            seed = self.settings.network_seeds[place], fold.number
            if self.weights:
                self.networks.append(load_network(self.weights[place], graph)[0])
            elif self.macro is not None and self.settings.pretrain is not None:
                self.networks.append(
                    pretrain_without(self.macro, graph, tested, self.settings.pretrain, seed, self.checkpoints)
                )
            else:
                with repeatable(*seed):
                    self.networks.append(SGCN(graph, classes))

    def train(
        self, rows: ClipRows, classes: int, folds: Sequence[FoldData], settings: FoldTrainingSettings
    ) -> Iterator[TrainedFold]:
        """See :meth:`merflow.systems.fold_runner.System.train`; the model is a :class:`FoldModel`."""
        images = rows.shape[2] // self.graphs[0].side ** 2
        for fold in folds:
            # Without pre-training nothing has set the scale of the inputs: they are centred by the training clips.
            centred = None if self.weights or self.macro else Centred(rows, fold.train)
            networks = deepcopy(self.networks)
            if settings.transfer == "frozen":
                features = _features(networks, rows if centred is None else centred, images)
                (trained,) = self.heads.train(features, classes, [fold], settings)
                yield TrainedFold(
                    trained.predict, FoldModel(networks, trained.model, centred), trained.curve, trained.epochs
                )
            else:
                inputs = Images(rows if centred is None else centred, rows.shape[2:], by_row=True)
                yield self._train_end_to_end(networks, inputs, classes, fold, settings, centred)

    def _train_end_to_end(
        self,
        networks: Sequence[nn.Module],
        inputs: Images,
        classes: int,
        fold: FoldData,
        settings: FoldTrainingSettings,
        centred: Centred | None,
    ) -> TrainedFold:
        images, head = inputs.shape[0] // self.graphs[0].side ** 2, settings.head

        def make_network() -> EndToEnd:
            inputs_of_head = HIDDEN * len(networks) * images
            return EndToEnd(networks, Head(inputs_of_head, head.hidden, classes, head.dropout), images)

        trained = train_network(make_network, inputs, fold, settings.loss, classes, head, self.checkpoints)
        return TrainedFold(
            predict=lambda places: network_probs(trained.network, inputs, places, head.batch),
            model=FoldModel(networks, trained.network.head, centred),
            curve=trained.curve,
            epochs={},
        )

    def save(self, models: Sequence[FoldModel], path: Path, settings: FoldTrainingSettings) -> None:
        """Write the model of the fold as safetensors.

        Arrays: ``networks.{place}.*`` of each SGCN (its graph is in its own file), ``head.*`` as in
        :class:`merflow.systems.tsdgcn.heads.SavedHead` (without ``mean`` and ``scale`` if the SGCNs were trained with
        it), and ``centre.mean, centre.divisor`` (:class:`merflow.learning.batches.Centred`). Metadata: ``network,
        branch``.
        """
        if not models:
            write_weights({}, path, {"network": "none"})
            return
        ((networks, head, centred),) = models
        tensors = {
            f"networks.{place}.{name}": tensor
            for place, network in enumerate(networks)
            for name, tensor in network.state_dict().items()
        }
        metadata = {"network": "end-to-end"}
        if isinstance(head, SavedHead):
            tensors |= {f"head.{name}": torch.from_numpy(array) for name, array in head.arrays.items()}
            metadata = {"network": "sgcn-heads", "branch": json.dumps(head.branch.tolist())}
        else:
            tensors |= {f"head.{name}": weight for name, weight in zip(WEIGHTS, head.parameters(), strict=True)}
        tensors |= centre_arrays(centred)
        write_weights({name: tensor.detach().cpu() for name, tensor in tensors.items()}, path, metadata)


@torch.no_grad()
def _features(networks: Sequence[nn.Module], rows: ClipRows | Centred, images: int) -> np.ndarray:
    """Return the outputs of the fully connected layers (X^fc of Eq. 4), float32 ``[clips, rows, features]``."""
    inputs = Batches(rows, np.arange(len(rows)), rows.shape[2:], device(), rows=True)
    for network in networks:
        network.to(device()).eval()
    parts = [
        torch.cat([network.features(x) for x in part.chunk(images, dim=1) for network in networks], dim=1).cpu()
        for part in inputs.split(64)
    ]
    return torch.cat(parts).reshape(len(rows), rows.shape[1], -1).numpy()


def pretrain_without(
    macro: Path,
    graph: Graph,
    tested: set[str],
    settings: PretrainSettings,
    seed: tuple[int, int],
    checkpoints: Checkpoints | None = None,
) -> nn.Module:
    """Pre-train an SGCN on the macro images of all subjects except the tested ones (``exclude_test_subjects``).

    Args:
        macro: cache of the macro set.
        graph: graph of the SGCN.
        tested: subjects without their dataset; a macro subject of the same name is the same person.
        settings: settings of the pre-training.
        seed: seed of weights, batches, dropout and of the validation subjects.
        checkpoints: as in :func:`merflow.learning.fit.fit`.

    Raises:
        InputError: fewer than two classes are left.
    """
    images, labels, subjects, classes = macro_images(macro, graph.side, settings.frames)
    kept = np.array([subject.split("/", 1)[1] not in tested for subject in subjects])
    names = ", ".join(sorted(tested))
    if len(set(labels[kept])) < 2:
        raise InputError(
            f"{macro}: without {names} fewer than 2 classes are left to pre-train on; give more macro subjects, or set "
            "pretrain.exclude_test_subjects: false"
        )
    log.info("pre-training on %d of %d macro images, without %s", kept.sum(), len(kept), names)
    places, y = np.flatnonzero(kept), torch.from_numpy(labels[kept]).to(device())
    train, held_out = hold_out(subjects[kept], labels[kept], share=settings.validation, seed=seed)

    def rows(chosen: np.ndarray) -> Rows:
        return Rows(Batches(images, places[chosen], images.shape[2:], device()), y[chosen])

    with repeatable(*seed):
        network = SGCN(graph, len(classes), dropout=settings.dropout).to(device())
        validation = rows(held_out) if len(held_out) else None
        fit(network, functional.cross_entropy, rows(train), validation, settings.schedule, graph.name, checkpoints)
    return network


def train_graph_fold(
    caches: Sequence[Path],
    graphs: Sequence[Path],
    weights: Sequence[Path],
    macro: Path | None,
    files: ResultFiles,
    model: Path,
    settings: FoldTrainingSettings,
    seed: int,
    fold: str,
    code: str,
) -> None:
    """Train and test the networks of one fold (:func:`merflow.systems.network_training.train_fold`).

    Args:
        caches: cache of each micro dataset.
        graphs: graph of each SGCN.
        weights: pre-trained SGCNs, in the order of ``graphs``; empty if the fold pre-trains or nothing does.
        macro: cache of the macro set, if the fold pre-trains its own SGCNs.
        files: output tables.
        model: output, the trained model.
        settings: settings of the job.
        seed: seed of the repeat.
        fold: name of the fold.
        code: digest of the code.

    Raises:
        InputError: caches, graphs and weights do not belong together, or no people are left to pre-train on.
    """
    loaded = [Graph.load(graph) for graph in graphs]
    samples, branch = load_signals(
        caches, settings.clips, settings.branches, settings.fusion, settings.signal, loaded[0].side
    )
    system = FoldSGCN(loaded, weights, macro, branch, settings)
    train_fold(system, samples, settings, seed, fold, files, model, code, [graph.digest for graph in loaded])
