"""Datasets as they lie on disk: every clip in one table, everything wrong with the folder in another.

A layout is a function ``index(name, settings) -> Index``. It lists folders and reads tables; it opens no frame.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from merflow.datasets.index import Index, Problem, listing, write_index, write_problems
from merflow.errors import InputError

__all__ = [
    "LAYOUTS",
    "DatasetError",
    "Index",
    "Problem",
    "index_dataset",
    "report_problems",
    "write_index",
    "write_problems",
]

LAYOUTS = {
    "ck-plus": "merflow.datasets.ck_plus:index",
    "casme2": "merflow.datasets.casme2:index",
    "demo": "merflow.datasets.demo:index",
    "flow-images": "merflow.datasets.flow_images:index",
    "manifest": "merflow.datasets.manifest:index",
    "mmew-macro": "merflow.datasets.mmew:index_macro",
    "mmew-micro": "merflow.datasets.mmew:index_micro",
    "samm": "merflow.datasets.samm:index",
    "smic-hs": "merflow.datasets.smic:index",
}


class DatasetError(InputError):
    """A dataset cannot be used; ``index`` holds all that was noticed."""

    def __init__(self, message: str, index: Index) -> None:
        """Keep the index, so that its problems can be written."""
        super().__init__(message)
        self.index = index


def index_dataset(name: str, settings: Mapping[str, Any]) -> Index:
    """Index dataset ``name`` as its layout says.

    Args:
        name: the dataset.
        settings: its block of the configuration; only ``layout`` and ``root`` must be there.

    Raises:
        InputError: the dataset as a whole cannot be used, or a clip cannot and ``on_problem`` is ``stop``; the message
            lists everything that is wrong.
        ConfigError: its settings do not fit it.
    """
    module, function = LAYOUTS[settings["layout"]].split(":")
    index: Index = getattr(import_module(module), function)(name, settings)
    if settings.get("on_problem") == "stop" and index.grave:
        raise DatasetError(f"dataset {name} has problems and `on_problem: stop`:\n{listing(index.problems)}", index)
    if not any(clip.problem == "" for clip in index.clips):
        message = f"dataset {name} has no clip that can be used\n{listing(index.problems)}".rstrip()
        raise DatasetError(message, index)
    return index


def report_problems(name: str, index: Index, table: str) -> None:
    """Say on stderr, once, what was noticed about a dataset whose bad clips are left out."""
    if index.problems:
        bad = sum(clip.problem != "" for clip in index.clips)
        print(
            f"merflow: dataset {name}: {bad} of {len(index.clips)} clips cannot be used and are left out; "
            f"all that was noticed (also in {table}):\n{listing(index.problems)}",
            file=sys.stderr,
        )
