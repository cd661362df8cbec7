"""TSDGCN trained inside each fold: end to end, without a macro set, or pre-trained without the test subjects.

:mod:`merflow.systems.tsdgcn.finetune` trains heads on features that are extracted once. That is not possible if the
SGCNs depend on the fold: if they continue to learn on micro clips (``transfer: end-to-end``), if there is no macro set
to learn from before (``macro: none``), and if the macro set shows the test subjects, who must be left out
(``pretrain.exclude_test_subjects``).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from merflow.learning.augmentation import Augmentation
from merflow.learning.batches import Batches, Centred, centre_arrays
from merflow.learning.checkpoints import Checkpoints
from merflow.learning.fit import scores_of
from merflow.protocols.folds import Fold
from merflow.runtime.devices import device
from merflow.systems.fold_runner import ClipRows, System, TrainedFold, run_job
from merflow.systems.network_training import Images, train_network
from merflow.systems.predictions import ResultFiles
from merflow.systems.samples import FoldData
from merflow.systems.saved_models import SavedModel
from merflow.systems.settings import FoldTrainingSettings, HeadSettings
from merflow.systems.tsdgcn.finetune import HeadSystem
from merflow.systems.tsdgcn.fusion import image_fields, load_signals, relative_features
from merflow.systems.tsdgcn.graph import Graph
from merflow.systems.tsdgcn.heads import WEIGHTS, Head
from merflow.systems.tsdgcn.pretrain import load_network, train_sgcns
from merflow.systems.tsdgcn.sgcn import HIDDEN, SGCN


class EndToEnd(nn.Module):
    """One or two SGCNs and the fused head (Eq. 4 and 5) as one network."""

    def __init__(self, networks: Sequence[nn.Module], head: nn.Module, images: int) -> None:
        """Join the parts; ``images``: number of images of an input: 2 for ``concat``, all of a clip for ``clip``."""
        super().__init__()
        self.networks, self.head, self.images = nn.ModuleList(networks), head, images

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[rows, images * pixels]`` to class scores ``[rows, classes]``."""
        images = x.reshape(-1, x.shape[1] // self.images)  # In one batch, which batch normalisation needs.
        networks = cast("Iterable[SGCN]", self.networks)
        features = torch.cat([network.features(images) for network in networks], dim=1)
        scores: Tensor = self.head(features.reshape(-1, self.images * features.shape[1]))
        return scores


class FoldSGCN(System[FoldTrainingSettings]):
    """SGCNs that are loaded, pre-trained or made for each fold, with a head on their features or trained with them.

    Its saved model has the arrays ``networks.{index}.*`` of each SGCN (its graph is in its own file) and ``head.*``. If
    the SGCNs stay as they are, ``network`` is ``sgcn-heads``, and the head and ``branch`` are those of
    :class:`merflow.systems.tsdgcn.finetune.HeadSystem`. Otherwise ``network`` is ``end-to-end``, the head has only its
    weights, and without pre-training there are ``centre.mean, centre.divisor``
    (:class:`merflow.learning.batches.Centred`).
    """

    def __init__(
        self,
        graphs: Sequence[Graph],
        weights: Sequence[Path],
        macro: Path | None,
        branch: np.ndarray,
        fields: Sequence[str],
        settings: FoldTrainingSettings,
        checkpoints: Checkpoints,
    ) -> None:
        """Keep what the networks of a fold are made of.

        ``graphs, weights``: of each SGCN, without weights if the fold pre-trains them, or if they are not pre-trained;
        ``macro``: cache of the macro set, if the fold pre-trains; ``branch``: branch of each row of a clip; ``fields``:
        what each image of a clip shows.
        """
        self.graphs, self.weights, self.macro, self.settings = graphs, weights, macro, settings
        self.fields = fields
        self.checkpoints = checkpoints
        self.heads = HeadSystem[FoldTrainingSettings](branch)
        self.networks: list[SGCN] = []
        self.features: np.ndarray | None = None

    def prepare(self, fold: Fold, subjects: Sequence[str]) -> None:
        """Load the SGCNs, or pre-train them without the test subjects; without pre-training there are none yet."""
        self.networks, self.features = [], None
        tested = {subjects[clip].split("/", 1)[1] for clip in fold.test}
        if self.weights:
            pairs = zip(self.weights, self.graphs, strict=True)
            self.networks = [load_network(weights, graph)[0] for weights, graph in pairs]
        elif self.macro is not None and self.settings.pretrain is not None:
            seeds = [(seed, fold.number) for seed in self.settings.network_seeds]
            groups = [self.graphs] if self.settings.together else [[graph] for graph in self.graphs]
            for graphs, seed in zip(groups, seeds, strict=False):
                inputs = self.macro, graphs, self.settings.pretrain, seed, self.checkpoints
                self.networks += train_sgcns(*inputs, left_out=tested).networks

    def train(
        self, rows: ClipRows, classes: int, folds: Sequence[FoldData], settings: FoldTrainingSettings
    ) -> Iterator[TrainedFold]:
        """See :meth:`merflow.systems.fold_runner.System.train`."""
        head, inputs = settings.head, settings.inputs
        images = rows.shape[2] // (inputs.channels * self.graphs[0].side ** 2)
        if settings.transfer == "frozen":
            if self.features is None:  # They are the same for every training on this fold.
                features = _features(self.networks, rows, images)
                self.features = relative_features(features, inputs, self.heads.branch).cpu().numpy()
            for trained in self.heads.train(self.features, classes, folds, settings):
                (saved_head,) = trained.models
                about = {**saved_head.about, "network": "sgcn-heads"}
                yield replace(trained, models=[_model(about, self.networks, saved_head.tensors, None)])
            return
        by_row = inputs.fusion != "clip"
        shape = rows.shape[2:] if by_row else (rows.shape[1] * rows.shape[2],)
        for fold in folds:
            # Without pre-training nothing has set the scale of the inputs: they are centred by the training clips.
            centred = None if self.networks else Centred(rows, fold.train, inputs.channels * images)
            augment = Augmentation.of(settings.augment, self.fields, rows, fold.train, centred)
            make = partial(self._join, images, head, classes, 1 if by_row else rows.shape[1])
            inputs_of_fold = Images(rows if centred is None else centred, shape, by_row, augment)
            network, trained = train_network(make, inputs_of_fold, fold, settings.loss, classes, head, self.checkpoints)
            end_to_end = cast("EndToEnd", network)
            weights = dict(zip(WEIGHTS, end_to_end.head.parameters(), strict=True))
            model = _model({"network": "end-to-end"}, end_to_end.networks, weights, centred)
            yield replace(trained, models=[model], epochs={"head.epochs": trained.epochs["network.epochs"]})

    def _join(self, images: int, head: HeadSettings, classes: int, rows: int) -> EndToEnd:
        """Return the SGCNs of a fold, new ones if nothing is pre-trained, with a new head.

        ``rows``: number of rows that are one input.
        """
        options = vars(self.settings.sgcn) | {"channels": self.settings.inputs.channels}
        networks = deepcopy(self.networks) or [SGCN(graph, classes, **options) for graph in self.graphs]
        inputs_of_head = HIDDEN * len(networks) * images
        return EndToEnd(networks, Head(inputs_of_head, head.hidden, classes, head.dropout, rows), images * rows)


def _model(
    about: Mapping[str, Any], networks: Iterable[nn.Module], head: Mapping[str, Tensor], centred: Centred | None
) -> SavedModel:
    """Return the model of a fold; its arrays are those of :class:`FoldSGCN`."""
    states = [(f"networks.{index}", network.state_dict()) for index, network in enumerate(networks)]
    tensors = {
        f"{prefix}.{name}": tensor for prefix, state in [*states, ("head", head)] for name, tensor in state.items()
    }
    return SavedModel.of(about, tensors | centre_arrays(centred))


def _features(networks: Sequence[SGCN], rows: ClipRows, images: int) -> Tensor:
    """Return the outputs of the fully connected layers (X^fc of Eq. 4), float32 ``[clips, rows, features]``."""
    inputs = Batches(rows, np.arange(len(rows)), rows.shape[2:], device(), rows=True)
    features = scores_of(EndToEnd(networks, nn.Identity(), images).to(device()), inputs, 64)
    return features.reshape(len(rows), rows.shape[1], -1)


def train_graph_folds(
    caches: Sequence[Path],
    graphs: Sequence[Path],
    weights: Sequence[Path],
    macro: Path | None,
    files: ResultFiles,
    model: Path,
    settings: FoldTrainingSettings,
    folds: Sequence[str] | None,
    code: str,
) -> None:
    """Train and test the networks of some folds, fold by fold (:func:`merflow.systems.fold_runner.run_job`).

    The job resumes from the checkpoints beside its tables, and removes them at the end. ``caches``: cache of each micro
    dataset; ``graphs, weights, macro``: as in :class:`FoldSGCN`; the others are those of
    :func:`merflow.systems.clip_networks.train_clip_networks`.

    Raises:
        InputError: caches, graphs, weights and splits do not belong together, or no people are left to pre-train on.
        ConfigError: a training diverged.
    """
    loaded = [Graph.load(graph) for graph in graphs]
    samples, branch = load_signals(caches, settings.clips, settings.inputs, loaded[0].side)
    fields = image_fields(caches[0], settings.inputs)
    made_of = code, settings, device().type, [graph.digest for graph in loaded]
    checkpoints = Checkpoints(files.predictions.parent / "checkpoints", *made_of)
    system = FoldSGCN(loaded, weights, macro, branch, fields, settings, checkpoints)
    run_job(lambda _: (system, samples), settings, files, model, folds)
    checkpoints.remove()
