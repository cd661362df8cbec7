"""Batches of clips for a training, from memory or from disk."""

from collections.abc import Callable, Iterator
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from merflow.storage.disk_arrays import DiskArray

BLOCK = 64
"""Number of clips that are read at a time to compute statistics over all clips."""


class Centred:
    """Clips minus the mean image of the training clips, at standard deviation 1, for networks without pre-training.

    Flow images from other sources may have any offset and scale. Each row of a clip has its own mean image, and one
    divisor, which preserves the shape of the image.
    """

    def __init__(self, clips: DiskArray | np.ndarray, train: np.ndarray, channels: int = 1) -> None:
        """Centre ``clips [clips, rows, pixels]`` by those at the indices ``train``.

        ``channels``: number of parts of a row that have a divisor each.
        """
        self._clips = clips
        self.shape: tuple[int, ...] = clips.shape
        parts = [train[start : start + BLOCK] for start in range(0, len(train), BLOCK)]
        total = sum(clips[part].sum(axis=0, dtype=np.float64) for part in parts)
        self.mean = np.asarray(total / len(train), np.float32)
        shape = (-1, clips.shape[1], channels, clips.shape[2] // channels)
        squares = sum(
            np.square(clips[part] - self.mean, dtype=np.float64).reshape(shape).sum(axis=(0, 3)) for part in parts
        )
        deviation = np.maximum(np.sqrt(squares / (len(train) * shape[3])), 1e-6).astype(np.float32)
        self.divisor = deviation if channels == 1 else np.repeat(deviation, shape[3], axis=1)

    def __len__(self) -> int:
        """Return the number of clips."""
        return self.shape[0]

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        """Return the centred clips at ``indices``, float32 ``[indices, rows, pixels]``."""
        return np.asarray((self._clips[indices] - self.mean) / self.divisor)

    def __str__(self) -> str:
        """Return the text that identifies the clips in a checkpoint."""
        return f"{self._clips} {sha256(self.mean.tobytes() + self.divisor.tobytes()).hexdigest()}"


def centre_arrays(centred: Centred | None) -> dict[str, Tensor]:
    """Return the arrays of a weights file: ``centre.mean [rows, pixels]`` and ``centre.divisor``, or none."""
    if centred is None:
        return {}
    return {"centre.mean": torch.from_numpy(centred.mean), "centre.divisor": torch.from_numpy(centred.divisor)}


class Batches:
    """Some of the clips, as a training reads them: indexing returns a tensor on the device."""

    def __init__(
        self,
        clips: DiskArray | Centred | np.ndarray,
        indices: np.ndarray,
        shape: tuple[int, ...],
        device: torch.device,
        rows: bool = False,
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Select the clips at ``indices`` of ``clips [clips, rows, pixels]``, as inputs of a ``shape``.

        ``rows``: whether each row of a clip is an input by itself; ``augment``: transforms the clip of each input.
        """
        self._clips, self._indices, self._shape, self.device = clips, np.asarray(indices), shape, device
        self._rows, self._augment = clips.shape[1] if rows else 1, augment

    def __len__(self) -> int:
        """Return the number of inputs."""
        return len(self._indices) * self._rows

    def __getitem__(self, chosen: Tensor) -> Tensor:
        """Return the inputs at the indices ``chosen``, float32 ``[chosen, *shape]``."""
        numbers = chosen.cpu().numpy()
        places, inverse = np.unique(numbers // self._rows, return_inverse=True)
        clips = torch.from_numpy(self._clips[self._indices[places]])
        if self._augment:  # Each input has a transformation of its own.
            clips, inverse = self._augment(clips[inverse]), np.arange(len(numbers))
        inputs = clips[inverse] if self._rows == 1 else clips[inverse, numbers % self._rows]
        return inputs.reshape(len(numbers), *self._shape).to(self.device)

    def split(self, batch: int) -> Iterator[Tensor]:
        """Yield all inputs in order, ``batch`` at a time."""
        for indices in torch.split(torch.arange(len(self)), batch):
            yield self[indices]

    def __str__(self) -> str:
        """Return the text that identifies the inputs in a checkpoint."""
        return f"{self._clips} {self._indices.tolist()} {self._shape} {self._rows}"
