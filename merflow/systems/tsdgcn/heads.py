"""The head of TSDGCN: the small network after fusion, its standardisation, and the file that holds trained heads."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from merflow.errors import InputError
from merflow.learning.fit import Training, repeatable
from merflow.learning.layers import Dropout
from merflow.storage.weights import read_weights, write_weights

LEAST_SCALE = 0.2
"""Smallest divisor of a feature, as a share of the root mean square deviation of its branch. Without it, a feature that
is almost constant on the training subjects (after ReLU) could reach hundreds of deviations on another subject."""
CLIPS_AT_ONCE = 1024
"""Clips whose probabilities are computed at a time."""
WEIGHTS = ("weight_1", "bias_1", "weight_2", "bias_2")
"""Names of the parameters of a head in files, in their order."""


class Head(nn.Sequential):
    """The fully connected layer after fusion with ReLU and dropout, and the classifier."""

    def __init__(self, inputs: int, hidden: int, classes: int, dropout: float) -> None:
        """Make a head with random weights from torch's generator."""
        super().__init__(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), Dropout(dropout), nn.Linear(hidden, classes))


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
        """Return the standardisation of ``rows [clips, rows, features]`` by the clips at some places.

        ``branch``: int64 ``[rows]``; rows with the same number share mean and scale.
        """
        mean, scale = np.empty(rows.shape[1:], np.float32), np.empty(rows.shape[1:], np.float32)
        varies = np.zeros(rows.shape[2], bool)
        for number in np.unique(branch):
            # Row by row, so that no copy of all clips is made.
            places = np.flatnonzero(branch == number)
            middle = np.mean([rows[clips, place].mean(axis=0, dtype=np.float64) for place in places], axis=0)
            variance = np.mean([np.square(rows[clips, place] - middle).mean(axis=0) for place in places], axis=0)
            floor = LEAST_SCALE * math.sqrt(variance.mean())
            mean[places] = middle
            scale[places] = np.maximum(np.sqrt(variance), floor) if floor > 1e-6 else 1
            varies |= variance > 0
        return cls(mean, scale, varies)

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """Return standardised rows, ``[clips, rows, features]``."""
        return np.asarray((rows - self.mean) / self.scale)


@dataclass(frozen=True)
class TrainedHead:
    """A head with the standardisation by the clips that trained it, its chosen epoch and learning curve."""

    head: Head
    standardizer: Standardizer
    training: Training

    @torch.no_grad()
    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Map ``[clips, rows, features]`` to class probabilities, float64 ``[clips, classes]``: the mean over rows."""
        probs = []
        with repeatable(0):
            for part in np.array_split(rows, math.ceil(len(rows) / CLIPS_AT_ONCE) or 1):
                scores = self.head.eval()(torch.from_numpy(self.standardizer.transform(part)))
                probs.append(scores.double().softmax(dim=2).mean(dim=1).numpy())
        return np.concatenate(probs)


class SavedHead(NamedTuple):
    """A trained head of a seed and a fold as arrays.

    Attributes:
        branch: int64 ``[rows]``: branch of each row of a clip.
        arrays: :data:`WEIGHTS` of :class:`Head`; ``mean, scale`` ``[branches, features]``.
    """

    seed: int
    fold: str
    branch: np.ndarray
    arrays: dict[str, np.ndarray]

    @classmethod
    def of(cls, trained: TrainedHead, branch: np.ndarray, seed: int, fold: str) -> "SavedHead":
        """Return the arrays of a head; mean and scale are stored once per branch."""
        weights = [weight.detach().cpu().numpy() for weight in trained.head.parameters()]
        first = np.unique(branch, return_index=True)[1]
        standard = {"mean": trained.standardizer.mean[first], "scale": trained.standardizer.scale[first]}
        return cls(seed, fold, branch, dict(zip(WEIGHTS, weights, strict=True)) | standard)

    def network(self) -> "StandardizedHead":
        """Return the head as a network."""
        return StandardizedHead(self.branch, self.arrays)


class StandardizedHead(nn.Module):
    """A saved head that standardises its inputs."""

    mean: Tensor
    scale: Tensor

    def __init__(self, branch: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Make the network; see :class:`SavedHead`."""
        super().__init__()
        hidden, inputs = arrays["weight_1"].shape
        self.head = Head(inputs, hidden, len(arrays["bias_2"]), 0.0)
        with torch.no_grad():
            for weight, name in zip(self.head.parameters(), WEIGHTS, strict=True):
                weight.copy_(torch.as_tensor(arrays[name]))
        for name in ("mean", "scale"):
            self.register_buffer(name, torch.as_tensor(arrays[name])[torch.as_tensor(branch)])
        self.eval()

    def forward(self, rows: Tensor) -> Tensor:
        """Map features ``[clips, rows, features]`` to class scores ``[clips, rows, classes]``."""
        scores: Tensor = self.head((rows - self.mean) / self.scale)
        return scores


def save_heads(heads: Sequence[SavedHead], path: str | Path, settings: Mapping[str, Any]) -> None:
    """Write heads as one safetensors file; its metadata hold their seeds and folds, and the training settings."""
    tensors = {
        f"{number}/{name}": torch.from_numpy(np.ascontiguousarray(array))
        for number, head in enumerate(heads)
        for name, array in head.arrays.items()
    }
    names = [{"seed": head.seed, "fold": head.fold} for head in heads]
    branch = heads[0].branch.tolist() if heads else []
    metadata = {"network": "heads", "heads": json.dumps(names), "branch": json.dumps(branch)}
    write_weights(tensors, path, metadata | {"settings": json.dumps(settings, sort_keys=True)})


def load_heads(path: str | Path) -> list[SavedHead]:
    """Read the heads of :func:`save_heads`.

    Raises:
        InputError: the file holds no heads.
    """
    metadata, tensors = read_weights(path)
    with _head_file(path):
        branch = np.array(json.loads(metadata["branch"]), np.int64)
        heads = []
        for number, names in enumerate(json.loads(metadata["heads"])):
            arrays = {name: tensors[f"{number}/{name}"].numpy() for name in (*WEIGHTS, "mean", "scale")}
            heads.append(SavedHead(names["seed"], names["fold"], branch, arrays))
        if not all(_has_valid_shapes(head) for head in heads):
            raise ValueError("its arrays do not fit together")
    return heads


def heads_in(path: str | Path) -> list[tuple[int, str]]:
    """Return seed and fold of the heads in a file without reading their arrays; errors as in :func:`load_heads`."""
    metadata, _ = read_weights(path, arrays=False)
    with _head_file(path):
        return [(names["seed"], names["fold"]) for names in json.loads(metadata["heads"])]


@contextmanager
def _head_file(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} holds no heads of merflow ({error}); delete it and run again") from error


def _has_valid_shapes(head: SavedHead) -> bool:
    """Return whether the arrays of a head have the types and shapes of :class:`SavedHead`."""
    arrays = head.arrays
    (hidden, inputs), classes, branches = arrays["weight_1"].shape, len(arrays["bias_2"]), len(arrays["mean"])
    shapes = {"weight_1": (hidden, inputs), "bias_1": (hidden,), "weight_2": (classes, hidden), "bias_2": (classes,)}
    shapes |= dict.fromkeys(("mean", "scale"), (branches, inputs))
    return (
        isinstance(head.seed, int)
        and isinstance(head.fold, str)
        and head.branch.ndim == 1
        and bool(((head.branch >= 0) & (head.branch < branches)).all())
        and all(arrays[name].shape == shape and arrays[name].dtype.kind == "f" for name, shape in shapes.items())
    )
