"""Pre-training of SGCNs on macro-expression images: the source network."""

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from merflow.errors import InputError
from merflow.learning.batches import Batches
from merflow.learning.checkpoints import Checkpoints
from merflow.learning.fit import Rows, Training, evaluate, fit, repeatable
from merflow.protocols.folds import hold_out
from merflow.runtime.devices import device
from merflow.storage.disk_arrays import DiskArray
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, read_table, write_table
from merflow.storage.weights import read_weights, write_weights
from merflow.systems.settings import PretrainedNetwork, PretrainSettings
from merflow.systems.tsdgcn.graph import Graph
from merflow.systems.tsdgcn.sgcn import SGCN
from merflow.systems.tsdgcn.signals import grey_signal

log = logging.getLogger(__name__)

BESIDE_PEAK = 1
"""Number of key-frames on either side of the apex that ``frames: peak`` includes."""


def pretrain(
    cache: Path,
    graphs: Sequence[Path],
    weights: Sequence[Path],
    curves: Sequence[Path],
    settings: PretrainSettings,
    seed: int,
    code: str = "",
) -> None:
    """Train an SGCN, or two together, on all subjects of a macro dataset (:func:`train_sgcns`), and write them.

    Until the weights are written, a checkpoint lies beside them.

    Args:
        cache: macro dataset; only ``spatial`` and the labels are used.
        graphs: pixel graph of each SGCN.
        weights: output of each, safetensors; metadata ``network, graph_digest, classes, settings, seed, outcome``. Two
            networks that trained together have the outcome of both together.
        curves: output table of each.
        settings: settings of the pre-training.
        seed: seed of weights, batches, dropout and of the validation subjects.
        code: digest of the code; checkpoints of other code are not used.
    """
    pixel_graphs, settings_text = [Graph.load(graph) for graph in graphs], json.dumps(asdict(settings), sort_keys=True)
    folder = weights[0].with_name(f"{weights[0].stem}.checkpoints")
    digests = [graph.digest for graph in pixel_graphs]
    checkpoints = Checkpoints(folder, code, *digests, settings_text, device().type)
    pretrained = train_sgcns(cache, pixel_graphs, settings, (seed,), checkpoints)
    training, parts = pretrained.training, pretrained.parts
    result: dict[str, Any] = {"epoch": training.epoch, "n_train": len(parts["train"].y), "n_validation": 0}
    with repeatable(0):
        for part, rows in parts.items():
            result[f"n_{part}"] = len(rows.y)
            figures = evaluate(pretrained.together, functional.cross_entropy, rows, settings.batch)
            result[f"accuracy_{part}"] = figures["accuracy"]
    result["subjects_validation"] = pretrained.validation_subjects
    metadata = {
        "network": "sgcn",
        "classes": json.dumps(pretrained.classes),
        "settings": settings_text,
        "seed": str(seed),
        "outcome": json.dumps(result, sort_keys=True),
    }
    for graph, network, file, curve in zip(pixel_graphs, pretrained.networks, weights, curves, strict=True):
        names = {"experiment": "", "repeat": seed, "stage": "pretrain", "name": graph.name}
        write_table([names | row for row in training.curve], curve, CURVES)
        write_weights(network.cpu().state_dict(), file, metadata | {"graph_digest": graph.digest})
    checkpoints.remove()
    log.info("kept epoch %d, training accuracy %.1f %%", training.epoch, 100 * result["accuracy_train"])


