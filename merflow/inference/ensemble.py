"""The trained networks of an experiment as an ensemble: those of each fold and seed, whose mean is the answer.

The members of different folds were trained without different people, and none has seen all clips. Their mean answers a
new clip, and their disagreement shows how much the answer depends on who was in the training data.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from merflow.errors import InputError
from merflow.evaluation.calibration import ValidationProbs, fit_temperature, temper
from merflow.inference.members import ClipNetwork, EndToEndGraphs, MemberGroup, SharedGraphs
from merflow.inference.packed import PackedWeights
from merflow.inference.settings import SIGNALS, EnsembleSettings, InputSettings
from merflow.learning.fit import repeatable
from merflow.runtime.devices import device
from merflow.storage.files import atomic_write
from merflow.storage.hdf5 import open_h5
from merflow.systems.clip_images import clip_image
from merflow.systems.clip_networks import make_network
from merflow.systems.saved_models import SavedModel, models_in, read_models
from merflow.systems.tsdgcn.fold_training import EndToEnd
from merflow.systems.tsdgcn.fusion import clip_signals
from merflow.systems.tsdgcn.graph import Graph
from merflow.systems.tsdgcn.graph_arrays import load_graph
from merflow.systems.tsdgcn.heads import StandardizedHead
from merflow.systems.tsdgcn.pretrain import load_network
from merflow.systems.tsdgcn.sgcn import SGCN


@dataclass(frozen=True)
class ClipArrays:
    """Clips as a cache holds them (:func:`merflow.preprocessing.cache.build_cache`).

    Attributes:
        spatial: uint8 ``[n, Ms, S, S]``.
        flow: float16 or float32 ``[n, Mt, 3 (u, v, strain), S, S]``, in pixels of the crop.
        apex_index: int ``[n]``, index of the apex among the key-frames.
    """

    spatial: np.ndarray
    flow: np.ndarray
    apex_index: np.ndarray

    @classmethod
    def of_cache(cls, path: str | Path, rows: Sequence[int] | np.ndarray | None = None) -> "ClipArrays":
        """Return some clips of a cache, in the order of ``rows``; all of them for None.

        Raises:
            InputError: the cache cannot be read.
        """
        with open_h5(path) as file:
            chosen = range(len(file["clip"])) if rows is None else rows
            names = ("spatial", "flow", "apex_index")
            return cls(*(np.stack([file[name][row] for row in chosen]) for name in names))

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.apex_index)

    def part(self, rows: slice | np.ndarray) -> "ClipArrays":
        """Return some of the clips."""
        return ClipArrays(self.spatial[rows], self.flow[rows], self.apex_index[rows])


class Ensemble:
    """The trained networks of an experiment.

    Attributes:
        metadata: content of ``ensemble.json`` (docs/contracts.md).
        results: folder that file names in ``metadata`` are relative to.
        classes: class names, in the order of all probabilities.
        input_settings: what the networks read of a clip.
        temperature: of the calibration.
        units: whether the classes are action units.
    """

    def __init__(self, metadata: Mapping[str, Any], results: Path) -> None:
        """Keep ``metadata``; networks are loaded when they are needed, once."""
        self.metadata, self.results = metadata, Path(results)
        self.input_settings = InputSettings(**metadata["reads"])
        self.classes: list[str] = list(metadata["classes"])
        self.temperature, self.units = float(metadata["temperature"]), bool(metadata.get("units", False))

    @property
    def networks(self) -> list["Ensemble"]:
        """This ensemble, as an ensemble of systems lists those of its members."""
        return [self]

    def members(self, clips: ClipArrays, calibrated: bool = True) -> np.ndarray:
        """Return the probabilities of each member, float64 ``[members, n, classes]``, in the order of ``metadata``.

        If ``calibrated``, the ensemble's temperature is applied to each member separately.

        Raises:
            InputError: the clips lack an input of the members, or a file of the ensemble is missing or damaged.
        """
        self._check(clips)
        rows = np.stack([clip_rows(self.input_settings, clips, index) for index in range(len(clips))])
        probs = np.concatenate([_apply(group, rows) for group in self.groups]).astype(np.float64)
        return temper(probs, self.temperature) if calibrated else probs

    def probabilities(self, clips: ClipArrays) -> np.ndarray:
        """Return the mean of the calibrated members, float64 ``[n, classes]``; raises as :meth:`members`."""
        mean: np.ndarray = self.members(clips).mean(axis=0)
        return mean

    @cached_property
    def groups(self) -> list[MemberGroup]:
        """The members in order: those of one seed together if they share its networks, otherwise each alone."""
        groups: list[MemberGroup] = []
        for name, members in groupby(self.metadata["members"], itemgetter("file")):
            path = self.results / name
            saved = read_models(path)
            for seed, of_seed in groupby(members, itemgetter("seed")):
                try:
                    groups += self._groups(seed, [saved[seed, member["fold"], member["member"]] for member in of_seed])
                except (KeyError, ValueError, RuntimeError) as error:  # Something is missing, or has other sizes.
                    message = f"{path} lacks the network of a fold ({error}); delete it and run again"
                    raise InputError(message) from error
        for group in groups:
            group.units = self.units
        return [group.to(device()).eval().requires_grad_(False) for group in groups]

    def subsample(self, count: int | None) -> "Ensemble":
        """Return an ensemble of ``count`` members, spread over folds and seeds; of all members for None."""
        members = self.metadata["members"]
        if count is None or count >= len(members):
            return self
        kept = np.linspace(0, len(members) - 1, count).round().astype(int) if count > 1 else [0]
        return self._of([members[n] for n in kept])

    def of_folds(self, folds: Collection[tuple[int, str]]) -> "Ensemble":
        """Return an ensemble of the members of some folds, given as (seed, fold); it may be empty."""
        return self._of([each for each in self.metadata["members"] if (each["seed"], each["fold"]) in folds])

    def _of(self, members: Sequence[Mapping[str, Any]]) -> "Ensemble":
        return Ensemble(dict(self.metadata) | {"members": members}, self.results)

    @cached_property
    def _graphs(self) -> dict[str, Graph]:
        names = [files["graph"] for networks in self.metadata["networks"].values() for files in networks]
        return {name: load_graph(self.results / name) for name in dict.fromkeys(names)}

    def _groups(self, seed: int, models: Sequence[SavedModel]) -> list[MemberGroup]:
        """Return the groups of some models of a seed."""
        files = self.metadata["networks"].get(str(seed), [])
        graphs = [self._graphs[network["graph"]] for network in files]
        if any("weights" in network for network in files):
            weights = [self.results / network["weights"] for network in files]
            networks = [load_network(*pair)[0] for pair in zip(weights, graphs, strict=True)]
            heads = [StandardizedHead(model.about["branch"], model.tensors) for model in models]
            return [SharedGraphs(networks, heads, self.input_settings, models[0].about["branch"])]
        return [self._graph_member(model, graphs) if graphs else self._clip_member(model) for model in models]

    def _graph_member(self, model: SavedModel, graphs: Sequence[Graph]) -> MemberGroup:
        """Return the SGCNs of one fold with their head."""
        networks = [
            SGCN.of_state(graph, _with_prefix(model.tensors, f"networks.{index}")) for index, graph in enumerate(graphs)
        ]
        head = _with_prefix(model.tensors, "head")
        if model.about["network"] == "sgcn-heads":
            branch = model.about["branch"]
            return SharedGraphs(networks, [StandardizedHead(branch, head)], self.input_settings, branch)
        hidden, inputs = head["weight_1"].shape
        rows = head["weight_2"].shape[1] // hidden
        unscaled = {"mean": torch.zeros(1, inputs), "scale": torch.ones(1, inputs)}
        images = rows * inputs // (len(networks) * networks[0].connected.out_features)
        network = EndToEnd(networks, StandardizedHead([0] * rows, head | unscaled).head, images)
        return EndToEndGraphs(network, _with_prefix(model.tensors, "centre"))

    def _clip_member(self, model: SavedModel) -> MemberGroup:
        """Return the network on clips of one fold."""
        centre, side = _with_prefix(model.tensors, "centre"), self.input_settings.side
        channels, pixels = centre["mean"].shape
        with repeatable(0):
            network = make_network(model.about["network"], len(self.classes), model.about["options"])
        network.load_state_dict(_with_prefix(model.tensors, "network"))
        frames = () if self.input_settings.kind == "flow-image" else (pixels // side**2,)
        return ClipNetwork(network, centre, (channels, *frames, side, side))

    def _check(self, clips: ClipArrays) -> None:
        """Raise InputError if the clips lack an input of the members."""
        needs = self.metadata["clip"]
        for name, array, side in (("key_frames", clips.spatial, "face_size"), ("flows", clips.flow, "size")):
            count, size, wanted = array.shape[1], array.shape[-1], needs.get(side)
            if name in needs and (count, size) != (needs[name], wanted):
                raise InputError(
                    f"experiment {self.metadata['experiment']} reads {needs[name]} {name.replace('_', '-')} of "
                    f"{wanted}x{wanted} pixels of each clip, and these have {count} of {size}x{size}; "
                    f"prepare them as {self.metadata['prep']!r} does"
                )


def clip_rows(settings: InputSettings, clips: ClipArrays, index: int) -> np.ndarray:
    """Return what the members read of one clip, float32 ``[rows, pixels]``."""
    source = {"spatial": clips.spatial, "flow": clips.flow}
    if settings.kind == SIGNALS:
        return clip_signals(source, index, settings.side, settings)[0]
    return clip_image(source, index, int(clips.apex_index[index]), settings.kind, settings.side)


@torch.no_grad()
def _apply(group: MemberGroup, rows: np.ndarray) -> np.ndarray:
    """Return the probabilities of a group's members, float32 ``[members, n, classes]``, batch by batch."""
    size = group.batch(rows.shape[1])
    with repeatable(0):
        batches = [torch.from_numpy(rows[first : first + size]) for first in range(0, len(rows), size)]
        return np.concatenate([group(batch.to(device())).cpu().numpy() for batch in batches], axis=1)


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``prefix.``, named without it."""
    return {key[len(prefix) + 1 :]: tensor for key, tensor in tensors.items() if key.startswith(f"{prefix}.")}


def load_ensemble(path: str | Path) -> Ensemble:
    """Return the ensemble of ``results/{study}/experiments/{experiment}/ensemble.json``.

    Raises:
        InputError: the file cannot be read, or is not an ensemble.
    """
    metadata, results = read_metadata(path)
    try:
        return Ensemble(metadata, results)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is not a valid ensemble file ({error}); delete it and run again") from error


def load_packed(folder: str | Path) -> Ensemble:
    """Return the ensemble of unpacked weights, after a check of every file.

    Raises:
        InputError: a file is missing, damaged, or was changed.
    """
    weights = PackedWeights.read(folder)
    weights.check()
    try:
        return Ensemble(weights.about, weights.folder)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{weights.folder} does not describe networks of merflow ({error}); unpack again") from error


def read_metadata(path: str | Path) -> tuple[Mapping[str, Any], Path]:
    """Return the content of an ``ensemble.json``, and the folder that its file names are relative to.

    Raises:
        InputError: the file cannot be read, or is not an ensemble.
    """
    path = Path(path)
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        if missing := [key for key in ("system", "classes", "members") if key not in metadata]:
            raise KeyError(missing[0])
        return metadata, path.absolute().parents[3]
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run the study first") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is not a valid ensemble file ({error}); delete it and run again") from error


def gather_ensemble(
    settings: EnsembleSettings,
    validation: Path,
    models: Sequence[Path],
    caches: Sequence[Path],
    output: Path,
    results: Path,
) -> None:
    """Write ``ensemble.json`` of an experiment: its members, and the temperature of all of them.

    ``validation`` has the probabilities of validation clips of all folds; ``models`` are the files of the trained
    networks. The first cache shows what a clip must have. File names are relative to ``results``.

    Raises:
        InputError: a file cannot be read, or no fold has a network.
    """
    members = [
        {key: model[key] for key in ("seed", "fold", "member")} | {"file": relative_to_results(file, results)}
        for file in models
        for model in models_in(file)
    ]
    if not members:
        raise InputError(f"experiment {settings.experiment}: no fold has a usable clip, so there is no network")
    probs = None if settings.units else ValidationProbs.read(validation, settings.classes)
    inputs = settings.input_settings
    with open_h5(caches[0]) as cache:
        clip = {"size": int(cache["flow"].shape[-1])}
        if inputs.kind == "key-frames" or "spatial" in inputs.branches:
            clip["key_frames"], clip["face_size"] = int(cache["spatial"].shape[1]), int(cache["spatial"].shape[-1])
        if inputs.kind.startswith("flow") or "temporal" in inputs.branches:
            clip["flows"] = int(cache["flow"].shape[1])
    metadata = asdict(settings)
    metadata["reads"] = metadata.pop("input_settings")
    metadata |= {
        "networks": {
            str(seed): [
                {name: relative_to_results(Path(file), results) for name, file in files.items()} for files in networks
            ]
            for seed, networks in settings.networks.items()
        },
        "temperature": fit_temperature(probs.probs, probs.labels) if probs else 1.0,
        "calibrated": bool(probs and len(probs.labels)),
        "validation_clips": probs.clips if probs else 0,
        "clip": clip,
        "members": members,
    }
    with atomic_write(output) as temporary:
        temporary.write_text(json.dumps(metadata, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def relative_to_results(file: Path, results: Path) -> str:
    """Return a file name as ``ensemble.json`` has it."""
    return file.absolute().relative_to(Path(results).absolute()).as_posix()
