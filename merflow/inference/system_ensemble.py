"""An ensemble of systems: the mean of the calibrated answers of experiments and baselines.

An experiment answers by its own ensemble, the networks of its folds and seeds. A baseline is quick to train and stores
no model: it is trained on all clips of the study that it may use, when it first answers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from merflow.evaluation.calibration import ValidationProbs, fit_temperature, temper
from merflow.inference.ensemble import (
    ClipArrays,
    Ensemble,
    load_ensemble,
    load_packed,
    read_metadata,
    relative_to_results,
)
from merflow.inference.packed import ABOUT
from merflow.inference.settings import SystemEnsembleSettings
from merflow.protocols.settings import ClipSettings
from merflow.storage.files import atomic_write
from merflow.systems.clip_images import SIDE, clip_image, read_clip_images
from merflow.systems.linear import Predict, fit


class FittedBaseline:
    """A baseline that is trained on all clips of some caches, for clips that they do not have."""

    def __init__(self, member: Mapping[str, Any], results: Path) -> None:
        """``member``: as in ``ensemble.json``; ``results``: folder that its caches are relative to."""
        self.system, self.temperature = str(member["system"]), float(member["temperature"])
        self.clips, self.caches = ClipSettings(**member["clips"]), [results / file for file in member["caches"]]

    @cached_property
    def _predict(self) -> Predict:
        samples = read_clip_images(self.caches, self.clips, in_memory=True)
        return fit(self.system, samples.rows[:].reshape(len(samples.labels), -1), samples.labels, len(samples.classes))

    def probabilities(self, clips: ClipArrays) -> np.ndarray:
        """Return the calibrated probabilities, float64 ``[n, classes]``."""
        source = {"flow": clips.flow}
        images = [clip_image(source, n, int(clips.apex_index[n]), "flow-image", SIDE) for n in range(len(clips))]
        return temper(self._predict(np.stack(images).reshape(len(clips), -1)), self.temperature)


class SystemEnsemble:
    """Experiments and baselines, each calibrated, whose mean is the answer.

    Attributes:
        metadata: content of ``ensemble.json`` (docs/contracts.md).
        classes: class names, in the order of all probabilities.
        systems: the members.
        units: whether the classes are action units; they never are.
    """

    units = False

    def __init__(self, metadata: Mapping[str, Any], systems: Sequence[Ensemble | FittedBaseline]) -> None:
        """Keep the members."""
        self.metadata, self.systems, self.classes = metadata, systems, list(metadata["classes"])

    def members(self, clips: ClipArrays) -> np.ndarray:
        """Return the probabilities of each system, float64 ``[systems, n, classes]``; raises as :class:`Ensemble`."""
        return np.stack([system.probabilities(clips) for system in self.systems])

    def probabilities(self, clips: ClipArrays) -> np.ndarray:
        """Return the mean of the systems, float64 ``[n, classes]``."""
        return np.asarray(self.members(clips).mean(axis=0))

    @property
    def networks(self) -> list[Ensemble]:
        """The members that are networks."""
        return [system for system in self.systems if isinstance(system, Ensemble)]

    def subsample(self, count: int | None) -> "SystemEnsemble":
        """Return the ensemble with ``count`` networks of each member; all of them for None."""
        systems = [system.subsample(count) if isinstance(system, Ensemble) else system for system in self.systems]
        return SystemEnsemble(self.metadata, systems)


def load_systems(path: str | Path) -> Ensemble | SystemEnsemble:
    """Return what an ``ensemble.json`` describes: the networks of an experiment, or an ensemble of systems.

    ``path`` may also be the ``weights.json`` of networks that were trained elsewhere.

    Raises:
        InputError: a file cannot be read, or is not an ensemble.
    """
    if Path(path).name == ABOUT:
        return load_packed(Path(path).parent)
    metadata, results = read_metadata(path)
    if metadata["system"] != "ensemble":
        return load_ensemble(path)
    systems = [
        load_ensemble(results / member["file"]) if "file" in member else FittedBaseline(member, results)
        for member in metadata["members"]
    ]
    return SystemEnsemble(metadata, systems)


def gather_systems(
    settings: SystemEnsembleSettings, validation: Mapping[str, Path], output: Path, results: Path
) -> None:
    """Write ``ensemble.json`` of an ensemble of systems; file names are relative to ``results``.

    ``validation`` has the table of the validation clips of each baseline; it gives the baseline its temperature.

    Raises:
        InputError: a table cannot be read.
    """
    members: list[dict[str, Any]] = []
    for member in settings.members:
        entry: dict[str, Any] = {"experiment": member.experiment, "system": member.system}
        if member.clips is None:
            members.append(entry | {"file": relative_to_results(Path(member.files[0]), results)})
            continue
        probs = ValidationProbs.read(validation[member.experiment], settings.classes)
        entry |= {"clips": asdict(member.clips), "temperature": fit_temperature(probs.probs, probs.labels)}
        members.append(entry | {"caches": [relative_to_results(Path(file), results) for file in member.files]})
    with atomic_write(output) as temporary:
        text = json.dumps(asdict(settings) | {"members": members}, indent=1, sort_keys=True)
        temporary.write_text(text + "\n", encoding="utf-8")
