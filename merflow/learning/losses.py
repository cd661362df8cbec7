"""Focal loss (Eq. 6 and 7) for several classes, of which cross entropy is a special case; the loss of action units.

Action units are several yes-or-no questions about one clip: their targets are a matrix ``[rows, units]`` of 0 and 1 in
place of classes ``[rows]``, and scores are logits of each unit.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from merflow.errors import ConfigError
from merflow.learning.settings import LossSettings

SMALLEST = 1e-7
"""Lower bound of 1 - p_t; below it, the power with a gamma under 1 has no usable gradient."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps class scores ``[rows, classes]`` and classes ``[rows]`` to the mean loss over rows."""


def focal_loss(
    logits: Tensor, target: Tensor, alpha: float | Sequence[float] | Tensor = 1.0, gamma: float = 1.0
) -> Tensor:
    """Return the mean over rows of the focal loss, -alpha (1 - p_t)^gamma log p_t (Eq. 6).

    With several classes p_t is the softmax probability of the true class; for two classes that is Eq. 7. With ``alpha``
    1 and ``gamma`` 0 it is cross entropy. A single ``alpha`` only scales the gradient, which Adam undoes.

    Args:
        logits: scores before softmax, ``[rows, classes]``.
        target: true class of each row, int64 ``[rows]``.
        alpha: one weight, or one weight per class; the mean is not divided by the sum of the weights.
        gamma: focusing parameter, at least 0.
    """
    weights = torch.as_tensor(alpha, dtype=logits.dtype, device=logits.device)
    return _focal_losses(logits, target, weights[target] if weights.ndim else weights, gamma).mean()


def _focal_losses(logits: Tensor, target: Tensor, weights: Tensor, gamma: float) -> Tensor:
    log_p = functional.log_softmax(logits, dim=-1).gather(-1, target[..., None]).squeeze(-1)
    # 1 - p_t, without cancellation if p_t is close to 1.
    wrong = (-torch.expm1(log_p)).clamp_min(SMALLEST)
    return -(weights * wrong**gamma * log_p)


def make_loss(settings: LossSettings, labels: np.ndarray, classes: int) -> Loss:
    """Return the loss that a configuration names.

    ``labels``: int64 ``[clips]``, classes of the training clips, or ``[clips, units]``; ``classes``: their number.

    Raises:
        ConfigError: as :func:`class_weights`.
    """
    weights = class_weights(settings, labels, classes)
    if labels.ndim == 2:
        return lambda scores, target: _unit_losses(scores, target, weights.to(scores.device)).mean()
    if settings.name == "cross-entropy" and settings.weights == "none":
        return functional.cross_entropy
    return partial(focal_loss, alpha=weights, gamma=_gamma(settings))


def class_weights(settings: LossSettings, labels: np.ndarray, classes: int) -> Tensor:
    """Return the weight of each class in the loss, float32 ``[classes]``; arguments as of :func:`make_loss`.

    With ``balanced``, alpha is divided by the number of training clips of the class, times their mean number. The
    weight of an action unit is that of the clips that show it: the number of clips without it for each clip with it.

    Raises:
        ConfigError: the number of alphas is not the number of classes.
    """
    if labels.ndim == 2:
        positive = labels.sum(axis=0)
        return torch.from_numpy(((len(labels) - positive) / np.maximum(positive, 1)).astype(np.float32))
    alpha = 1.0 if settings.name == "cross-entropy" else settings.alpha
    if not isinstance(alpha, int | float) and len(alpha) != classes:
        raise ConfigError(f"loss.alpha: {len(alpha)} values for {classes} classes; give one per class, or one number")
    weights = np.broadcast_to(np.asarray(alpha, float), classes)
    if settings.weights == "balanced":
        weights = weights * len(labels) / (classes * np.maximum(np.bincount(labels, minlength=classes), 1))
    return torch.from_numpy(weights.astype(np.float32))


def row_losses(scores: Tensor, target: Tensor, weights: Tensor, settings: LossSettings) -> Tensor:
    """Return the losses ``[heads, rows]`` of rows, of which :func:`make_loss` returns the mean.

    ``scores``: ``[heads, rows, classes]``; ``target``: int64 ``[heads, rows]``, of units ``[heads, rows, units]``;
    ``weights``: those of :func:`class_weights`, ``[heads, classes]``.
    """
    if target.ndim == scores.ndim:
        return _unit_losses(scores, target, weights[:, None])
    return _focal_losses(scores, target, weights.gather(1, target), _gamma(settings))


def _unit_losses(scores: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the binary cross entropy of each row, its mean over the units, ``[..., rows]``."""
    losses = functional.binary_cross_entropy_with_logits(
        scores, target.to(scores.dtype), pos_weight=weights, reduction="none"
    )
    return losses.mean(dim=-1)


def right(scores: Tensor, target: Tensor) -> Tensor:
    """Return 1 for each row whose class is right, else 0; of action units, the share of right ones; float64."""
    if target.ndim == scores.ndim:
        return ((scores > 0) == (target > 0)).double().mean(dim=-1)
    return (scores.argmax(dim=-1) == target).double()


def probabilities(scores: Tensor, units: bool) -> Tensor:
    """Return the probabilities of classes, whose sum is 1, or of action units, each by itself, ``[..., classes]``."""
    return scores.sigmoid() if units else scores.softmax(dim=-1)


def _gamma(settings: LossSettings) -> float:
    return 0.0 if settings.name == "cross-entropy" else settings.gamma
