"""merflow: from raw face clips to a trustworthy micro-expression recognition study.

The functions of :data:`PUBLIC` are loaded when they are used, because they need OpenCV, PyTorch or scikit-learn.
"""

import importlib
from typing import Any

PUBLIC = {
    "read_dataset": "own_clips",
    "align_clip": "own_clips",
    "optical_flow": "own_clips",
    "open_cache": "own_systems",
    "cross_validate": "own_systems",
}
"""What programs outside use (docs/from-python.md), and the module of each."""

__all__ = ["align_clip", "cross_validate", "open_cache", "optical_flow", "read_dataset"]


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        # Named like this, it is in the code hash of no job (merflow/runtime/code_hash.py).
        return getattr(importlib.import_module(f"{__name__}.{PUBLIC[name]}"), name)
    raise AttributeError(f"module 'merflow' has no attribute {name!r}")
