"""merflow: from raw face clips to a trustworthy micro-expression recognition study.

``merflow.open_cache`` and ``merflow.cross_validate`` are those of :mod:`merflow.own_systems`; they are loaded when they
are used, because they need PyTorch and scikit-learn.
"""

import importlib
from typing import Any

__all__ = ["cross_validate", "open_cache"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        # Named like this, it is in the code hash of no job (merflow/runtime/code_hash.py).
        return getattr(importlib.import_module(f"{__name__}.own_systems"), name)
    raise AttributeError(f"module 'merflow' has no attribute {name!r}")