class DualSGCN(nn.Module):
    """Two SGCNs with one linear classifier on the concatenated features of both (Eq. 4).

    This is the sum of the scores of two linear classifiers, one on the features of each.
    """

    def __init__(self, networks: Sequence[SGCN]) -> None:
        """Join two networks."""
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[images, pixels]`` to class scores ``[images, classes]``."""
        first, second = self.networks
        scores: Tensor = first(x) + second(x)
        return scores


class Pretrained(NamedTuple):
    """Pre-trained SGCNs, alone or two ``together``, and the images that trained them and that chose the epoch."""

    networks: list[SGCN]
    together: nn.Module
    training: Training
    classes: list[str]
    parts: dict[str, Rows]
    validation_subjects: list[str]


def train_sgcns(
    cache: Path,
    graphs: Sequence[Graph],
    settings: PretrainSettings,
    seed: tuple[int, ...],
    checkpoints: Checkpoints | None = None,
    left_out: Collection[str] = (),
) -> Pretrained:
    """Train an SGCN, or two with one classifier, to recognise expressions on macro images, with cross entropy.

    Validation subjects, drawn by the seed, choose the epoch.

    Args:
        cache: macro dataset.
        graphs: graph of each SGCN; one or two.
        settings: settings of the pre-training.
        seed: seed of weights, batches, dropout and of the validation subjects.
        checkpoints: as in :func:`merflow.learning.fit.fit`.
        left_out: subjects, without their dataset, whose images are not used (``exclude_test_subjects``); a macro
            subject of the same name is the same person.

    Raises:
        InputError: the cache has no images, or labelled clips of fewer than two classes.
    """
    images, labels, subjects, classes = macro_images(cache, graphs[0].side, settings.frames)
    indices = np.flatnonzero([subject.split("/", 1)[-1] not in left_out for subject in subjects])
    if len(set(labels[indices])) < 2:
        raise InputError(
            f"{cache}: without {', '.join(sorted(left_out))} fewer than 2 classes are left to pre-train on; give more "
            "macro subjects, or set pretrain.exclude_test_subjects: false"
        )
    train, held_out = hold_out(subjects[indices], labels[indices], share=settings.validation, seed=seed)
    log.info("%d of %d images train, %d choose the epoch", len(train), len(images), len(held_out))
    parts = {
        part: Rows(
            Batches(images, indices[chosen], images.shape[2:], device()),
            torch.from_numpy(labels[indices[chosen]]).to(device()),
        )
        for part, chosen in (("train", train), ("validation", held_out))
        if len(chosen)
    }
    with repeatable(*seed):
        networks = [SGCN(graph, len(classes), dropout=settings.dropout).to(device()) for graph in graphs]
        together = DualSGCN(networks) if len(networks) > 1 else networks[0]
        name = " and ".join(graph.name for graph in graphs)
        loss, validation = functional.cross_entropy, parts.get("validation")
        training = fit(together, loss, parts["train"], validation, settings.schedule, name, checkpoints)
    validation_subjects = sorted({str(subject) for subject in subjects[indices[held_out]]})
    return Pretrained(networks, together, training, classes, parts, validation_subjects)


def macro_images(cache: Path, side: int, frames: str) -> tuple[DiskArray, np.ndarray, np.ndarray, list[str]]:
    """Return the labelled images of a cache as signals on a graph.

    ``frames``: ``all`` key-frames, or the ``peak`` of each clip: the key-frame at the apex and its neighbours.

    Returns:
        Images ``[rows, 1, side * side]`` of :func:`merflow.systems.tsdgcn.signals.grey_signal`, on disk; classes int64
        ``[rows]``; subjects ``[rows]``; class names.

    Raises:
        InputError: the cache has no images, or labelled clips of fewer than two classes.
    """
    with open_h5(cache) as file:
        classes = [str(name) for name in file.attrs["classes"]]
        labels, subjects = file["label"].asstr()[:], file["subject"].asstr()[:]
        spatial, apex = file["spatial"], file["apex_index"][:]
        if not spatial.shape[1]:
            raise InputError(f"{cache} has no images to train on (spatial is empty); choose another macro dataset")
        shown = set(labels) - {""}
        if len(shown) < 2 or not shown <= set(classes):
            names = ", ".join(sorted(shown))
            raise InputError(f"{cache}: labels of at least 2 of {', '.join(classes)} are needed, found: {names}")
        rows: list[int] = []

        def signals() -> Iterator[np.ndarray]:
            for clip in np.flatnonzero(labels != "").tolist():
                first, last = 0, spatial.shape[1]
                if frames == "peak":
                    first, last = max(0, apex[clip] - BESIDE_PEAK), apex[clip] + BESIDE_PEAK + 1
                for signal in grey_signal(spatial[clip, first:last], side):
                    rows.append(clip)
                    yield signal.reshape(1, -1)

        images = DiskArray(signals())
    numbers = np.array([classes.index(label) for label in labels[rows]], np.int64)
    return images, numbers, subjects[rows], classes


def load_network(weights: Path, graph: Graph) -> tuple[SGCN, str]:
    """Return the network of a weights file in evaluation mode, and the digest of the file.

    Raises:
        InputError: the file is not a weights file, or belongs to another graph.
    """
    with _weights_file(weights):
        metadata, state = read_weights(weights)
        if (trained_on := metadata["graph_digest"]) != graph.digest:
            raise InputError(
                f"{weights} was trained on graph {trained_on}, not on {graph.digest} ({graph.name}); "
                "delete it and run again"
            )
        network = SGCN(graph, len(json.loads(metadata["classes"])))
        network.load_state_dict(state)
    return network.eval(), sha256(Path(weights).read_bytes()).hexdigest()[:12]


def outcome(weights: Path) -> dict[str, Any]:
    """Return the result of a pre-training, without dropout and over images.

    ``epoch`` (the chosen one), ``accuracy_train, n_train, accuracy_validation`` (if there are validation subjects),
    ``n_validation, subjects_validation``.
    """
    with _weights_file(weights):
        return dict(json.loads(read_weights(weights, arrays=False)[0]["outcome"]))


@contextmanager
def _weights_file(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is not a weights file of merflow: {error}; delete it and run again") from error


def tabulate(
    networks: Sequence[PretrainedNetwork],
    weights: Sequence[Path],
    curves: Sequence[Path],
    accuracy_train: Path,
    curve: Path,
) -> None:
    """Write the training accuracies and learning curves of an experiment's pre-trained networks.

    ``networks``, ``weights`` and ``curves`` are of the same order. In ``accuracy_train``, an output as ``curve``,
    ``fold`` is the name of the network, and ``n`` the number of training images.
    """
    accuracies, tables = [], []
    for network, weights_file, curve_file in zip(networks, weights, curves, strict=True):
        names: dict[str, Any] = {"experiment": network.experiment, "repeat": network.repeat}
        result = outcome(weights_file)
        row = {"fold": network.name, "stage": "pretrain", "accuracy": result["accuracy_train"], "n": result["n_train"]}
        accuracies.append(names | row)
        tables.append(read_table(curve_file, CURVES).assign(**names, name=network.name))
    write_table(accuracies, accuracy_train, ACCURACY_TRAIN)
    write_table(pd.concat(tables), curve, CURVES)
