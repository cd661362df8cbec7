"""The file of the models that a job trained: one safetensors file with those of all its folds."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from merflow.errors import InputError
from merflow.storage.weights import read_weights, write_weights
from merflow.systems.predictions import FoldResult
from merflow.systems.settings import JobSettings


class SavedModel(NamedTuple):
    """A trained model as its file holds it: ``network`` and what else it is made of, as values for JSON, and arrays."""

    about: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "SavedModel":
        """Return the model with tensors from any device as its arrays."""
        return cls(about, {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()})

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The arrays as tensors on the CPU."""
        return {name: torch.from_numpy(array) for name, array in self.arrays.items()}


def write_models(results: Sequence[FoldResult], path: Path, settings: JobSettings) -> None:
    """Write the models of some folds.

    Arrays: ``{number}/{name}``, numbered in the order of ``results``. Metadata: ``folds``, a list with ``seed, fold,
    member`` of each number and what its system adds, and ``settings``, the settings of the job.
    """
    models = [(result, member, model) for result in results for member, model in enumerate(result.models)]
    tensors = {
        f"{number}/{name}": tensor
        for number, (*_, model) in enumerate(models)
        for name, tensor in model.tensors.items()
    }
    folds = [
        {"seed": result.repeat, "fold": result.fold, "member": member, **model.about}
        for result, member, model in models
    ]
    about = asdict(settings)
    del about["splits"], about["clips"]["labels"]
    metadata = {"folds": folds, "settings": about}
    write_weights(tensors, path, {name: json.dumps(value, sort_keys=True) for name, value in metadata.items()})


def models_in(path: Path) -> list[dict[str, Any]]:
    """Return ``seed, fold, member`` and what else is known of each model in a file, without reading arrays.

    Raises:
        InputError: the file cannot be read, or is no file of :func:`write_models`.
    """
    try:
        folds = json.loads(read_weights(path, arrays=False)[0]["folds"])
        numbers = ("seed", "member")
        return [{**about, "fold": str(about["fold"])} | {key: int(about[key]) for key in numbers} for about in folds]
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} holds no models of merflow ({error}); delete it and run again") from error


def read_models(path: Path) -> dict[tuple[int, str, int], SavedModel]:
    """Return the models in a file by seed, fold and member; errors as in :func:`models_in`."""
    tensors: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in read_weights(path)[1].items():
        number, _, name = key.partition("/")
        tensors[number][name] = tensor
    models = enumerate(models_in(path))
    return {
        (about["seed"], about["fold"], about["member"]): SavedModel.of(about, tensors[str(number)])
        for number, about in models
    }
