"""Networks that read one flow image per clip (:mod:`merflow.models.registry`), trained inside each fold.

Many published numbers of such networks rest on an epoch that was chosen on the test fold. Here validation subjects
inside the training part choose it, or nobody does (:mod:`merflow.selection`). One fold is one job.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from merflow.apex_flow import SIDE, read_flow_images
from merflow.finetune import Samples, answer_rows, folds_of
from merflow.models.registry import network
from merflow.protocols import Fold
from merflow.selection import settled, trained_parts
from merflow.signals import centred
from merflow.tables import ACCURACY_TRAIN, CURVES, PREDICTIONS, write_table
from merflow.training import Rows, Schedule, device, fit, repeatable, scores_of
from merflow.variants import label, varied

log = logging.getLogger(__name__)


def train_fold(
    caches: Sequence[Path],
    *,
    predictions: Path,
    accuracy_train: Path,
    curves: Path,
    settings: Mapping[str, Any],
    seed: int,
    fold: str,
) -> None:
    """Train and test the network of one fold of one repeat.

    Args:
        caches: micro datasets.
        predictions: output, a row per test clip; empty if no clip of the fold came through.
        accuracy_train: output.
        curves: output.
        settings: ``experiment, system, protocol, classes``; ``network`` with ``epochs, patience, learning_rate, batch,
            dropout, weight_decay, validation, refit``; if given, ``labels`` ({dataset: {clip: label}}; else those of
            the caches), ``folds``, ``test_clips`` and ``selection`` (else validation) with ``grid``, ``inner_folds``.
        seed: the repeat.
        fold: name of the fold.

    Raises:
        InputError: the caches cannot be used.
    """
    samples, own = load_images(caches, settings), settings["network"]
    parts = folds_of(samples, {**settings, "head": own}, seed)
    number = next((n for n, part in enumerate(parts) if part.name == fold), None)
    answers, accuracies, curve = [], [], []
    if number is None:
        log.warning("no clip of %s came through; the fold is empty", fold)
    else:
        part, names = parts[number], {"experiment": settings["experiment"], "repeat": seed}
        blind = samples.without_answers(part)

        def inner(fold: Fold, seed: tuple[int, ...], own: Mapping[str, Any]) -> np.ndarray:
            return _train(blind, fold, seed, own)[1]

        given = samples.subjects, blind.labels, settings, own["validation"]
        part, settings, chosen = settled(part, (seed, number), *given, inner)
        part, chances, known, course = _train(blind, part, (seed, number), settings)
        answers = answer_rows(samples, part, chances, names)
        train_labels, _ = part.training_labels(samples.labels)
        accuracy = float((known.argmax(axis=1) == train_labels).mean())
        accuracies = [names | {"fold": fold, "stage": "finetune", "accuracy": accuracy, "n": len(part.train)}]
        accuracies[0]["chosen"] = label(chosen)
        curve = [names | {"stage": "finetune", "name": fold} | row for row in course]
    write_table(answers, predictions, PREDICTIONS)
    write_table(accuracies, accuracy_train, ACCURACY_TRAIN)
    write_table(curve, curves, CURVES)


def _train(
    samples: Samples, part: Fold, seed: tuple[int, ...], settings: Mapping[str, Any]
) -> tuple[Fold, np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """The fold as it trained, probabilities of its test and of its training clips, and the curve that chose the epoch.

    With ``refit`` the validation subjects choose how many epochs to train, and then train as well, for so many.
    """
    test, known, curve, epoch = _fit(samples, part, seed, settings)
    if settings["network"]["refit"] and len(part.validation):
        (part,) = trained_parts([part], {"selection": "none"})
        test, known, *_ = _fit(samples, part, seed, varied(settings, {"network.epochs": epoch}))
    return part, test, known, curve


def _fit(
    samples: Samples, part: Fold, seed: tuple[int, ...], settings: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]], int]:
    """Probabilities of the test and of the training clips, the training curve, and the epoch that was kept."""
    train_labels, validation_labels = part.training_labels(samples.labels)
    place, classes, own = device(), len(samples.classes), settings["network"]
    images = torch.from_numpy(centred(samples.rows, part.train)).view(-1, 3, SIDE, SIDE).to(place)

    def rows(chosen: np.ndarray, labels: np.ndarray) -> Rows:
        return Rows(images[chosen], torch.from_numpy(labels).to(place))

    with repeatable(*seed):
        model = network(settings["system"])(classes, dropout=own["dropout"]).to(place)
        course = fit(
            model,
            functional.cross_entropy,
            rows(part.train, train_labels),
            rows(part.validation, validation_labels) if len(validation_labels) else None,
            Schedule.of({"decay": 0.0, **own}),
            part.name,
        )
        test, known = (
            scores_of(model, images[chosen], own["batch"]).double().softmax(dim=1).cpu().numpy()
            for chosen in (part.test, part.train)
        )
    log.info("epoch %d of %d kept", course.epoch, own["epochs"])
    return test, known, course.curve, course.epoch


def load_images(caches: Sequence[Path], settings: Mapping[str, Any]) -> Samples:
    """Labelled clips and their flow images at the apex; ``rows`` are ``[clips, 3 (u, v, strain), pixels]``.

    Raises:
        InputError: as :func:`merflow.apex_flow.read_flow_images`.
    """
    classes = list(settings["classes"])
    data = read_flow_images(caches, classes, labels=settings.get("labels"))
    columns = zip(data.dataset, data.subject, data.clip, data.label.tolist(), strict=True)
    return Samples(
        clips=[dict(zip(("dataset", "subject", "clip", "truth"), row, strict=True)) for row in columns],
        rows=data.images.reshape(len(data.label), 3, -1),
        branch=np.arange(3),
        labels=np.array([classes.index(label) for label in data.label], dtype=np.int64),
        classes=classes,
    )
