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
    """Return the mean over rows of the focal loss, -alpha (1 - p_t)^gamma log p_t (Eq. 6).

    With several classes p_t is the softmax probability of the true class; for two classes that is Eq. 7. With ``alpha``
    1 and ``gamma`` 0 it is cross entropy. A single ``alpha`` only scales the gradient, which Adam undoes.

    Args:
        logits: scores before softmax, ``[rows, classes]``.
        target: true class of each row, int64 ``[rows]``.
        alpha: one weight, or one weight per class; the mean is not divided by the sum of the weights.
        gamma: focusing parameter, at least 0.
    """
    return _focal_losses(logits, target, alpha, gamma).mean()


def _focal_losses(logits: Tensor, target: Tensor, alpha: float | Sequence[float] | Tensor, gamma: float) -> Tensor:
    log_p = functional.log_softmax(logits, dim=-1).gather(-1, target[..., None]).squeeze(-1)
    weights = torch.as_tensor(alpha, dtype=logits.dtype, device=logits.device)
    # 1 - p_t, without cancellation if p_t is close to 1.
    wrong = (-torch.expm1(log_p)).clamp_min(SMALLEST)
    return -((weights[target] if weights.ndim else weights) * wrong**gamma * log_p)


def make_loss(settings: LossSettings, classes: int) -> Loss:
    """Return the loss that a configuration names, for a number of classes.

    Raises:
        ConfigError: the number of alphas is not the number of classes.
    """
    if settings.name == "cross-entropy":
        return functional.cross_entropy
    alpha = settings.alpha
    if not isinstance(alpha, int | float) and len(alpha) != classes:
        raise ConfigError(f"loss.alpha: {len(alpha)} values for {classes} classes; give one per class, or one number")
    return partial(focal_loss, alpha=alpha, gamma=settings.gamma)


def row_losses(scores: Tensor, target: Tensor, settings: LossSettings) -> Tensor:
    """Return the losses ``[...]`` of rows of any leading shape, of which :func:`make_loss` returns the mean.

    ``scores``: ``[..., classes]``; ``target``: int64 ``[...]``.
    """
    if settings.name == "cross-entropy":
        return _focal_losses(scores, target, 1.0, 0.0)
    return _focal_losses(scores, target, settings.alpha, settings.gamma)
