"""STSTNet: three shallow streams on one flow image.

Source: Liong, Gan, See, Khor, Huang: Shallow Triple Stream Three-dimensional CNN (STSTNet) for Micro-expression
Recognition (FG 2019). What the paper leaves open is in docs/fidelity.md.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from merflow.learning.layers import Dropout

FILTERS = (3, 5, 8)
"""Filters of the three streams."""


class STSTNet(nn.Module):
    """A convolution per stream, ReLU, batch normalisation, pooling, one linear layer.

    The streams have the same input, kernels of the same size and a common output, and all later layers treat each map
    separately. Their convolutions are therefore one convolution with 3 + 5 + 8 filters: the same numbers in half the
    time.
    """

    def __init__(self, classes: int, dropout: float = 0.5) -> None:
        """Make a network with random weights from torch's generator; ``dropout`` follows the streams."""
        super().__init__()
        maps = sum(FILTERS)
        self.streams = nn.Conv2d(3, maps, 3, padding=1)
        self.normalise = nn.BatchNorm2d(maps)
        self.dropout = Dropout(dropout)
        self.classify = nn.Linear(maps * 5 * 5, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map flow images ``[clips, 3 (u, v, strain), 28, 28]`` to class scores ``[clips, classes]``."""
        x = x.contiguous(memory_format=torch.channels_last)  # Faster on a CPU.
        maps = self.normalise(functional.relu(self.streams(x), inplace=True))
        maps = self.dropout(functional.max_pool2d(maps, 3, 3, padding=1))
        scores: Tensor = self.classify(functional.avg_pool2d(maps, 2).flatten(1))
        return scores
