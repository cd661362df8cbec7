"""Focal loss (Eq. 6 and 7) for several classes; cross entropy is a special case of it."""

from collections.abc import Callable, Sequence
from functools import partial

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
    """Return the mean focal loss, -alpha (1 - p_t)^gamma log p_t (Eq. 6).

    With several classes p_t is the softmax probability of the true class; for two classes that is Eq. 7. With ``alpha``
    1 and ``gamma`` 0 it is cross entropy. A single ``alpha`` only scales the gradient, which Adam undoes.

    Args:
        logits: scores before softmax, ``[rows, classes]``.
        target: true class of each row, int64 ``[rows]``.
        alpha: one weight, or one weight per class.
        gamma: focusing parameter, at least 0.

    Returns:
        The mean over rows; it is not divided by the sum of the weights.
    """
    log_p = functional.log_softmax(logits, dim=1).gather(1, target[:, None]).squeeze(1)
    weights = torch.as_tensor(alpha, dtype=logits.dtype, device=logits.device)
    if weights.ndim:
        weights = weights[target]
    return _focal(log_p, weights, gamma).mean()


def _focal(log_p: Tensor, alpha: Tensor, gamma: float | Tensor) -> Tensor:
    """Return Eq. 6 for each row, from the logarithm of p_t."""
    # 1 - p_t, without cancellation if p_t is close to 1.
    wrong = (-torch.expm1(log_p)).clamp_min(SMALLEST)
    return -(alpha * wrong**gamma * log_p)


def make_loss(settings: LossSettings, classes: int) -> Loss:
    """Return the loss that a configuration names.

    Args:
        settings: name, and for focal loss ``alpha`` and ``gamma``.
        classes: number of classes.

    Raises:
        ConfigError: unknown name, or the number of alphas is not the number of classes.
    """
    if settings.name == "cross-entropy":
        return functional.cross_entropy
    if settings.name != "focal":
        raise ConfigError(f"loss.name: {settings.name!r} is not allowed; allowed: focal, cross-entropy")
    alpha = settings.alpha
    if not isinstance(alpha, int | float) and len(alpha) != classes:
        raise ConfigError(f"loss.alpha: {len(alpha)} values for {classes} classes; give one per class, or one number")
    return partial(focal_loss, alpha=alpha, gamma=settings.gamma)


def row_losses(scores: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    """Return the loss of each row, of any leading shape ``[...]``, instead of their mean.

    Args:
        scores: class scores before softmax, ``[..., classes]``.
        target: true class of each row, int64 ``[...]``.
        settings: settings that :func:`make_loss` accepts.
    """
    log_p = functional.log_softmax(scores, dim=-1).gather(-1, target[..., None]).squeeze(-1)
    if settings.name == "cross-entropy":
        return -log_p
    alpha = torch.tensor(settings.alpha, dtype=scores.dtype)
    return _focal(log_p, alpha[target] if alpha.ndim else alpha, settings.gamma)
