"""States of a training on the disk: a job that was killed goes on where it was, with the bits of an undisturbed one."""

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

EVERY = 30.0
"""Seconds from one state to the next, at least; states are written between epochs."""


class Checkpoints:
    """The checkpoints of one job: a file per training, in the order in which the job starts them.

    A training that is over leaves its last state, so that a job of several (pairs, then classes, then all clips anew)
    does none of them twice. Each file names what its training was made of; where that differs, it starts anew.
    """

    def __init__(
        self, folder: Path, *about: Any, every: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep states in ``folder``, at most one in ``every`` seconds (None: :data:`EVERY`).

        ``about``: what decides every training of the job, as far as :meth:`next` is not told of it: code, settings, and
        the clips themselves (arrays, tensors, or text).
        """
        self.folder, self._about, self._clock = folder, _digest(about), clock
        self._every = EVERY if every is None else every
        self._count, self._last = 0, clock()

    def next(self, *made_of: Any) -> "Checkpoint":
        """The checkpoint of the next training; ``made_of``: everything that decides it (tensors, or text of it)."""
        self._count += 1
        return Checkpoint(self, self.folder / f"{self._count}.safetensors", _digest((self._about, made_of)))

    def due(self) -> bool:
        """Whether it is time for another state; asked after each epoch."""
        now = self._clock()
        if now - self._last < self._every:
            return False
        self._last = now
        return True

    def remove(self) -> None:
        """Remove everything: the job's outputs are there."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Checkpoint:
    """Where one training writes its states."""

    def __init__(self, owner: Checkpoints, path: Path, made_of: str) -> None:
        """Made by :meth:`Checkpoints.next`."""
        self._owner, self._path, self._made_of = owner, path, made_of

    def due(self) -> bool:
        """Whether the next state should be written now."""
        return self._owner.due()

    def save(
        self,
        course: Mapping[str, Any],
        network: nn.Module,
        best: Mapping[str, Tensor] | None = None,
        optimiser: torch.optim.Optimizer | None = None,
    ) -> None:
        """Write a state, whole or not at all.

        Args:
            course: numbers and the curve, as JSON.
            network: at its present weights.
            best: weights of the best epoch so far, if another one than this.
            optimiser: None once the training is over.
        """
        tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in (best or {}).items()}
        for place, one in enumerate(_parameters(optimiser)):
            tensors |= {f"optimiser/{place}/{key}": torch.as_tensor(v) for key, v in optimiser.state[one].items()}
        tensors |= {f"generator/{name}": state for name, state in _generators().items()}
        content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        metadata = {"made_of": self._made_of, "course": json.dumps(dict(course))}
        try:
            with atomic_write(self._path) as temporary:
                save_file(content, temporary, metadata | {"digest": _digest([metadata, sorted(content.items())])})
        except (OSError, SafetensorError) as error:  # A full disk, say: the training itself needs no checkpoint.
            log.warning("%s cannot be written (%s); training goes on without", self._path, error)

    def load(
        self, network: nn.Module, optimiser: torch.optim.Optimizer
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Take up the state on the disk: network, optimiser and torch's generators are as they were.

        Returns:
            ``course`` and ``best`` as they were saved; None, and nothing changed, where there is no state of this
            training.
        """
        try:
            with safe_open(self._path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("made_of") != self._made_of:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be read (%s); training starts anew", self._path, error)
            return None
        about = {name: metadata.get(name) for name in ("made_of", "course")}
        if metadata.get("digest") != _digest([about, sorted(tensors.items())]):
            log.warning("%s is damaged; training starts anew", self._path)
            return None
        network.load_state_dict(_under(tensors, "network/"))
        for place, one in enumerate(_parameters(optimiser)):
            # Copied: Adam changes them in place, and the step has to stay where torch puts it.
            own = _under(tensors, f"optimiser/{place}/")
            optimiser.state[one] = {key: value.clone().to(one.device) for key, value in own.items()}
        _set_generators(_under(tensors, "generator/"))
        return json.loads(metadata["course"]), _under(tensors, "best/")


def _parameters(optimiser: torch.optim.Optimizer | None) -> list[Tensor]:
    return [one for group in optimiser.param_groups for one in group["params"]] if optimiser else []


def _under(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``start``, without it."""
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _generators() -> dict[str, Tensor]:
    """States of torch's generators, of the CPU and of this job's GPU, which may be another one when it goes on."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device())} if device().type == "cuda" else {})


def _set_generators(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device())


def _digest(made_of: Any) -> str:
    """A digest of tensors, of mappings and sequences of them, and of the text of all else."""
    found = sha256()

    def add(part: Any) -> None:
        if isinstance(part, np.ndarray):
            part = torch.from_numpy(np.ascontiguousarray(part))
        if isinstance(part, Tensor):
            found.update(f"{part.dtype} {tuple(part.shape)} ".encode())
            found.update(part.detach().cpu().contiguous().numpy().tobytes())
        elif isinstance(part, Mapping):
            for name in part:
                found.update(f"{name}: ".encode())
                add(part[name])
        elif isinstance(part, list | tuple):
            for one in part:
                add(one)
        else:
            found.update(f"{part}\x1f".encode())

    add(made_of)
    return found.hexdigest()
