"""Floors: what simple methods reach on the same clips and folds, below which a network has learnt nothing.

``majority`` answers the most frequent class of the training clips. ``linear-svm`` and ``softmax`` see one flow image
per clip: u, v and optical strain between onset and apex, averaged down to 28 x 28 pixels as in the shallow networks of
the field (Liong et al.: Shallow triple stream three-dimensional CNN, FG 2019).
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from merflow.errors import ConfigError
from merflow.protocols.folds import Fold, folds
from merflow.protocols.splits import read_folds
from merflow.storage.disk_arrays import DiskArray, DiskArrayView, index_chunks
from merflow.storage.tables import ACCURACY_TRAIN, PREDICTIONS, write_table
from merflow.systems import streaming
from merflow.systems.clip_images import read_clip_images

log = logging.getLogger(__name__)

WHOLE = 2**23
"""Bytes of training clips in float64 that are held in memory: some 440 clips, more than any published set has."""
CLIPS_AT_ONCE = 256
"""Clips that are standardised together where they stay on the disk."""
C = 1e-3
"""Inverse strength of the penalty: weak enough to learn, strong for 2352 inputs and some hundred clips. Never tuned."""
SYSTEMS = ("majority", "linear-svm", "softmax")


def run(
    caches: Sequence[Path], system: str, predictions: Path, accuracy_train: Path, settings: Mapping[str, Any]
) -> None:
    """Train and test a baseline on every fold; write its predictions and training accuracies.

    Nothing is chosen on data (no epoch, no hyper-parameter), so a fold's validation clips train too.

    Args:
        caches: ``cache.h5`` of each dataset.
        system: one of :data:`SYSTEMS`.
        predictions: output, one row per labelled clip and seed.
        accuracy_train: output, one row per fold and seed.
        settings: ``experiment`` (name), ``protocol``, ``classes`` (names, in order), ``seeds``; ``labels`` as in
            :func:`read_clip_images`; ``splits`` ({seed: table of splits}) as of
            :func:`merflow.systems.tsdgcn.finetune.folds_of`.

    Raises:
        ConfigError: unknown system or protocol.
        InputError: the caches cannot be used.
    """
    if system not in SYSTEMS:
        raise ConfigError(f"system: {system!r} is no baseline; allowed: {', '.join(SYSTEMS)}")
    classes = list(settings["classes"])
    data = read_clip_images(caches, classes, images=system != "majority", labels=settings.get("labels"), stored=True)
    label = np.array([classes.index(name) for name in data.label])
    images = data.images
    seeds = list(settings.get("seeds", [0]))
    parts: list[tuple[int, Fold]] = []
    for seed in seeds:
        if "splits" in settings:
            own = list(read_folds(Path(settings["splits"][seed]), data.clips))
        else:
            own = folds(settings["protocol"], data.subject, label, seed=seed, settings=settings)
        parts += [(seed, fold) for fold in own]
    # Seeds that draw other validation clips only train on the same ones: what is the same is done once.
    alike: dict[bytes, list[int]] = {}
    for place, (_, fold) in enumerate(parts):
        alike.setdefault(np.union1d(fold.train, fold.validation).tobytes(), []).append(place)
    answers: dict[int, tuple[np.ndarray, float, int]] = {}
    for places in alike.values():
        first = parts[places[0]][1]
        rows_known, known = first.without_test(np.arange(len(label)), label)
        model = fit(system, _some(images, rows_known), known, len(classes))
        accuracy = float((answer(model, _some(images, rows_known)).argmax(1) == known).mean())
        chances = answer(model, _some(images, first.test))
        for place in places:
            seed, fold = parts[place]
            again = fold.test.tobytes() == first.test.tobytes()
            answers[place] = chances if again else answer(model, _some(images, fold.test)), accuracy, len(known)
            log.info("seed %d, fold %s: %d clips train, %d are predicted", seed, fold.name, len(known), len(fold.test))
    rows, accuracies = [], []
    for number, (seed, fold) in enumerate(parts):
        probabilities, accuracy, count = answers[number]
        common = {"experiment": settings["experiment"], "repeat": seed, "fold": fold.name}
        for place, own in zip(fold.test, probabilities, strict=True):
            rows.append(
                common
                | {
                    "dataset": data.dataset[place],
                    "subject": data.subject[place],
                    "clip": data.clip[place],
                    "truth": data.label[place],
                    "predicted": classes[int(own.argmax())],
                }
                | {f"p_{name}": float(p) for name, p in zip(classes, own, strict=True)}
            )
        accuracies.append(common | {"stage": "finetune", "accuracy": accuracy, "n": count})
    write_table(rows, predictions, PREDICTIONS)
    write_table(accuracies, accuracy_train, ACCURACY_TRAIN)


def _some(images: DiskArray | None, places: np.ndarray) -> DiskArrayView | np.ndarray:
    """Some of the clips; without a number where nothing is read of them."""
    return np.zeros((len(places), 0), np.float32) if images is None else DiskArrayView(images, places)


def _flat(images: DiskArrayView | np.ndarray, places: np.ndarray | slice = slice(None)) -> np.ndarray:
    """The clips at some places, float32 ``[places, d]``."""
    found = images[places]
    return found.reshape(len(found), -1)


def answer(model: "Model", images: DiskArrayView | np.ndarray) -> np.ndarray:
    """Probabilities of each class, float64 ``[n, C]``; clips on the disk are read in portions."""
    parts = index_chunks(len(images), WHOLE // (8 * max(1, math.prod(images.shape[1:]))))
    return np.concatenate([model(_flat(images, part)) for part in parts])


class Model:
    """A trained baseline: call it with images [n, d] for class probabilities, float64 [n, C]."""

    def __init__(
        self,
        classes: np.ndarray,
        number: int,
        scaler: StandardScaler | None = None,
        inner: Any = None,
        basis: np.ndarray | None = None,
    ) -> None:
        """Keep the classes that training saw, the number of all classes and the trained parts.

        ``basis`` [d, n] has orthonormal columns, along which ``inner`` sees its inputs; None: as they are.
        """
        self.classes, self.number, self.scaler, self.inner, self.basis = classes, number, scaler, inner, basis
        self.prior = np.zeros(number)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities of each class. A class without training clip has 0."""
        if self.inner is None:
            return np.tile(self.prior, (len(images), 1))
        result = np.zeros((len(images), self.number))
        inputs = self.scaler.transform(images)
        if self.basis is not None:
            inputs = inputs @ self.basis
        if hasattr(self.inner, "predict_proba"):
            result[:, self.classes] = self.inner.predict_proba(inputs)
            return result
        margin = self.inner.decision_function(inputs)
        if margin.ndim == 1:  # two classes: one hyperplane, positive for the second class
            margin = np.stack([-margin, margin], axis=1)
        exponent = np.exp(margin - margin.max(1, keepdims=True))
        result[:, self.classes] = exponent / exponent.sum(1, keepdims=True)
        return result


