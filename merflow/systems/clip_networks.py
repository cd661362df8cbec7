"""Networks that read clips (:mod:`merflow.systems.registry`), trained inside each fold.

Many published numbers of such networks rest on an epoch that was chosen on the test fold. Here validation subjects
inside the training part choose it, or nobody does (:mod:`merflow.protocols.selection`). One fold is one job, with
checkpoints of its own (:mod:`merflow.learning.checkpoints`).
"""

import json
import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from merflow.learning.checkpoints import Checkpoints
from merflow.learning.fit import Rows, Schedule, fit, repeatable, scores_of
from merflow.learning.losses import make_loss
from merflow.protocols.folds import Fold
from merflow.protocols.selection import settled, trained_parts
from merflow.protocols.variants import varied
from merflow.runtime.devices import device
from merflow.storage.disk_arrays import Batches, Centred, centre_arrays
from merflow.storage.weights import write_weights
from merflow.systems.clip_images import read_clip_images
from merflow.systems.tsdgcn.finetune import Samples, fold_answers, fold_of, write_answers

log = logging.getLogger(__name__)

TRAINED = ("epochs", "patience", "learning_rate", "batch", "weight_decay", "validation", "refit", "side")
"""Keys of the block ``network`` that are about training and the size of images; the others make the network."""


def train_fold(
    caches: Sequence[Path],
    *,
    predictions: Path,
    accuracy_train: Path,
    curves: Path,
    settings: Mapping[str, Any],
    seed: int,
    fold: str,
    code: str = "",
    validation: Path | None = None,
    model: Path | None = None,
) -> None:
    """Train and test the network of one fold of one repeat.

    Its checkpoints lie in ``checkpoints`` beside ``predictions`` until the tables are there.

    Args:
        caches: micro datasets.
        predictions: output, a row per test clip; empty if no clip of the fold came through.
        accuracy_train: output.
        curves: output.
        settings: ``experiment, system, model, reads, side, protocol, classes, loss``; ``network`` with ``epochs,
            patience, learning_rate, batch, dropout, weight_decay, validation, refit`` and the network's own options; if
            given, ``labels`` ({dataset: {clip: label}}; else those of the caches), ``folds``, ``test_clips`` and
            ``selection`` (else validation) with ``grid``, ``inner_folds``.
        seed: the repeat.
        fold: name of the fold.
        code: digest of the code; a checkpoint of another one is not taken up.
        validation: if given, output: as ``predictions``, of the clips that chose the epoch, answered by the network
            that did not train on them: with ``refit``, the one before the last.
        model: if given, output: the network that answered the test clips (:func:`save_network`).

    Raises:
        InputError: the caches cannot be used.
    """
    samples, own = load_clips(caches, settings), settings["network"]
    found = fold_of(samples, {**settings, "head": own}, seed, fold)
    answers, trained = [], None
    about = json.dumps({**settings, "code": code, "seed": seed, "fold": fold}, sort_keys=True)
    made_of = samples.rows.digest, samples.labels, found[1].parts if found else None
    checkpoints = Checkpoints(predictions.parent / "checkpoints", about, device().type, *made_of)
    if found is None:
        log.warning("no clip of %s came through; the fold is empty", fold)
    else:
        number, part = found
        names = {"experiment": settings["experiment"], "repeat": seed}
        blind = samples.without_answers(part)

        def inner(fold: Fold, seed: tuple[int, ...], own: Mapping[str, Any]) -> np.ndarray:
            return _train(blind, fold, seed, own, checkpoints).test

        given = samples.subjects, blind.labels, settings, own["validation"]
        part, settings, chosen = settled(part, (seed, number), *given, inner)
        trained = _train(blind, part, (seed, number), settings, checkpoints)
        known = trained.known, trained.fold.training_labels(samples.labels)[0]
        held = part.validation, trained.held
        answers.append(fold_answers(samples, trained.fold, trained.test, known, trained.curve, names, chosen, held))
    if model:
        save_network(trained, model, settings)
    write_answers(answers, predictions, accuracy_train, curves, validation)
    checkpoints.remove()


class Trained(NamedTuple):
    """A network after its training.

    Attributes:
        fold: as it trained.
        test: probabilities of the test clips, ``[clips, classes]``.
        known: probabilities of the training clips.
        curve: rows ``stage, epoch, split, loss, accuracy`` of the training that chose the epochs.
        epochs: what was chosen, by dotted key.
        held: probabilities of the clips that chose the epochs; with ``refit``, of the network that they did not train.
        network: the network.
        centred: the images as it reads them.
    """

    fold: Fold
    test: np.ndarray
    known: np.ndarray
    curve: list[dict[str, Any]]
    epochs: dict[str, int]
    held: np.ndarray
    network: nn.Module
    centred: Centred


