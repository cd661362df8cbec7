"""Linear floors of more clips than memory should hold: the same optimum as scikit-learn's, from clips on the disk.

scikit-learn copies all clips several times, and its linear SVM keeps 16 bytes for each number. Both problems are convex
with one optimum, which is a matter of sums over clips: they are added up portion by portion here, and L-BFGS does the
rest.
"""

import logging
from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp, softmax

from merflow.storage.disk_arrays import DiskArray, index_chunks

log = logging.getLogger(__name__)

CLIPS_AT_ONCE = 256
"""Clips in memory at a time."""
TOLERANCE = 1e-6
"""Largest component of the gradient at which the objective counts as minimal."""
MOST = 2000
"""Iterations at most."""


class Linear:
    """A trained linear model with the methods of scikit-learn's."""

    def __init__(self, weights: np.ndarray, bias: np.ndarray) -> None:
        """``weights [columns, d]`` and ``bias [columns]``; one column where there are two classes."""
        self._weights, self._bias = weights, bias

    def decision_function(self, inputs: np.ndarray) -> np.ndarray:
        """Distance of each input to each hyperplane, ``[n, classes]``, or ``[n]`` of two classes."""
        found = inputs @ self._weights.T + self._bias
        return found[:, 0] if found.shape[1] == 1 else found


class Logistic(Linear):
    """A trained logistic regression."""

    def predict_proba(self, inputs: np.ndarray) -> np.ndarray:
        """Probability of each class, ``[n, classes]``."""
        scores = self.decision_function(inputs)
        return np.stack([expit(-scores), expit(scores)], axis=1) if scores.ndim == 1 else softmax(scores, axis=1)


def fit(system: str, inputs: DiskArray, label: np.ndarray, inverse: float) -> Linear:
    """What ``LinearSVC`` or ``LogisticRegression``, with balanced class weights, make of standardised clips.

    Args:
        system: ``linear-svm``: squared hinge loss, one class against the rest; the bias is penalised too, and the
            balanced weight of a class counts for its own clips, not where they are the rest. ``softmax``.
        inputs: ``[n, 1, d]``.
        label: int ``[n]``, from 0 on, each class present, at least two.
        inverse: inverse strength of the penalty, C.
    """
    classes = int(label.max()) + 1
    balanced = len(label) / (classes * np.bincount(label))
    columns, width, hinge = 1 if classes == 2 else classes, inputs.shape[2], system == "linear-svm"
    own = (label[:, None] == (np.arange(columns) if columns > 1 else 1)).astype(float)
    weight = np.where(own > 0, balanced, 1.0) if hinge and columns > 1 else balanced[label][:, None]

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(columns, width + 1)
        penalised = weights.copy()
        if not hinge:
            penalised[:, -1] = 0
        total, gradient = 0.5 * float((penalised**2).sum()), penalised
        for part, x in _blocks(inputs):
            loss, slope = (_hinge if hinge else _entropy)(x @ weights[:, :-1].T + weights[:, -1], own[part])
            total += inverse * float((weight[part] * loss).sum())
            slope *= inverse * weight[part]
            gradient[:, :-1] += slope.T @ x
            gradient[:, -1] += slope.sum(axis=0)
        return total, gradient.ravel()

    options = {"maxiter": MOST, "maxfun": 2 * MOST, "gtol": TOLERANCE, "ftol": 0.0, "maxcor": 20}
    found = minimize(value, np.zeros(columns * (width + 1)), jac=True, method="L-BFGS-B", options=options)
    log.info("%s: %d clips on the disk, %d iterations: %s", system, len(inputs), found.nit, found.message)
    weights = found.x.reshape(columns, width + 1)
    return (Linear if hinge else Logistic)(weights[:, :-1], weights[:, -1])


def _blocks(inputs: DiskArray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places and clips, float64 ``[places, d]``, portion by portion."""
    for part in index_chunks(len(inputs), CLIPS_AT_ONCE):
        yield part, inputs[part][:, 0].astype(np.float64)


def _hinge(scores: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared hinge loss of each score, and its slope."""
    sign = 2 * own - 1
    lacking = np.maximum(0, 1 - sign * scores)
    return lacking**2, -2 * sign * lacking


def _entropy(scores: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cross entropy ``[n, 1]`` of scores, and its slope; one column is the score of the second class."""
    if scores.shape[1] == 1:
        return -log_expit(np.where(own > 0, scores, -scores)), expit(scores) - own
    return logsumexp(scores, axis=1, keepdims=True) - (scores * own).sum(axis=1, keepdims=True), softmax(
        scores, axis=1
    ) - own
