"""The trained networks of an experiment as one: every fold and seed a member, their mean the answer.

No member saw all clips, and none of them is better than another: the folds' networks differ in who was left out. Their
mean answers a new clip, and how far they disagree tells how much hangs on who happened to be in the training part.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from merflow.errors import InputError
from merflow.evaluation.calibration import ValidationProbs, fit_temperature, temper
from merflow.learning.fit import repeatable
from merflow.runtime.devices import device
from merflow.storage.files import atomic_write
from merflow.storage.hdf5 import open_h5
from merflow.storage.weights import read_weights
from merflow.systems.clip_images import INPUT_KINDS, clip_image
from merflow.systems.clip_networks import make_network
from merflow.systems.tsdgcn.fold_training import EndToEnd
from merflow.systems.tsdgcn.fusion import clip_signals
from merflow.systems.tsdgcn.graph import Graph
from merflow.systems.tsdgcn.heads import SavedHead, heads_in, load_heads
from merflow.systems.tsdgcn.pretrain import load_network
from merflow.systems.tsdgcn.sgcn import SGCN
from merflow.systems.tsdgcn.signals import ROWS_PER_FLOW

SIGNALS = "signals"
"""What systems with graphs read; the others read one of :data:`merflow.systems.clip_images.INPUT_KINDS`."""
READ_AT_ONCE = 2**27
"""Bytes of what members read that are in memory together."""
IMAGES_AT_ONCE = 16
"""Pictures that go through graph networks together; with more of them a processor's cache overflows."""
CLIPS_AT_ONCE = 64
"""Clips that go through another network together."""
KEPT = 2**31
"""Bytes of networks that stay in memory from one call to the next; of larger ensembles, one part at a time."""


@dataclass(frozen=True)
class ClipArrays:
    """Clips as a cache holds them (:func:`merflow.preprocessing.cache.build_cache`).

    Attributes:
        spatial: uint8 ``[n, Ms, S, S]``.
        flow: float16 or float32 ``[n, Mt, 3 (u, v, strain), S, S]``, in pixels of the crop.
        apex_index: int ``[n]``, place of the apex among the key-frames.
    """

    spatial: np.ndarray
    flow: np.ndarray
    apex_index: np.ndarray

    @classmethod
    def of_cache(cls, path: str | Path, rows: Sequence[int] | np.ndarray | None = None) -> "ClipArrays":
        """The clips at some places of a cache, in this order; of all, without ``rows``.

        Raises:
            InputError: it cannot be read.
        """
        with open_h5(path) as file:
            places = np.arange(len(file["clip"])) if rows is None else np.asarray(rows, np.int64)
            return cls(*(_at(file[name], places) for name in ("spatial", "flow", "apex_index")))

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.apex_index)

    def part(self, places: slice | np.ndarray) -> "ClipArrays":
        """Those at some places."""
        return ClipArrays(self.spatial[places], self.flow[places], self.apex_index[places])


def _at(data: Any, places: np.ndarray) -> np.ndarray:
    """Rows of an HDF5 dataset in any order, one read each."""
    if not len(places):
        return np.zeros((0, *data.shape[1:]), data.dtype)
    return np.stack([data[int(place)] for place in places])


class Group(nn.Module):
    """Members that share what comes before them: the heads of a seed on its SGCNs, or one network alone.

    Its ``forward`` maps what the members read, float32 ``[n, rows, pixels]``, to their probabilities at temperature 1,
    float64 ``[members, n, classes]``.
    """

    members: int


class GraphGroup(Group):
    """SGCNs and heads on their features (Eq. 4 and 5)."""

    def __init__(self, networks: Sequence[SGCN], heads: Sequence[nn.Module]) -> None:
        """Join networks with heads from features ``[n, rows, features]`` to scores ``[n, rows, classes]``."""
        super().__init__()
        self.networks, self.heads, self.members = nn.ModuleList(networks), nn.ModuleList(heads), len(heads)
        self.pixels = networks[0].order.numel()

    def forward(self, rows: Tensor) -> Tensor:
        """As of every group."""
        pictures = rows.flatten(0, 1)
        found = []
        for part in pictures.split(IMAGES_AT_ONCE):
            pieces = part.split(self.pixels, dim=1)
            found.append(torch.cat([one.features(piece) for piece in pieces for one in self.networks], dim=1))
        features = torch.cat(found).unflatten(0, rows.shape[:2])
        return torch.stack([head(features).double().softmax(dim=2).mean(dim=1) for head in self.heads])


