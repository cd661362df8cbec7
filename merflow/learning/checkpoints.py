"""Checkpoints: a killed job resumes each training, and ends with the bits of an uninterrupted one."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from merflow.runtime.devices import device
from merflow.storage.files import atomic_write

log = logging.getLogger(__name__)

INTERVAL = 30.0
"""Minimum number of seconds between two states; states are written between epochs."""


class Checkpoints:
    """The checkpoints of one job: a file per training, in the order in which the job starts them.

    A finished training leaves its last state, so that a job of several trainings (pairs, then classes, then all clips)
    repeats none of them. Each file has a fingerprint of everything that decides its training; if it differs, the
    training starts from the beginning.
    """

    def __init__(self, folder: Path, *made_of: Any) -> None:
        """Keep states in a folder.

        Args:
            folder: the folder.
            made_of: what decides every training of the job, apart from the arguments of :meth:`next`: code, settings
                and the clips themselves (arrays, tensors, or text).
        """
        self.folder, self._made_of = folder, _digest(made_of)
        self._count, self._last = 0, time.monotonic()

    def depend_on(self, *made_of: Any) -> None:
        """Add something that decides all trainings from here on."""
        self._made_of = _digest((self._made_of, made_of))

    def next(self, *made_of: Any) -> "Checkpoint":
        """Return the checkpoint of the next training; ``made_of``: what decides it (tensors, or text of it)."""
        self._count += 1
        return Checkpoint(self.due, self.folder / f"{self._count}.safetensors", _digest((self._made_of, made_of)))

    def due(self) -> bool:
        """Whether it is time to save a state; called after each epoch."""
        now = time.monotonic()
        if now - self._last < INTERVAL:
            return False
        self._last = now
        return True

    def remove(self) -> None:
        """Remove all states, once the outputs of the job exist."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Checkpoint:
    """The file in which one training saves its states."""

    def __init__(self, due: Callable[[], bool], path: Path, fingerprint: str) -> None:
        """Made by :meth:`Checkpoints.next`; ``due`` says whether the next state should be saved now."""
        self.due, self._path, self._fingerprint = due, path, fingerprint

    def save(
        self,
        progress: Mapping[str, Any],
        network: nn.Module,
        best: Mapping[str, Tensor] | None = None,
        optimiser: torch.optim.Optimizer | None = None,
    ) -> None:
        """Write a state, completely or not at all.

        ``progress`` is written as JSON. ``best``: weights of the best epoch so far, if these are not the present ones;
        ``optimiser``: None if the training is finished.
        """
        tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in (best or {}).items()}
        if optimiser:
            for index, parameter in enumerate(_parameters(optimiser)):
                state = optimiser.state[parameter]
                tensors |= {f"optimiser/{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
        tensors |= {f"generator/{name}": state for name, state in _generator_states().items()}
        content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"fingerprint": self._fingerprint, "progress": json.dumps(dict(progress))}
        try:
            with atomic_write(self._path) as temporary:
                save_file(content, temporary, metadata | {"digest": _digest([metadata, sorted(content.items())])})
        except (OSError, SafetensorError) as error:  # A full disk, for example: training itself needs no checkpoint.
            log.warning("%s cannot be written (%s); training continues without it", self._path, error)

    def load(
        self, network: nn.Module, optimiser: torch.optim.Optimizer
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Restore network, optimiser and torch's generators; return ``progress`` and ``best`` as they were saved.

        None, with nothing changed, if there is no state of this training.
        """
        try:
            with safe_open(self._path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("fingerprint") != self._fingerprint:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be read (%s); training starts from the beginning", self._path, error)
            return None
        content = {name: metadata.get(name) for name in ("fingerprint", "progress")}
        if metadata.get("digest") != _digest([content, sorted(tensors.items())]):
            log.warning("%s is damaged; training starts from the beginning", self._path)
            return None
        network.load_state_dict(_below(tensors, "network/"))
        for index, parameter in enumerate(_parameters(optimiser)):
            # Copied because Adam changes them in place.
            state = _below(tensors, f"optimiser/{index}/")
            optimiser.state[parameter] = {key: value.clone().to(parameter.device) for key, value in state.items()}
        _set_generator_states(_below(tensors, "generator/"))
        return json.loads(metadata["progress"]), _below(tensors, "best/")


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _below(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``start``, without it."""
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _generator_states() -> dict[str, Tensor]:
    """Return the states of torch's generators, of the CPU and of the job's GPU, which may differ when it resumes."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device())} if device().type == "cuda" else {})


def _set_generator_states(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device())


def _digest(made_of: Any) -> str:
    """Return a digest of tensors, of mappings and sequences of them, and of the text of everything else."""
    digest = sha256()

    def add(part: Any) -> None:
        if isinstance(part, np.ndarray):
            part = torch.from_numpy(np.ascontiguousarray(part))
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype} {tuple(part.shape)} ".encode())
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
        elif isinstance(part, Mapping):
            for name in part:
                digest.update(f"{name}: ".encode())
                add(part[name])
        elif isinstance(part, list | tuple):
            for item in part:
                add(item)
        else:
            digest.update(f"{part}\x1f".encode())

    add(made_of)
    return digest.hexdigest()
