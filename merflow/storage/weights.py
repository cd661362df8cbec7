"""Weights files in the safetensors format, which holds arrays and text and executes nothing when it is read."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from merflow.errors import InputError
from merflow.storage.files import atomic_write


def read_weights(path: str | Path, arrays: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the arrays of a safetensors file; no arrays if ``arrays`` is False.

    Raises:
        InputError: the file is missing, damaged, or of another format, such as a pickle, which is not executed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return metadata, {name: file.get_tensor(name) for name in file.keys()} if arrays else {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run again to create it") from error
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is not a complete safetensors file ({error}); remove it and run again") from error


def write_weights(tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file of arrays on the CPU atomically; equal contents give equal bytes."""
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, dict(metadata))
    length = int.from_bytes(content[:8], "little")
    # The library writes the metadata in random order; a sorted header gives the same bytes on every run.
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with atomic_write(path) as temporary:
        temporary.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