class EndToEndGroup(Group):
    """SGCNs that were trained inside a fold with their head, and the centring of what they read, if there is any."""

    members = 1

    def __init__(self, model: EndToEnd, centre: Mapping[str, Tensor]) -> None:
        """Join a network with its centring (:func:`merflow.learning.batches.centre_arrays`; may be empty)."""
        super().__init__()
        self.model = model
        self.register_buffer("mean", centre.get("mean"))
        self.register_buffer("divisor", centre.get("divisor"))

    def forward(self, rows: Tensor) -> Tensor:
        """As of every group."""
        if self.mean is not None:
            rows = (rows - self.mean) / self.divisor
        scores = torch.cat([self.model(part) for part in rows.flatten(0, 1).split(IMAGES_AT_ONCE)])
        return scores.double().softmax(dim=1).unflatten(0, rows.shape[:2]).mean(dim=1)[None]


class ClipGroup(Group):
    """A network that reads clips, and the centring of what it reads."""

    members = 1

    def __init__(self, model: nn.Module, centre: Mapping[str, Tensor], shape: tuple[int, ...]) -> None:
        """Join them; ``shape`` of what the network takes for one clip, ``[channels, (frames,) side, side]``."""
        super().__init__()
        self.model, self.shape = model, shape
        self.register_buffer("mean", centre["mean"])
        self.register_buffer("divisor", centre["divisor"])

    def forward(self, rows: Tensor) -> Tensor:
        """As of every group."""
        pictures = ((rows - self.mean) / self.divisor).reshape(-1, *self.shape)
        scores = torch.cat([self.model(part) for part in pictures.split(CLIPS_AT_ONCE)])
        return scores.double().softmax(dim=1)[None]


