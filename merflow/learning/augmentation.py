"""Augmentation of training clips: mirror images, small rotations, shifts, changes of size and of strength."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from merflow.learning.batches import BLOCK, Centred
from merflow.learning.settings import AugmentSettings
from merflow.storage.disk_arrays import DiskArray

MOTION = ("u", "v", "strain", "magnitude")
"""Fields that grow with the strength of an expression; ``grey`` images do not."""


class Augmentation:
    """Draws a transformation for each clip, the same for all its images, from torch's generator.

    Motion vectors are transformed like the face: in a mirror image u has the other sign, and a turned face moves in
    turned directions.
    """

    def __init__(
        self,
        settings: AugmentSettings,
        fields: Sequence[str],
        clips: DiskArray | np.ndarray,
        train: np.ndarray,
        centred: Centred | None,
    ) -> None:
        """Prepare the augmentation of some clips.

        Args:
            settings: what is drawn.
            fields: what each square image of a clip shows, in the order of its rows: ``u``, ``v``, ``strain``,
                ``magnitude`` or ``grey``. Each ``u`` has its ``v``, in the same order.
            clips: ``[clips, rows, pixels]``, before centring.
            train: indices of the training clips.
            centred: the centred clips, if the network reads those.
        """
        self.settings, self.centred = settings, centred
        names = np.array(fields)
        self.u, self.v, self.motion = (np.flatnonzero(np.isin(names, kinds)) for kinds in ("u", "v", MOTION))
        self.magnitude = np.flatnonzero(names == "magnitude")
        self.zero = torch.from_numpy(_zero(clips, train, np.isin(names, ("u", "v"))))[:, None, None]

    @classmethod
    def of(cls, settings: AugmentSettings | None, *clips: Any) -> "Augmentation | None":
        """Return the augmentation of some clips, or None without settings."""
        return cls(settings, *clips) if settings else None

    def __call__(self, clips: Tensor) -> Tensor:
        """Return transformed clips, ``[clips, rows, pixels]``, centred as they were."""
        if self.centred is None:
            return self._transform(clips)
        mean, divisor = torch.from_numpy(self.centred.mean), torch.from_numpy(self.centred.divisor)
        return (self._transform(clips * divisor + mean) - mean) / divisor

    def _transform(self, clips: Tensor) -> Tensor:
        settings, images = self.settings, len(self.zero)
        side = round((clips[0].numel() / images) ** 0.5)
        x = clips.view(len(clips), images, side, side) - self.zero

        def draw(most: float) -> Tensor:
            return (2 * torch.rand(len(clips)) - 1) * most

        angle, size = torch.deg2rad(draw(settings.rotation)), 1 + draw(settings.scale)
        side_of_face = torch.where(torch.rand(len(clips)) < 0.5, -1.0, 1.0) if settings.mirror else torch.ones(len(x))
        shift = torch.stack([draw(2 * settings.shift), draw(2 * settings.shift)], dim=1)  # An image is 2 units wide.
        strength = 1 + draw(settings.strength)

        cos, sin = torch.cos(angle), torch.sin(angle)
        # The linear part of old place -> new place: mirror, then turn and enlarge.
        turned = size * torch.stack([side_of_face * cos, -sin, side_of_face * sin, cos])
        matrix = turned.T.view(-1, 2, 2)
        back = torch.linalg.inv(matrix)
        grid = functional.affine_grid(
            torch.cat([back, -back @ shift[:, :, None]], dim=2), list(x.shape), align_corners=False
        )
        x = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
        (a, b), (c, d) = (matrix[:, row, :, None, None, None].unbind(dim=1) for row in (0, 1))
        u, v = x[:, self.u], x[:, self.v]
        x[:, self.u], x[:, self.v] = a * u + b * v, c * u + d * v
        x[:, self.magnitude] *= size[:, None, None, None]  # As the rotation and scale of u and v; strain has no unit.
        x[:, self.motion] *= strength[:, None, None, None]
        return (x + self.zero).view(clips.shape)


def _zero(clips: DiskArray | np.ndarray, train: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the value of no motion of each image, float32 ``[images]``; ``vectors``: bool, whether it is u or v.

    It is 0. Ready-made flow images cannot store negative values: where u and v of the training clips have none, it is
    the mean of the image over them, because motion to the left is as frequent as motion to the right.
    """
    total, least = np.zeros(len(vectors)), np.inf
    for part in (train[start : start + BLOCK] for start in range(0, len(train) if vectors.any() else 0, BLOCK)):
        images = clips[part].reshape(len(part), len(vectors), -1)
        total += images.mean(axis=2).sum(axis=0)
        least = min(least, images[:, vectors].min())
    return np.where(vectors & (least >= 0), total / len(train), 0).astype(np.float32)