def fit(system: str, images: np.ndarray | DiskArrayView, label: np.ndarray, number: int) -> Model:
    """Train a baseline on the clips of one fold. No seed has a say.

    ``majority``: probabilities are the shares of the classes in training; equal shares go to the class that comes
    first. ``linear-svm``: one-against-rest, balanced class weights; its probabilities are the softmax of the decision
    values, good for ranking and not calibrated. ``softmax``: multinomial logistic regression, balanced class weights.
    Both see each input standardised by the mean and deviation of the training clips. Where training holds one class
    only, they answer that class.

    The hyperplanes of a linear SVM lie in the span of its training clips. Where these are fewer than the inputs, the
    solver sees them along an orthonormal basis of that span: the same steps to rounding, a tenth of the time. More
    clips than :data:`WHOLE` allows stay on the disk: :mod:`merflow.systems.streaming` finds the same optimum, to the
    solvers' tolerance.

    Args:
        system: one of :data:`SYSTEMS`.
        images: float32 [n, d] or [n, ...] on the disk, training clips.
        label: int [n], their classes.
        number: number of all classes.
    """
    seen, counts = np.unique(label, return_counts=True)
    if system == "majority" or len(seen) == 1:
        model = Model(seen, number)
        model.prior[seen] = counts / counts.sum()
        return model
    if isinstance(images, DiskArrayView) and 8 * math.prod(images.shape) > WHOLE:
        scaler = StandardScaler()
        for part in index_chunks(len(images), CLIPS_AT_ONCE):
            scaler.partial_fit(_flat(images, part))
        standardised = DiskArray(
            row[None]
            for part in index_chunks(len(images), CLIPS_AT_ONCE)
            for row in scaler.transform(_flat(images, part))
        )
        return Model(seen, number, scaler, streaming.fit(system, standardised, np.searchsorted(seen, label), C))
    images = _flat(images)
    scaler = StandardScaler().fit(images)
    inputs, basis = scaler.transform(images), None
    if system == "softmax":
        inner = LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
        return Model(seen, number, scaler, inner.fit(inputs, label))
    if len(inputs) < inputs.shape[1]:
        basis, triangle = np.linalg.qr(inputs.T.astype(np.float64))
        inputs = np.ascontiguousarray(triangle.T)
    # The order in which the solver sees the clips is drawn; it moves the optimum by less than the solver's tolerance.
    inner = LinearSVC(C=C, class_weight="balanced", dual=True, max_iter=10_000, random_state=0)
    return Model(seen, number, scaler, inner.fit(inputs, label), basis)