class Ensemble:
    """The trained networks of an experiment.

    Attributes:
        about: what ``ensemble.json`` says (docs/contracts.md).
        classes: class names, in the order of all answers.
        temperature: of the calibration.
    """

    def __init__(self, about: Mapping[str, Any], results: Path) -> None:
        """Of what ``ensemble.json`` says; its files lie in ``results``. Networks are loaded when they are asked."""
        self.about, self.results = about, Path(results)
        self.classes: list[str] = list(about["classes"])
        self.temperature = float(about["temperature"])
        self._kept: dict[int, Group] = {}

    def members(self, clips: ClipArrays, calibrated: bool = True) -> np.ndarray:
        """Probabilities of each member, float64 ``[members, n, classes]``; members are in the order of ``about``.

        ``calibrated``: at the temperature of the ensemble, each member by itself.

        Raises:
            InputError: the clips lack what the members read, or a file of the ensemble is missing or damaged.
        """
        self._check(clips)
        answers = np.zeros((len(self.about["members"]), len(clips), len(self.classes)))
        for first, rows in self._read(clips):
            done = 0
            for group in self.groups():
                own = slice(done, done + group.members)
                answers[own, first : first + len(rows)] = _answers(group, rows)
                done += group.members
        return temper(answers, self.temperature) if calibrated else answers

    def probabilities(self, clips: ClipArrays) -> np.ndarray:
        """The answer: mean of the calibrated members, float64 ``[n, classes]``; raises as :meth:`members`."""
        return self.members(clips).mean(axis=0)

    def groups(self) -> Iterator[Group]:
        """The members, those together that share networks, in their order."""
        for number, members in enumerate(self.parts):
            yield self._kept[number] if number in self._kept else self._load(number, members)

    def some(self, count: int | None) -> "Ensemble":
        """So many of the members, spread evenly over folds and seeds; all of them for None."""
        members = self.about["members"]
        if count is None or count >= len(members):
            return self
        kept = np.linspace(0, len(members) - 1, count).round().astype(int) if count > 1 else [0]
        return Ensemble(dict(self.about) | {"members": [members[n] for n in kept]}, self.results)

    @cached_property
    def parts(self) -> list[list[Mapping[str, Any]]]:
        """Members of each group: those of one seed where they share its networks, else each alone."""
        shared: dict[Any, list[Mapping[str, Any]]] = {}
        for number, member in enumerate(self.about["members"]):
            shared.setdefault(member["seed"] if self._frozen else number, []).append(member)
        return list(shared.values())

    @property
    def _frozen(self) -> bool:
        return any("weights" in one for networks in self.about["networks"].values() for one in networks)

    @cached_property
    def _heads(self) -> dict[tuple[int, str], SavedHead]:
        files = dict.fromkeys(member["file"] for member in self.about["members"])
        return {(head.seed, head.fold): head for file in files for head in load_heads(self.results / file)}

    @cached_property
    def _graphs(self) -> dict[str, Graph]:
        files = [one["graph"] for networks in self.about["networks"].values() for one in networks]
        return {file: Graph.load(self.results / file) for file in dict.fromkeys(files)}

    def _load(self, number: int, members: Sequence[Mapping[str, Any]]) -> Group:
        group = self._group(members).to(device()).eval().requires_grad_(False)
        size = sum(tensor.nbytes for tensor in [*group.parameters(), *group.buffers()])
        if size * len(self.parts) <= KEPT:
            self._kept[number] = group
        return group

    def _group(self, members: Sequence[Mapping[str, Any]]) -> Group:
        plans = self.about["networks"].get(str(members[0]["seed"]), [])
        graphs = [self._graphs[one["graph"]] for one in plans]
        if self._frozen:
            weights = [self.results / one["weights"] for one in plans]
            networks = [load_network(*pair)[0] for pair in zip(weights, graphs, strict=True)]
            return GraphGroup(networks, [self._heads[member["seed"], member["fold"]].network() for member in members])
        path = self.results / members[0]["file"]
        try:
            return self._alone(*read_weights(path), graphs)
        except (KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{path} holds no trained fold ({error}); delete it and run again") from error

    def _alone(self, metadata: Mapping[str, str], tensors: Mapping[str, Tensor], graphs: Sequence[Graph]) -> Group:
        """The network of one fold of its own."""
        centre = _below(tensors, "centre")
        if graphs:
            networks = []
            for place, graph in enumerate(graphs):
                state = _below(tensors, f"networks.{place}")
                networks.append(SGCN(graph, len(state["classifier.bias"])))
                networks[-1].load_state_dict(state)
            arrays = {name: tensor.numpy() for name, tensor in _below(tensors, "head").items()}
            if metadata["network"] == "sgcn-heads":
                head = SavedHead(0, "", np.array(json.loads(metadata["branch"]), np.int64), arrays)
                return GraphGroup(networks, [head.network()])
            nothing = {"mean": np.zeros((1, arrays["weight_1"].shape[1])), "scale": np.ones((1, 1))}
            head = SavedHead(0, "", np.zeros(1, np.int64), arrays | nothing).network().head
            images = arrays["weight_1"].shape[1] // (len(networks) * networks[0].connected.out_features)
            return EndToEndGroup(EndToEnd(networks, head, images), centre)
        side, channels = self.about["reads"]["side"], centre["mean"].shape[0]
        frames = centre["mean"].shape[1] // side**2
        with repeatable(0):
            model = make_network(metadata["network"], len(self.classes), json.loads(metadata["settings"]))
        model.load_state_dict(_below(tensors, "network"))
        flat = self.about["reads"]["kind"] == "flow-image"
        return ClipGroup(model, centre, (channels, side, side) if flat else (channels, frames, side, side))

    def _check(self, clips: ClipArrays) -> None:
        """Raise InputError where clips lack what the members read."""
        needs = self.about["clip"]
        found = {"key_frames": clips.spatial.shape[1], "flows": clips.flow.shape[1]}
        sizes = {"key_frames": clips.spatial.shape[-1], "flows": clips.flow.shape[-1]}
        for name in found.keys() & needs.keys():
            if (found[name], sizes[name]) != (needs[name], needs["size"]):
                raise InputError(
                    f"experiment {self.about['experiment']} reads {needs[name]} {name.replace('_', '-')} of "
                    f"{needs['size']}x{needs['size']} pixels of each clip, and these have {found[name]} of "
                    f"{sizes[name]}x{sizes[name]}; prepare them as {self.about['prep']!r} does"
                )

    def _read(self, clips: ClipArrays) -> Iterator[tuple[int, np.ndarray]]:
        """What members read, some clips at a time: the place of the first, and float32 ``[n, rows, pixels]``."""
        waiting: list[np.ndarray] = []
        first = 0
        for place in range(len(clips)):
            waiting.append(clip_rows(self.about["reads"], clips, place))
            if (len(waiting) + 1) * waiting[0].nbytes > READ_AT_ONCE:
                yield first, np.stack(waiting)
                first, waiting = place + 1, []
        if waiting:
            yield first, np.stack(waiting)


def clip_rows(reads: Mapping[str, Any], clips: ClipArrays, place: int) -> np.ndarray:
    """What the members read of one clip, float32 ``[rows, pixels]``; ``reads`` as in ``ensemble.json``."""
    source = {"spatial": clips.spatial, "flow": clips.flow}
    if reads["kind"] == SIGNALS:
        return clip_signals(source, place, *(reads[key] for key in ("side", "branches", "fusion", "signal")))[0]
    return clip_image(source, place, int(clips.apex_index[place]), reads["kind"], reads["side"])


@torch.no_grad()
def _answers(group: Group, rows: np.ndarray) -> np.ndarray:
    """Probabilities of a group's members."""
    with repeatable(0):
        return group(torch.from_numpy(rows).to(device())).cpu().numpy()


def _below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Those whose names begin with ``name.``, without it."""
    return {key[len(name) + 1 :]: tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}


def load_ensemble(path: str | Path) -> Ensemble:
    """The ensemble of ``results/{study}/experiments/{experiment}/ensemble.json``.

    Raises:
        InputError: the file cannot be read, or holds no ensemble.
    """
    path = Path(path)
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if wrong := [name for name, good in _parts(about).items() if not good]:
            raise ValueError(f"wrong: {', '.join(wrong)}")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run the study first") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} describes no ensemble ({error}); delete it and run again") from error
    return Ensemble(about, path.absolute().parents[3])


def _parts(about: Any) -> dict[str, bool]:
    """Whether each part of ``ensemble.json`` is what it must be; raises where one is missing or of another kind."""
    members, reads, clip = about["members"], about["reads"], about["clip"]
    networks = [one for of_seed in about["networks"].values() for one in of_seed]
    signals = reads["kind"] == SIGNALS
    return {
        "experiment, prep": _texts([about["experiment"], about["prep"]]),
        "classes": _texts(about["classes"]),
        "temperature": isinstance(about["temperature"], int | float) and 0 < about["temperature"] < 1e6,
        "members": isinstance(members, list)
        and len(members) > 0
        and all(isinstance(one["seed"], int) and _texts([one["fold"], one["file"]]) for one in members),
        "networks": all("graph" in one and _texts(list(one.values())) for one in networks)
        and (not signals or all(about["networks"].get(str(one["seed"])) for one in members)),
        "reads": isinstance(reads["side"], int)
        and 0 < reads["side"] < 10_000
        and (
            reads["fusion"] in ("stack", "concat")
            and reads["signal"] in ROWS_PER_FLOW
            and 0 < len(set(reads["branches"]) & {"spatial", "temporal"}) == len(reads["branches"])
            if signals
            else reads["kind"] in INPUT_KINDS
        ),
        "clip": all(isinstance(number, int) for number in clip.values()) and "size" in clip,
    }


def _texts(names: Any) -> bool:
    return isinstance(names, list) and len(names) > 0 and all(isinstance(name, str) for name in names)


def gather_ensemble(
    settings: Mapping[str, Any],
    validation: Path,
    models: Sequence[Mapping[str, Any]],
    caches: Sequence[Path],
    output: Path,
    results: Path,
) -> None:
    """Write ``ensemble.json`` of an experiment: its members, and the temperature of all of them.

    Args:
        settings: ``experiment, system, classes, prep, micro, macro, protocol, reads, networks`` (for each seed the
            files of each SGCN, ``graph`` and, if they are shared by all folds, ``weights``).
        validation: answers for validation clips, of all folds.
        models: ``seed, fold, file`` of each fold; a file of several folds, such as ``heads.safetensors``, says itself
            which (without ``fold``).
        caches: of the experiment's datasets; the first one tells what each clip has to offer.
        output: the file.
        results: folder that the files in it are named from.

    Raises:
        InputError: no fold has a network.
    """
    members = []
    for model in models:
        path = Path(model["file"])
        file = _relative(path, results)
        if "fold" not in model:
            members += [{"seed": seed, "fold": fold, "file": file} for seed, fold in heads_in(path)]
        elif read_weights(path, arrays=False)[0].get("network") != "none":
            members.append({"seed": model["seed"], "fold": model["fold"], "file": file})
    if not members:
        raise InputError(f"experiment {settings['experiment']}: no fold has a clip that came through, hence no network")
    val_probs = ValidationProbs.read(validation, settings["classes"])
    reads = settings["reads"]
    with open_h5(caches[0]) as file:
        clip = {"size": int(file["flow"].shape[-1])}
        if reads["kind"] == "key-frames" or "spatial" in reads.get("branches", []):
            clip["key_frames"] = int(file["spatial"].shape[1])
        if reads["kind"] in ("flow-image", "flows") or "temporal" in reads.get("branches", []):
            clip["flows"] = int(file["flow"].shape[1])
    about = dict(settings) | {
        "networks": {
            str(seed): [{name: _relative(Path(file), results) for name, file in one.items()} for one in networks]
            for seed, networks in settings["networks"].items()
        },
        "temperature": fit_temperature(val_probs.probs, val_probs.labels),
        "calibrated": bool(len(val_probs.labels)),
        "validation_clips": val_probs.clips,
        "clip": clip,
        "members": members,
    }
    with atomic_write(output) as temporary:
        temporary.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _relative(file: Path, results: Path) -> str:
    return file.absolute().relative_to(Path(results).absolute()).as_posix()
