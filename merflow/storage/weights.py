"""Weights files: safetensors, which hold arrays and text and run nothing when they are read."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from merflow.errors import InputError
from merflow.storage.files import atomic_write


def read_weights(path: str | Path, arrays: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the arrays of a safetensors file; ``arrays``: whether they are wanted.

    Raises:
        InputError: the file is missing, damaged, or of another format, such as a pickle; nothing of it was run.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return metadata, {name: file.get_tensor(name) for name in file.keys()} if arrays else {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run again to have it made") from error
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is no whole safetensors file ({error}); remove it and run again") from error


def write_weights(tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all; equal contents give equal bytes.

    Args:
        tensors: the arrays by name, on the CPU.
        path: the file.
        metadata: texts that stand in its header.
    """
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, dict(metadata))
    length = int.from_bytes(content[:8], "little")
    # The library orders its metadata at random; a sorted header gives the same bits on every run.
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with atomic_write(path) as temporary:
        temporary.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
