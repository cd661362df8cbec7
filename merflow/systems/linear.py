"""Baselines without a network: what simple methods reach on the same clips and folds.

``majority`` predicts the most frequent class of the training clips, ``all-ones`` every action unit. The others read one
flow image per clip: u, v and optical strain between onset and apex, averaged down to 28 x 28 pixels as in the shallow
networks of the field (Liong et al.: Shallow triple stream three-dimensional CNN, FG 2019).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from merflow.systems.clip_images import read_clip_images
from merflow.systems.fold_runner import ClipRows, System, TrainedFold, run_job
from merflow.systems.predictions import ResultFiles
from merflow.systems.samples import FoldData, read_samples
from merflow.systems.settings import LinearSettings

C = 1e-3
"""Inverse strength of the penalty: strong enough for 2352 inputs and a few hundred clips. It was never tuned."""
VARIANCE = 0.95
"""Share of the variance of the training clips in the principal components that the RBF SVM reads. Not tuned either."""


def run_linear(caches: Sequence[Path], files: ResultFiles, settings: LinearSettings) -> None:
    """Train and test a baseline on every fold of every repeat (:func:`merflow.systems.fold_runner.run_job`).

    ``caches``: cache of each dataset.

    Raises:
        InputError: the caches cannot be used.
    """
    if settings.system in ("majority", "all-ones"):
        no_image = np.zeros((1, 0), np.float32)
        samples = read_samples([[path] for path in caches], settings.clips, lambda *_: no_image, in_memory=True)
    else:
        samples = read_clip_images(caches, settings.clips, in_memory=True)
    run_job(lambda _: (Baseline(), samples), settings, files)


class Baseline(System[LinearSettings]):
    """A baseline; no seed has an influence.

    It chooses nothing on the validation clips. They calibrate it (:mod:`merflow.evaluation.calibration`), by the
    probabilities of a model that did not train on them, and train the model that predicts.
    """

    def train(
        self, rows: ClipRows, classes: int, folds: Sequence[FoldData], settings: LinearSettings
    ) -> Iterator[TrainedFold]:
        """See :meth:`merflow.systems.fold_runner.System.train`."""
        for fold in folds:
            model = fit(settings.system, rows[fold.train].reshape(len(fold.train), -1), fold.train_labels, classes)
            yield TrainedFold(partial(_predict, model, rows), (), (), {})


def _predict(model: "Predict", rows: ClipRows, indices: np.ndarray) -> np.ndarray:
    return model(rows[indices].reshape(len(indices), -1))


Predict = Callable[[np.ndarray], np.ndarray]
"""Maps images ``[n, d]`` to class probabilities, float64 ``[n, classes]``."""


def fit(system: str, images: np.ndarray, labels: np.ndarray, classes: int) -> Predict:
    """Train a baseline on the clips of one fold; of action units, a model for each.

    ``majority``: the probabilities are the shares of the classes in training; of equal shares, the first class is
    predicted. ``linear-svm``: one against the rest, balanced class weights; its probabilities are the softmax of the
    decision values, which only a temperature calibrates. ``rbf-svm``: RBF kernel on principal components of
    the training clips, balanced class weights, probabilities likewise. ``softmax``: multinomial logistic regression,
    balanced class weights. All but the first standardise each input by the training clips. If training has one class
    only, they predict it. A class without training clips has probability 0.

    ``images``: float32 ``[n, d]``, training clips; ``labels``: int64 ``[n]``, or units ``[n, units]``; ``classes``:
    number of all classes.
    """
    prepare = _fit_inputs(system, images)
    inputs = prepare(images)
    if labels.ndim == 1:
        model = _fit_classes(system, inputs, labels, classes)
        return lambda images: model(prepare(images))
    models = [_fit_classes(system, inputs, unit, 2) for unit in labels.T]

    def predict(images: np.ndarray) -> np.ndarray:
        inputs = prepare(images)
        return np.stack([model(inputs)[:, 1] for model in models], axis=1)

    return predict


def _fit_inputs(system: str, images: np.ndarray) -> Predict:
    """Return what maps images to the inputs of a baseline: standardised, or projected, by the training clips.

    The hyperplanes of a linear SVM lie in the span of its training clips. If there are fewer clips than inputs, the
    solver gets them along an orthonormal basis of that span: the same steps up to rounding, in a tenth of the time.
    """
    if system in ("majority", "all-ones"):
        return lambda images: images
    scaler = StandardScaler()
    if system == "rbf-svm":
        prepared: Predict = make_pipeline(scaler, PCA(VARIANCE, svd_solver="full")).fit(images).transform
        return prepared
    inputs = scaler.fit_transform(images)
    if system == "softmax" or len(inputs) >= inputs.shape[1]:
        return lambda images: np.asarray(scaler.transform(images))
    basis = np.linalg.qr(inputs.T.astype(np.float64))[0]
    return lambda images: np.ascontiguousarray(scaler.transform(images) @ basis)


def _fit_classes(system: str, inputs: np.ndarray, labels: np.ndarray, classes: int) -> Predict:
    """Train a baseline on inputs of :func:`_fit_inputs`; it maps such inputs to probabilities."""
    seen = np.unique(labels)
    if system == "all-ones":
        return lambda inputs: np.ones((len(inputs), classes))
    if system == "majority" or len(seen) == 1:
        scores = DummyClassifier(strategy="prior").fit(inputs, labels).predict_proba
    elif system == "softmax":
        scores = LogisticRegression(C=C, class_weight="balanced", max_iter=1000).fit(inputs, labels).predict_proba
    else:
        if system == "rbf-svm":  # C = 1, gamma by the variance.
            svm = SVC(class_weight="balanced")
        else:  # The solver visits the clips in a random order, which moves the optimum by less than its tolerance.
            svm = LinearSVC(C=C, class_weight="balanced", dual=True, max_iter=10_000, random_state=0)
        margins = svm.fit(inputs, labels).decision_function

        def scores(inputs: np.ndarray) -> np.ndarray:
            return _softmax_of_margins(margins(inputs))

    def predict(inputs: np.ndarray) -> np.ndarray:
        probs = np.zeros((len(inputs), classes))
        probs[:, seen] = scores(inputs)
        return probs

    return predict


def _softmax_of_margins(margins: np.ndarray) -> np.ndarray:
    """Return the softmax of an SVM's decision values ``[n, classes]``, or ``[n]`` for two classes."""
    if margins.ndim == 1:  # One hyperplane, positive for the second class.
        margins = np.stack([-margins, margins], axis=1)
    return np.asarray(softmax(margins, axis=1))
