"""OFF-ApexNet: two streams, one for the horizontal and one for the vertical flow.

Source: Gan, Liong, Yau, Huang, Tan: OFF-ApexNet on Micro-expression Recognition System (Signal Processing: Image
Communication 74, 2019). What the paper leaves open is in docs/fidelity.md.
"""

import torch
from torch import Tensor, nn

HIDDEN = 1024
"""Width of both fully connected layers."""


class Stream(nn.Sequential):
    """Two convolutions of 5 x 5 with 6 and 16 filters, each with max pooling: ``[clips, 1, 28, 28]`` to 784."""

    def __init__(self) -> None:
        """Make a stream with random weights from torch's generator."""
        super().__init__(
            *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            nn.Flatten(),
        )


class OFFApexNet(nn.Module):
    """Both streams, two fully connected layers on their features, a linear classifier."""

    def __init__(self, classes: int, dropout: float = 0.0) -> None:
        """Make a network with random weights from torch's generator; ``dropout`` comes before the classifier."""
        super().__init__()
        self.horizontal, self.vertical = Stream(), Stream()
        self.classify = nn.Sequential(
            *(nn.Linear(2 * 16 * 7 * 7, HIDDEN), nn.ReLU()),
            *(nn.Linear(HIDDEN, HIDDEN), nn.ReLU()),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map flow images ``[clips, 3 (u, v, strain), 28, 28]`` to ``[clips, classes]``; strain is not used."""
        scores: Tensor = self.classify(torch.cat([self.horizontal(x[:, :1]), self.vertical(x[:, 1:2])], dim=1))
        return scores
