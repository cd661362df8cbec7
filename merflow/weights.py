"""Weights files: safetensors, which hold arrays and text and run nothing when they are read."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from merflow.files import whole


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
    with whole(path) as temporary:
        temporary.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
