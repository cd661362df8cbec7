"""The network that scores frames: how far the expression has gone, compared with the clip's onset.

Our own way to pick key-frames; MERSiamC3D most likely makes them (docs/fidelity.md). The network sees the onset frame
and the changes since. Changes caused by a shift, rotation or zoom of the head and by the light are subtracted first, so
that they cannot be learned as expressions. The eyes are masked, because a blink changes more than a micro-expression.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from merflow.preprocessing.geometry import Box, region_mask

SIDE = 64
"""Side of the images in pixels; the eyes are at :data:`merflow.preprocessing.settings.STANDARD_GEOMETRY`."""
EYES: Box = (-0.85, 0.85, -0.15, 0.28)
"""The masked region, between the brows and the nose of
:data:`merflow.preprocessing.geometry.MOTION_REGIONS`."""

_WIDTHS = (12, 16, 24)
_GAIN = 4.0  # Changes are a fraction of the face's own contrast; this brings both to one scale.
_FLOOR = 8.0  # Grey levels: avoids division by zero in a frame without contrast.
_RIDGE = 1e-3


def eye_mask() -> Tensor:
    """Return 0 at the eyes and 1 elsewhere, float32 ``[SIDE, SIDE]``."""
    return 1 - torch.from_numpy(region_mask(SIDE, boxes=[EYES])).float()


class FrameScorer(nn.Module):
    """Three convolutions with ReLU and 2 x 2 pooling, and a linear layer to one score without a unit."""

    def __init__(self) -> None:
        """Initialise the weights by torch's defaults, from its generator."""
        super().__init__()
        first, second, third = _WIDTHS
        self.features = nn.Sequential(
            nn.Conv2d(2, first, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
        )
        # Each position has its own weight: faces are aligned, and not every position moves with an expression.
        self.score = nn.Linear(third * (SIDE // 16) ** 2, 1)
        self.seen: Tensor
        self.register_buffer("seen", eye_mask(), persistent=False)

    def forward(self, onset: Tensor, frames: Tensor) -> Tensor:
        """Return the scores of frames, float32 ``[clips, frames]``.

        Args:
            onset: grey onset frame of each clip, float32 ``[clips, SIDE, SIDE]``, 0 to 255.
            frames: float32 ``[clips, frames, SIDE, SIDE]``.
        """
        clips, count = frames.shape[:2]
        middle = onset.mean((1, 2), keepdim=True)
        spread = onset.std((1, 2), keepdim=True) + _FLOOR
        first = (onset - middle) / spread
        changes = _GAIN * self.changes(first, (frames - onset[:, None]) / spread[:, None])
        images = torch.stack([first[:, None].expand_as(changes), changes], 2).flatten(0, 1)
        scores: Tensor = self.score(self.features(images).flatten(1))
        return scores.view(clips, count)

    def changes(self, first: Tensor, changes: Tensor) -> Tensor:
        """Subtract the least-squares fit of head motion and light from changes; 0 at the eyes.

        Args:
            first: standardised onset frames ``[clips, SIDE, SIDE]``.
            changes: differences from them ``[clips, frames, SIDE, SIDE]``.
        """
        explained = head_and_light(first)
        residual: Tensor = (changes * self.seen).flatten(2).transpose(1, 2)
        square = explained.transpose(1, 2) @ explained
        square = square + _RIDGE * SIDE**2 * torch.eye(square.shape[-1], dtype=square.dtype)
        residual = residual - explained @ torch.linalg.solve(square, explained.transpose(1, 2) @ residual)
        return residual.transpose(1, 2).reshape(changes.shape)


def head_and_light(first: Tensor) -> Tensor:
    """Return how frames change with head and light: right, down, rotation, zoom, contrast, brightness.

    Args:
        first: ``[clips, SIDE, SIDE]``.

    Returns:
        ``[clips, SIDE * SIDE, 6]``, 0 at the eyes; rotation and zoom are in pixels at the edge of the image.
    """
    right = functional.pad((first[:, :, 2:] - first[:, :, :-2]) / 2, (1, 1))
    down = functional.pad((first[:, 2:] - first[:, :-2]) / 2, (0, 0, 1, 1))
    axis = torch.linspace(-1, 1, SIDE)
    x, y = axis[None, :], axis[:, None]
    fields = [right, down, x * down - y * right, x * right + y * down, first, torch.ones_like(first)]
    return (torch.stack(fields, 3) * eye_mask()[:, :, None]).flatten(1, 2)
