"""The head of TSDGCN: the small network after fusion and its standardisation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from merflow.learning.fit import Training, repeatable
from merflow.learning.layers import Dropout
from merflow.learning.losses import probabilities

LEAST_SCALE = 0.2
"""Smallest divisor of a feature, as a share of the root mean square deviation of its branch. Without it, a feature that
is almost constant on the training subjects (after ReLU) could reach hundreds of deviations on another subject."""
CLIPS_AT_ONCE = 1024
"""Clips whose probabilities are computed at a time."""
WEIGHTS = ("weight_1", "bias_1", "weight_2", "bias_2")
"""Names of the parameters of a head in files, in their order."""


class Head(nn.Sequential):
    """The fully connected layer after fusion with ReLU and dropout, and the classifier.

    With ``rows`` above 1 (``fusion: clip``) the classifier reads the outputs of all rows of a clip, X^out below Eq. 5.
    """

    def __init__(self, inputs: int, hidden: int, classes: int, dropout: float, rows: int = 1) -> None:
        """Make a head with random weights from torch's generator."""
        layers = nn.Linear(inputs, hidden), nn.ReLU(inplace=True), Dropout(dropout), nn.Linear(rows * hidden, classes)
        super().__init__(*layers)
        self.rows = rows

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., inputs]`` to class scores ``[..., classes]``; with several rows ``[clips, rows, inputs]``, also
        flattened, to ``[clips, classes]``.
        """
        connected, relu, dropout, classifier = cast("tuple[nn.Linear, nn.ReLU, Dropout, nn.Linear]", tuple(self))
        if self.rows > 1:
            x = x.reshape(-1, self.rows, connected.in_features)
        hidden = dropout(relu(connected(x)))
        scores: Tensor = classifier(hidden.flatten(1) if self.rows > 1 else hidden)
        return scores


def clip_probabilities(scores: Tensor, units: bool = False) -> Tensor:
    """Return the probabilities of clips, ``[clips, classes]``: the mean over rows of scores ``[clips, rows, classes]``,
    or those of whole clips, ``[clips, classes]``. ``units``: whether the classes are action units.
    """
    probs = probabilities(scores, units)
    return probs if scores.ndim == 2 else probs.mean(dim=1)


@dataclass(frozen=True)
class Standardizer:
    """Standardisation of the features of a fold by its training clips.

    Attributes:
        mean, scale: float32 ``[rows, features]``; the standard deviation is bounded by :data:`LEAST_SCALE`.
        varies: bool ``[features]``: whether a feature varies over the training clips.
    """

    mean: np.ndarray
    scale: np.ndarray
    varies: np.ndarray

    @classmethod
    def fit(cls, rows: np.ndarray, clips: np.ndarray, branch: np.ndarray) -> "Standardizer":
        """Return the standardisation of ``rows [clips, rows, features]`` by some clips.

        ``branch``: int64 ``[rows]``; rows with the same number share mean and scale.
        """
        mean, scale = np.empty(rows.shape[1:], np.float32), np.empty(rows.shape[1:], np.float32)
        varies = np.zeros(rows.shape[2], bool)
        for number in np.unique(branch):
            # Row by row, so that no copy of all clips is made.
            indices = np.flatnonzero(branch == number)
            middle = np.mean([rows[clips, index].mean(axis=0, dtype=np.float64) for index in indices], axis=0)
            variance = np.mean([np.square(rows[clips, index] - middle).mean(axis=0) for index in indices], axis=0)
            floor = LEAST_SCALE * math.sqrt(variance.mean())
            mean[indices] = middle
            scale[indices] = np.maximum(np.sqrt(variance), floor) if floor > 1e-6 else 1
            varies |= variance > 0
        return cls(mean, scale, varies)

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """Return standardised rows, ``[clips, rows, features]``."""
        return np.asarray((rows - self.mean) / self.scale)


@dataclass(frozen=True)
class TrainedHead:
    """A head with the standardisation by the clips that trained it, its chosen epoch and learning curve.

    ``units``: whether it recognises action units.
    """

    head: Head
    standardizer: Standardizer
    training: Training
    units: bool = False

    @torch.no_grad()
    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Map ``[clips, rows, features]`` to the probabilities of :func:`clip_probabilities`, float64."""
        probs = []
        with repeatable(0):
            for part in np.array_split(rows, math.ceil(len(rows) / CLIPS_AT_ONCE) or 1):
                scores = self.head.eval()(torch.from_numpy(self.standardizer.transform(part)))
                probs.append(clip_probabilities(scores.double(), self.units).numpy())
        return np.concatenate(probs)

    def arrays(self, branch: np.ndarray) -> dict[str, np.ndarray]:
        """Return :data:`WEIGHTS`, and ``mean, scale`` ``[branches, features]``, which are saved once per branch.

        ``branch``: int64 ``[rows]``: branch of each row of a clip.
        """
        weights = [weight.detach().cpu().numpy() for weight in self.head.parameters()]
        first = np.unique(branch, return_index=True)[1]
        standard = {"mean": self.standardizer.mean[first], "scale": self.standardizer.scale[first]}
        return dict(zip(WEIGHTS, weights, strict=True)) | standard


class StandardizedHead(nn.Module):
    """A saved head that standardises its inputs."""

    mean: Tensor
    scale: Tensor

    def __init__(self, branch: Sequence[int], arrays: Mapping[str, Tensor]) -> None:
        """Make the network from the ``branch`` of each row and :meth:`TrainedHead.arrays`.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays do not fit together.
        """
        super().__init__()
        _check_shapes(branch, arrays)
        hidden, inputs = arrays["weight_1"].shape
        self.head = Head(inputs, hidden, len(arrays["bias_2"]), 0.0, arrays["weight_2"].shape[1] // hidden)
        with torch.no_grad():
            for weight, name in zip(self.head.parameters(), WEIGHTS, strict=True):
                weight.copy_(arrays[name])
        for name in ("mean", "scale"):
            self.register_buffer(name, arrays[name][torch.as_tensor(branch)])
        self.eval()

    def forward(self, rows: Tensor) -> Tensor:
        """Map features ``[clips, rows, features]`` to the class scores of :class:`Head`."""
        scores: Tensor = self.head((rows - self.mean) / self.scale)
        return scores


def _check_shapes(branch: Sequence[int], arrays: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless branches and arrays of a head fit together."""
    (hidden, inputs), classes, branches = arrays["weight_1"].shape, len(arrays["bias_2"]), len(arrays["mean"])
    rows = len(branch) if arrays["weight_2"].shape[1] > hidden else 1
    shapes = {"weight_1": (hidden, inputs), "bias_1": (hidden,), "bias_2": (classes,)}
    shapes["weight_2"] = (classes, rows * hidden)
    shapes |= dict.fromkeys(("mean", "scale"), (branches, inputs))
    fit = all(arrays[name].shape == shape and arrays[name].is_floating_point() for name, shape in shapes.items())
    if not fit or not all(isinstance(number, int) and 0 <= number < branches for number in branch):
        raise ValueError("the arrays of a head do not fit together")
