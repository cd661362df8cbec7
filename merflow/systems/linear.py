"""Baselines without a network: what simple methods reach on the same clips and folds.

``majority`` predicts the most frequent class of the training clips. The others read one flow image per clip: u, v and
optical strain between onset and apex, averaged down to 28 x 28 pixels as in the shallow networks of the field (Liong et
al.: Shallow triple stream three-dimensional CNN, FG 2019).
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
    if settings.system == "majority":
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
    """Train a baseline on the clips of one fold.

    ``majority``: the probabilities are the shares of the classes in training; of equal shares, the first class is
    predicted. ``linear-svm``: one against the rest, balanced class weights; its probabilities are the softmax of the
    decision values, which only a temperature calibrates. ``rbf-svm``: RBF kernel on principal components of
    the training clips, balanced class weights, probabilities likewise. ``softmax``: multinomial logistic regression,
    balanced class weights. All but the first standardise each input by the training clips. If training has one class
    only, they predict it. A class without training clips has probability 0.

    ``images``: float32 ``[n, d]``, training clips; ``labels``: int64 ``[n]``; ``classes``: number of all classes.
    """
    seen = np.unique(labels)
    if system == "majority" or len(seen) == 1:
        scores = DummyClassifier(strategy="prior").fit(images, labels).predict_proba
    elif system == "softmax":
        regression = LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
        scores = make_pipeline(StandardScaler(), regression).fit(images, labels).predict_proba
    elif system == "rbf-svm":
        scores = _fit_rbf_svm(images, labels)
    else:
        scores = _fit_svm(images, labels)

    def predict(inputs: np.ndarray) -> np.ndarray:
        probs = np.zeros((len(inputs), classes))
        probs[:, seen] = scores(inputs)
        return probs

    return predict


def _fit_svm(images: np.ndarray, labels: np.ndarray) -> Predict:
    """Return the softmax of the decision values of a linear SVM.

    Its hyperplanes lie in the span of its training clips. If there are fewer clips than inputs, the solver gets them
    along an orthonormal basis of that span: the same steps up to rounding, in a tenth of the time.
    """
    scaler = StandardScaler().fit(images)
    inputs, basis = scaler.transform(images), None
    if len(inputs) < inputs.shape[1]:
        basis, triangle = np.linalg.qr(inputs.T.astype(np.float64))
        inputs = np.ascontiguousarray(triangle.T)
    # The solver visits the clips in a random order, which moves the optimum by less than its tolerance.
    svm = LinearSVC(C=C, class_weight="balanced", dual=True, max_iter=10_000, random_state=0).fit(inputs, labels)

    def predict(images: np.ndarray) -> np.ndarray:
        inputs = scaler.transform(images)
        return _softmax_of_margins(svm.decision_function(inputs if basis is None else inputs @ basis))

    return predict


def _fit_rbf_svm(images: np.ndarray, labels: np.ndarray) -> Predict:
    """Return the softmax of the decision values of an SVM with an RBF kernel; C = 1, gamma by the variance."""
    svm = SVC(class_weight="balanced")
    model = make_pipeline(StandardScaler(), PCA(VARIANCE, svd_solver="full"), svm).fit(images, labels)
    return lambda images: _softmax_of_margins(model.decision_function(images))


def _softmax_of_margins(margins: np.ndarray) -> np.ndarray:
    """Return the softmax of an SVM's decision values ``[n, classes]``, or ``[n]`` for two classes."""
    if margins.ndim == 1:  # One hyperplane, positive for the second class.
        margins = np.stack([-margins, margins], axis=1)
    return np.asarray(softmax(margins, axis=1))
