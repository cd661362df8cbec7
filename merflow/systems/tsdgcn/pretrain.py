"""Pre-training of one SGCN on macro-expression images: the source network."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from merflow.errors import InputError
from merflow.learning.batches import Batches
from merflow.learning.checkpoints import Checkpoints
from merflow.learning.fit import Rows, class_numbers, evaluate, fit, repeatable
from merflow.learning.settings import Schedule
from merflow.protocols.folds import hold_out
from merflow.runtime.devices import device
from merflow.storage.disk_arrays import DiskArray
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, read_table, write_table
from merflow.storage.weights import read_weights, write_weights
from merflow.systems.tsdgcn.graph import Graph
from merflow.systems.tsdgcn.sgcn import IMAGES, SGCN
from merflow.systems.tsdgcn.signals import grey_signal

log = logging.getLogger(__name__)

TERMS_SPACE = 2**30
"""Bytes that the Chebyshev terms of all images may take on the disk: at a side of 64, 6,700 images. With more, terms
are made again in every step, which takes a few percent longer."""
BESIDE_PEAK = 1
"""``frames: peak`` takes the key-frame at the apex and so many on either side of it."""


def pretrain(
    cache: Path, graph: Path, weights: Path, curve: Path, settings: Mapping[str, Any], seed: int, code: str = ""
) -> dict[str, Any]:
    """Train an SGCN to name the expression on macro images.

    Loss: cross entropy. A part of the subjects, drawn by the seed, trains nothing and chooses the epoch. Until the
    weights are there, a checkpoint lies beside them.

    Args:
        cache: macro dataset; only ``spatial`` and the labels are used.
        graph: pixel graph.
        weights: output, safetensors; metadata ``network, graph_digest, classes, settings, seed, outcome``.
        curve: output table.
        settings: ``epochs, patience, learning_rate, decay, batch, dropout, frames`` (peak or all), ``validation``.
        seed: seed of weights, batches, dropout and of the validation subjects.
        code: digest of the code; a checkpoint of another one is not taken up.

    Returns:
        The outcome, as in :func:`outcome`.

    Raises:
        InputError: the cache has no images or no labelled clips of two classes.
    """
    plan = Graph.load(graph)
    images, labels, subjects, classes = macro_images(cache, plan.side, settings["frames"])
    train, held = hold_out(subjects, labels, share=settings["validation"], seed=seed)
    y = torch.from_numpy(labels).to(device())
    log.info("%d images train, %d choose the epoch, %d classes", len(train), len(held), len(classes))
    about = code, plan.digest, json.dumps(dict(settings), sort_keys=True), device().type
    checkpoints = Checkpoints(weights.with_name(f"{weights.stem}.checkpoints"), *about)
    with repeatable(seed):
        model = SGCN(plan, len(classes), dropout=settings["dropout"]).to(device())
        train_x, held_x = (Batches(images, chosen, images.shape[2:], device()) for chosen in (train, held))
        if 4 * model.terms_per_image * len(images) <= TERMS_SPACE:
            train_x, held_x = (_terms(model, x) for x in (train_x, held_x))
        training = Rows(train_x, y[train])
        validation = Rows(held_x, y[held]) if len(held) else None
        names = ("epochs", "patience", "learning_rate", "decay", "batch")
        schedule = Schedule(*(settings[name] for name in names), weight_decay=0.0)
        course = fit(model, functional.cross_entropy, training, validation, schedule, plan.name, checkpoints)
        result = {"epoch": course.epoch, "n_train": len(train), "n_validation": len(held)}
        for split, rows in (("train", training), ("validation", validation)):
            if rows:
                reached = evaluate(model, functional.cross_entropy, rows, settings["batch"])
                result[f"accuracy_{split}"] = reached["accuracy"]
    result["subjects_validation"] = sorted({str(subject) for subject in subjects[held]})
    metadata = {
        "network": "sgcn",
        "graph_digest": plan.digest,
        "classes": json.dumps(classes),
        "settings": json.dumps(dict(settings), sort_keys=True),
        "seed": str(seed),
        "outcome": json.dumps(result, sort_keys=True),
    }
    rows = [{"experiment": "", "repeat": seed, "stage": "pretrain", "name": plan.name} | row for row in course.curve]
    write_table(rows, curve, CURVES)
    write_weights(model.cpu().state_dict(), weights, metadata)
    checkpoints.remove()
    log.info("kept epoch %d: %s", course.epoch, ", ".join(f"{k} {v:.1%}" for k, v in result.items() if "accuracy" in k))
    return result


@torch.no_grad()
def _terms(model: SGCN, images: Batches) -> Batches:
    """What :meth:`SGCN.terms` gives for images, made once, on the disk."""
    if not len(images):
        return images
    terms = DiskArray(one for part in images.split(IMAGES) for one in model.terms(part).cpu().numpy())
    return Batches(terms, np.arange(len(terms)), terms.shape[1:], images.device)


def macro_images(cache: Path, side: int, frames: str) -> tuple[DiskArray, np.ndarray, np.ndarray, list[str]]:
    """Labelled images of a cache as signals on a graph.

    Args:
        cache: dataset with ``spatial``.
        side: side of the graph.
        frames: ``all`` key-frames, or the ``peak`` of each clip: the key-frame at the apex and its neighbours.

    Returns:
        Images ``[rows, 1, side * side]`` as :func:`merflow.systems.tsdgcn.signals.grey_signal` makes them, on the
        disk; classes int64 ``[rows]``, subjects ``[rows]``, class names.
    """
    with open_h5(cache) as file:
        classes = [str(name) for name in file.attrs["classes"]]
        labels, subjects = file["label"].asstr()[:], file["subject"].asstr()[:]
        spatial, apex = file["spatial"], file["apex_index"][:]
        if not spatial.shape[1]:
            raise InputError(f"{cache} has no images to train on (spatial is empty); choose another macro dataset")
        found = set(labels) - {""}
        if len(found) < 2:
            raise InputError(
                f"{cache}: labelled clips of at least 2 classes are needed, found: {', '.join(sorted(found))}"
            )
        rows: list[int] = []

        def pictures() -> Iterator[np.ndarray]:
            for clip in np.flatnonzero(labels != ""):
                first, last = 0, spatial.shape[1]
                if frames == "peak":
                    first, last = max(0, apex[clip] - BESIDE_PEAK), apex[clip] + BESIDE_PEAK + 1
                for small in grey_signal(spatial[clip, first:last], side):
                    rows.append(clip)
                    yield small.reshape(1, -1)

        images = DiskArray(pictures())
    return images, class_numbers(labels[rows], classes, cache), subjects[rows], classes


def load_network(weights: Path, graph: Graph) -> tuple[torch.nn.Module, str]:
    """The network of a weights file, in evaluation mode, and the digest of the file.

    Raises:
        InputError: the file is no weights file, or belongs to another graph.
    """
    try:
        metadata, state = read_weights(weights)
        classes, name = json.loads(metadata["classes"]), metadata["network"]
        trained_on = metadata["graph_digest"]
    except (KeyError, ValueError) as error:
        raise InputError(f"{weights} is not a weights file of merflow: {error}; delete it and run again") from error
    if trained_on != graph.digest:
        raise InputError(
            f"{weights} was trained on graph {trained_on}, not on {graph.digest} ({graph.name}); "
            "delete it and run again"
        )
    if name != "sgcn":
        raise InputError(f"{weights} holds a network {name!r}, not an SGCN; delete it and run again")
    model = SGCN(graph, len(classes))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{weights} holds other arrays than an SGCN's ({error}); delete it and run again") from error
    return model.eval(), sha256(Path(weights).read_bytes()).hexdigest()[:12]


def outcome(weights: Path) -> dict[str, Any]:
    """How a pre-training ended.

    Returns:
        ``epoch`` kept, ``accuracy_train``, ``n_train``, ``accuracy_validation``, ``n_validation`` (over images, without
        dropout; the validation accuracy is missing where nobody was held out), ``subjects_validation``.
    """
    try:
        return json.loads(read_weights(weights, arrays=False)[0]["outcome"])
    except (KeyError, ValueError) as error:
        raise InputError(f"{weights} is not a weights file of merflow: {error}; delete it and run again") from error


def tabulate(
    networks: Sequence[Mapping[str, Any]],
    weights: Sequence[Path],
    curves: Sequence[Path],
    accuracy_train: Path,
    curve: Path,
) -> None:
    """Gather how an experiment's networks were pre-trained.

    Args:
        networks: ``experiment, repeat, name`` of each.
        weights: their weights.
        curves: their curves.
        accuracy_train: output; ``fold`` holds the name of the network, ``n`` counts training images.
        curve: output.
    """
    accuracies, tables = [], []
    for network_, file, course in zip(networks, weights, curves, strict=True):
        names = {name: network_[name] for name in ("experiment", "repeat")}
        result = outcome(file)
        counts = {"accuracy": result["accuracy_train"], "n": result["n_train"]}
        accuracies.append(names | {"fold": network_["name"], "stage": "pretrain"} | counts)
        tables.append(read_table(course, CURVES).assign(**names, name=network_["name"]))
    write_table(accuracies, accuracy_train, ACCURACY_TRAIN)
    write_table(pd.concat(tables), curve, CURVES)
