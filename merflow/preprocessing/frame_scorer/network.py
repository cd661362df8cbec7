"""The network that scores frames: how far has the expression gone, seen beside the clip's onset?

Our reading of the "adaptive convolutional neural network" of MERSiamC3D (docs/fidelity.md). The network sees the onset
frame and what has changed since. Changes that a shift, a turn or a zoom of the head make, and those of the light, are
taken off beforehand, so that they cannot be learnt as expressions; so are the eyes, since a blink changes more than a
micro-expression.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 64
"""Side of the pictures in pixels."""
PLACE = (2.6, 0.36, 0.5)
"""Where the face stands in them: their side in inter-ocular distances, and as parts of it the height of the eyes and
the place of the point between them."""
EYES = (-0.85, 0.85, -0.15, 0.28)
"""Left, right, top and bottom of what is not looked at, in inter-ocular distances from the point between the eyes: the
gap that the regions of the motion curve (:data:`merflow.preprocessing.keyframes.REGIONS`) leave."""

_WIDTHS = (12, 16, 24)
_GAIN = 4.0  # Changes are a fraction of the face's own contrast; this brings both to one size.
_FLOOR = 8.0  # Grey levels: keeps a frame without contrast from being divided by nothing.
_RIDGE = 1e-3


def eyes_left_out() -> Tensor:
    """1 where the network looks, 0 at the eyes, float32 ``[SIDE, SIDE]``."""
    axis = (torch.arange(SIDE) + 0.5) / SIDE
    x, y = (axis - PLACE[2]) * PLACE[0], (axis - PLACE[1]) * PLACE[0]
    left, right, top, bottom = EYES
    return 1 - ((y >= top) & (y <= bottom))[:, None].float() * ((x >= left) & (x <= right))[None, :].float()


class FrameScorer(nn.Module):
    """Three convolutions with ReLU, 2 x 2 pooling after each, and one number: the score, which has no unit."""

    def __init__(self) -> None:
        """Weights are torch's own, from its generator."""
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
        # Places keep their own weights: faces are aligned, and not every place moves with an expression.
        self.score = nn.Linear(third * (SIDE // 16) ** 2, 1)
        self.register_buffer("seen", eyes_left_out(), persistent=False)

    def forward(self, onset: Tensor, frames: Tensor) -> Tensor:
        """Scores of frames, float32 ``[clips, frames]``.

        Args:
            onset: grey onset frame of each clip, float32 ``[clips, SIDE, SIDE]``, 0 to 255.
            frames: float32 ``[clips, frames, SIDE, SIDE]``.
        """
        clips, count = frames.shape[:2]
        middle = onset.mean((1, 2), keepdim=True)
        spread = onset.std((1, 2), keepdim=True) + _FLOOR
        first = (onset - middle) / spread
        changes = _GAIN * self.changes(first, (frames - onset[:, None]) / spread[:, None])
        pictures = torch.stack([first[:, None].expand_as(changes), changes], 2).flatten(0, 1)
        return self.score(self.features(pictures).flatten(1)).view(clips, count)

    def changes(self, first: Tensor, changes: Tensor) -> Tensor:
        """What is left of changes after the least-squares share of head motion and light, 0 at the eyes.

        Args:
            first: standardised onset frames ``[clips, SIDE, SIDE]``.
            changes: differences from them ``[clips, frames, SIDE, SIDE]``.
        """
        explained = head_and_light(first)
        left = (changes * self.seen).flatten(2).transpose(1, 2)
        square = explained.transpose(1, 2) @ explained
        square = square + _RIDGE * SIDE**2 * torch.eye(square.shape[-1], dtype=square.dtype)
        left = left - explained @ torch.linalg.solve(square, explained.transpose(1, 2) @ left)
        return left.transpose(1, 2).reshape(changes.shape)


def head_and_light(first: Tensor) -> Tensor:
    """How frames change with the head and the light: right, down, turn, zoom, contrast, brightness.

    Args:
        first: ``[clips, SIDE, SIDE]``.

    Returns:
        ``[clips, SIDE * SIDE, 6]``, 0 at the eyes; turn and zoom are by the pixels that they move the picture's edge.
    """
    right = functional.pad((first[:, :, 2:] - first[:, :, :-2]) / 2, (1, 1))
    down = functional.pad((first[:, 2:] - first[:, :-2]) / 2, (0, 0, 1, 1))
    axis = torch.linspace(-1, 1, SIDE)
    x, y = axis[None, :], axis[:, None]
    fields = [right, down, x * down - y * right, x * right + y * down, first, torch.ones_like(first)]
    return (torch.stack(fields, 3) * eyes_left_out()[:, :, None]).flatten(1, 2)
