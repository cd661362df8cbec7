"""Calibration: probabilities that mean what they say, by one number, the temperature.

A network that is right in 60 of 100 clips should say 0.6 on average. Networks of few clips seldom do. Dividing the
logarithms of their probabilities by a temperature T, which is measured on clips that did not train, mends most of it
and never changes which class comes first (Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML
2017).
"""

import numpy as np

LEAST, MOST = 0.1, 10.0
"""Bounds of a temperature: few validation clips that are all answered right would ask for 0."""
TINY = 1e-12
"""Least probability that a logarithm is taken of."""


def temper(chances: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at a temperature: proportional to ``p ** (1 / T)``, float64 ``[..., classes]``."""
    if temperature == 1:
        return np.array(chances, float)
    scores = np.log(np.maximum(np.asarray(chances, float), TINY)) / temperature
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def negative_log_likelihood(chances: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative logarithm of what was given to the true class; NaN of no clip."""
    if not len(labels):
        return float("nan")
    return float(-np.log(np.maximum(chances[np.arange(len(labels)), labels], TINY)).mean())


def fit_temperature(chances: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least negative log likelihood, between :data:`LEAST` and :data:`MOST`; 1 of no clip.

    Args:
        chances: ``[clips, classes]``, of clips that did not train.
        labels: int64 ``[clips]``.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return 1.0

    def loss(logarithm: float) -> float:
        return negative_log_likelihood(temper(chances, float(np.exp(logarithm))), labels)

    # In the logarithm of T: half as much and twice as much are equally far. The loss is convex in 1 / T.
    found = minimize_scalar(loss, bounds=(np.log(LEAST), np.log(MOST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0
