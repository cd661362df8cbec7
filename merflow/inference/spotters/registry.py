"""The spotting systems by name, and files of what they fitted."""

import json
from collections.abc import Callable
from pathlib import Path

from merflow.errors import InputError
from merflow.inference.settings import SpottingSettings
from merflow.inference.spotters.learned import LearnedSpotter
from merflow.inference.spotters.peaks import PeakSpotter
from merflow.inference.spotters.search import SearchSpotter
from merflow.inference.spotters.spotter import Spotter
from merflow.storage.weights import read_weights, write_weights

SPOTTERS: dict[str, Callable[[SpottingSettings, int], Spotter]] = {
    SearchSpotter.name: lambda settings, seed: SearchSpotter(settings),
    PeakSpotter.name: lambda settings, seed: PeakSpotter(),
    LearnedSpotter.name: lambda settings, seed: LearnedSpotter(seed),
}
"""Functions that make each system from the settings of the search and a seed; only ``learned`` uses the seed."""


def save_spotter(spotter: Spotter, path: str | Path) -> None:
    """Write a fitted system as safetensors, with its name and its numbers as JSON in the metadata."""
    state, tensors = spotter.state()
    write_weights(tensors, path, {"spotter": spotter.name, "state": json.dumps(state)})


def load_spotter(path: str | Path, settings: SpottingSettings) -> Spotter:
    """Read a system that :func:`save_spotter` wrote.

    Raises:
        InputError: the file is missing, damaged, or not that of a spotting system.
    """
    metadata, tensors = read_weights(path)
    if metadata.get("spotter") not in SPOTTERS:
        raise InputError(f"{path} is not the file of a spotting system; remove it and run again")
    spotter = SPOTTERS[metadata["spotter"]](settings, 0)
    spotter.restore(json.loads(metadata["state"]), tensors)
    return spotter