def save_network(trained: Trained | None, path: Path, settings: Mapping[str, Any]) -> None:
    """Write a trained network as safetensors; a file without arrays for a fold without clips.

    Arrays: ``network.*`` and ``centre.mean, centre.divisor`` (:class:`merflow.storage.disk_arrays.Centred`). Metadata:
    ``network`` (its module and class) and ``settings``, from which :func:`network` makes it anew.
    """
    if trained is None:
        write_weights({}, path, {"network": "none"})
        return
    state = {f"network.{name}": tensor.detach().cpu() for name, tensor in trained.network.state_dict().items()}
    own = {key: value for key, value in settings["network"].items() if key not in TRAINED}
    metadata = {"network": settings["model"], "settings": json.dumps(own, sort_keys=True)}
    write_weights(state | centre_arrays(trained.centred), path, metadata)


def _train(
    samples: Samples, part: Fold, seed: tuple[int, ...], settings: Mapping[str, Any], checkpoints: Checkpoints
) -> Trained:
    """Train on a fold; with ``refit`` the validation subjects choose how many epochs, then train for so many too."""
    found = _fit(samples, part, seed, settings, checkpoints)
    if settings["network"]["refit"] and len(part.validation):
        (part,) = trained_parts([part], {"selection": "none"})
        again = _fit(samples, part, seed, varied(settings, found.epochs), checkpoints)
        return again._replace(curve=found.curve, held=found.held)
    return found


def _fit(
    samples: Samples, part: Fold, seed: tuple[int, ...], settings: Mapping[str, Any], checkpoints: Checkpoints
) -> Trained:
    train_labels, validation_labels = part.training_labels(samples.labels)
    place, classes, own = device(), len(samples.classes), settings["network"]
    # Rows of pixels, standardised by those that train: the rows of a key-frame sequence share one picture and divisor.
    images, side = Centred(samples.rows, part.train), settings["side"]
    frames = () if settings["reads"] == "flow-image" else (images.shape[2] // side**2,)

    def pictures(chosen: np.ndarray) -> Batches:
        return Batches(images, chosen, (images.shape[1], *frames, side, side), place)

    def rows(chosen: np.ndarray, labels: np.ndarray) -> Rows:
        return Rows(pictures(chosen), torch.from_numpy(labels).to(place))

    training = rows(part.train, train_labels)
    validation = rows(part.validation, validation_labels) if len(validation_labels) else None
    with repeatable(*seed):
        model = network(settings["model"], classes, own).to(place)
        before = (
            model.prior(training, validation, own, f"{part.name}, pairs", checkpoints)
            if hasattr(model, "prior")
            else None
        )
        loss = make_loss(settings["loss"], classes)
        course = fit(model, loss, training, validation, Schedule.of({"decay": 0.0, **own}), part.name, checkpoints)

        def chances(chosen: np.ndarray) -> np.ndarray:
            scores = scores_of(model, pictures(chosen), own["batch"])
            return scores.double().softmax(dim=1).cpu().numpy()

        test, known = chances(part.test), chances(part.train)
        held = chances(part.validation) if len(part.validation) else np.zeros((0, classes))
    stages = [("finetune", "network.epochs", course)]
    if before:
        stages.insert(0, ("prior", "network.prior_epochs", before))
    curve = [{"stage": stage} | row for stage, _, one in stages for row in one.curve]
    epochs = {key: one.epoch for _, key, one in stages}
    log.info("kept: %s", ", ".join(f"{key} {epoch} of {own[key.split('.')[1]]}" for key, epoch in epochs.items()))
    return Trained(part, test, known, curve, epochs, held, model, images)


def network(model: str, classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """A network with random weights from torch's generator.

    Args:
        model: module of :mod:`merflow.systems` and class in it, such as ``ststnet:STSTNet``.
        classes: number of classes.
        settings: block ``network`` of the configuration: ``dropout`` and the network's own options.
    """
    module, name = model.split(":")
    own = {key: value for key, value in settings.items() if key not in TRAINED}
    return getattr(import_module(f"merflow.systems.{module}"), name)(classes, **own)


def load_clips(caches: Sequence[Path], settings: Mapping[str, Any]) -> Samples:
    """Labelled clips and their images; ``rows`` are ``[clips, channels, pixels]``
    (:data:`merflow.systems.clip_images.READS`).

    Raises:
        InputError: as :func:`merflow.systems.clip_images.read_clip_images`.
    """
    classes, wanted = list(settings["classes"]), {name: settings[name] for name in ("reads", "side")}
    data = read_clip_images(caches, classes, labels=settings.get("labels"), stored=True, **wanted)
    columns = zip(data.dataset, data.subject, data.clip, data.label.tolist(), strict=True)
    return Samples(
        clips=[dict(zip(("dataset", "subject", "clip", "truth"), row, strict=True)) for row in columns],
        rows=data.images,
        branch=np.arange(data.images.shape[1]),
        labels=np.array([classes.index(label) for label in data.label], dtype=np.int64),
        classes=classes,
    )
