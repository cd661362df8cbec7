"""TSDGCN trained inside each fold: end to end, without a macro set, or pre-trained without the test subjects.

:mod:`merflow.systems.tsdgcn.finetune` trains heads on features that are extracted once. That is not possible if the
SGCNs depend on the fold: if they continue to learn on micro clips (``transfer: end-to-end``), if there is no macro set
to learn from before (``macro: none``), and if the macro set shows the test subjects, who must be left out
(``pretrain.exclude_test_subjects``).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from merflow.learning.batches import Batches, Centred, centre_arrays
from merflow.learning.fit import repeatable
from merflow.protocols.folds import Fold
from merflow.runtime.devices import device
from merflow.storage.weights import write_weights
from merflow.systems.fold_runner import ClipRows, System, TrainedFold
from merflow.systems.network_training import Images, train_fold, train_network
from merflow.systems.predictions import ResultFiles
from merflow.systems.samples import FoldData
from merflow.systems.settings import FoldTrainingSettings
from merflow.systems.tsdgcn.finetune import HeadSystem
from merflow.systems.tsdgcn.fusion import load_signals
from merflow.systems.tsdgcn.graph import Graph
from merflow.systems.tsdgcn.heads import WEIGHTS, Head, SavedHead
from merflow.systems.tsdgcn.pretrain import load_network, train_sgcn
from merflow.systems.tsdgcn.sgcn import HIDDEN, SGCN


class EndToEnd(nn.Module):
    """One or two SGCNs and the fused head (Eq. 4 and 5) as one network."""

    def __init__(self, networks: Sequence[nn.Module], head: nn.Module, images: int) -> None:
        """Join the parts; ``images``: number of images side by side in a row (2 for ``fusion: concat``)."""
        super().__init__()
        self.networks, self.head, self.images = nn.ModuleList(networks), head, images

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[rows, images * pixels]`` to class scores ``[rows, classes]``."""
        networks = cast("Iterable[SGCN]", self.networks)
        features = [network.features(part) for part in x.chunk(self.images, dim=1) for network in networks]
        scores: Tensor = self.head(torch.cat(features, dim=1))
        return scores


Model = tuple[Sequence[SGCN], SavedHead | Head, Centred | None]
"""The SGCNs of a fold; a head on their features, or the head that was trained with them; centring of the inputs."""


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
        self.networks: list[SGCN] = []

    def prepare(self, fold: Fold, subjects: Sequence[str], classes: int, repeat: int) -> None:
        """Load the SGCNs, pre-train them without the test subjects, or make them."""
        self.networks = []
        tested = {subjects[place].split("/", 1)[1] for place in fold.test}
        for place, graph in enumerate(self.graphs):
            seed = self.settings.network_seeds[place], fold.number
            if self.weights:
                network = load_network(self.weights[place], graph)[0]
            elif self.macro is not None and self.settings.pretrain is not None:
                network = train_sgcn(
                    self.macro, graph, self.settings.pretrain, seed, self.checkpoints, left_out=tested
                ).network
            else:
                with repeatable(*seed):
                    network = SGCN(graph, classes)
            self.networks.append(network)

    def train(
        self, rows: ClipRows, classes: int, folds: Sequence[FoldData], settings: FoldTrainingSettings
    ) -> Iterator[TrainedFold]:
        """See :meth:`merflow.systems.fold_runner.System.train`; the models are of the type :data:`Model`."""
        images, head = rows.shape[2] // self.graphs[0].side ** 2, settings.head
        for fold in folds:
            # Without pre-training nothing has set the scale of the inputs: they are centred by the training clips.
            centred = None if self.weights or self.macro else Centred(rows, fold.train)
            inputs = rows if centred is None else centred
            networks = deepcopy(self.networks)

            def make_network(networks: Sequence[SGCN] = networks) -> EndToEnd:
                inputs_of_head = HIDDEN * len(networks) * images
                return EndToEnd(networks, Head(inputs_of_head, head.hidden, classes, head.dropout), images)

            if settings.transfer == "frozen":
                (trained,) = self.heads.train(_features(networks, inputs, images), classes, [fold], settings)
                model = networks, trained.model, centred
            else:
                trained = train_network(
                    make_network,
                    Images(inputs, rows.shape[2:], by_row=True),
                    *(fold, settings.loss, classes, head, self.checkpoints),
                )
                model = networks, trained.model.head, centred
            yield replace(trained, model=model, epochs={})

    def save(self, models: Sequence[Model], path: Path, settings: FoldTrainingSettings) -> None:
        """Write the model of the fold as safetensors.

        Arrays: ``networks.{place}.*`` of each SGCN (its graph is in its own file), ``head.*`` as in
        :class:`merflow.systems.tsdgcn.heads.SavedHead` (without ``mean`` and ``scale`` if the SGCNs were trained with
        it), and ``centre.mean, centre.divisor`` (:class:`merflow.learning.batches.Centred`). Metadata: ``network,
        branch``.
        """
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
def _features(networks: Sequence[SGCN], rows: ClipRows | Centred, images: int) -> np.ndarray:
    """Return the outputs of the fully connected layers (X^fc of Eq. 4), float32 ``[clips, rows, features]``."""
    inputs = Batches(rows, np.arange(len(rows)), rows.shape[2:], device(), rows=True)
    for network in networks:
        network.to(device()).eval()
    parts = [
        torch.cat([network.features(x) for x in part.chunk(images, dim=1) for network in networks], dim=1).cpu()
        for part in inputs.split(64)
    ]
    return torch.cat(parts).reshape(len(rows), rows.shape[1], -1).numpy()


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

    ``caches``: cache of each micro dataset; ``graphs, weights, macro``: as in :class:`FoldSGCN`; ``model``: output, the
    trained model; ``code``: digest of the code.

    Raises:
        InputError: caches, graphs and weights do not belong together, or no people are left to pre-train on.
    """
    loaded = [Graph.load(graph) for graph in graphs]
    samples, branch = load_signals(
        caches, settings.clips, settings.branches, settings.fusion, settings.signal, loaded[0].side
    )
    system = FoldSGCN(loaded, weights, macro, branch, settings)
    train_fold(system, samples, settings, seed, fold, files, model, code, [graph.digest for graph in loaded])
