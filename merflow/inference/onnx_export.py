"""Trained systems for other programs: the whole calibrated ensemble of an experiment as one ONNX graph.

The graph takes clips as a cache holds them (aligned grey crops, TV-L1 flow, the place of the apex) and does all the
rest: resizing, signals, networks, heads, temperature, mean. It is checked against torch before it is written.
"""

import copy
import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxscript  # noqa: F401 (torch.onnx translates with it, and does not ask for it)
import torch
from torch import Tensor, nn
from torch.nn import functional

from merflow.errors import ConfigError, MerflowError
from merflow.evaluation.calibration import TINY
from merflow.inference.ensemble import (
    SIGNALS,
    ClipArrays,
    ClipGroup,
    EndToEndGroup,
    Ensemble,
    GraphGroup,
    Group,
    load_ensemble,
)
from merflow.inference.model_card import VERSIONS, write_card
from merflow.learning.fit import repeatable
from merflow.preprocessing.resize import area_weights
from merflow.storage.files import atomic_write
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import EXPORT_CHECK, write_table
from merflow.systems.tsdgcn.heads import StandardizedHead
from merflow.systems.tsdgcn.sgcn import SGCN, ChebyshevLayer
from merflow.systems.tsdgcn.signals import FLAT, UNIT

log = logging.getLogger(__name__)

LIMIT = 1e-4
"""Greatest difference between a probability of the exported graph and torch's."""
OPSET = 20
LARGEST = 2 * 10**9
"""Bytes of an ONNX file: one message of protobuf has no more than 2 GiB."""
DENSE = 2**21
"""Entries of a Laplacian that is exported as a dense matrix, 8 MB at most; larger ones are neighbours to gather."""
CHECKED = 256
"""Clips that an export is checked on, spread over the datasets."""
AT_ONCE = 16
"""Clips of the check that are in memory together."""


class Reader(nn.Module):
    """What members read of clips (:func:`merflow.inference.ensemble.clip_rows`), as a part of the graph."""

    def __init__(self, reads: Mapping[str, Any], size: int) -> None:
        """``reads`` as in ``ensemble.json``; ``size`` of the crops."""
        super().__init__()
        self.reads, self.size, self.side = reads, size, reads["side"]
        self.kind = reads["kind"]
        weights = torch.eye(size) if size == self.side else torch.from_numpy(area_weights(size, self.side))
        self.register_buffer("weights", weights)

    @property
    def inputs(self) -> list[str]:
        """Names of what is read: ``spatial, flow, apex_index`` or some of them."""
        grey = self.kind == "key-frames" or "spatial" in self.reads.get("branches", ())
        flow = self.kind in ("flow-image", "flows") or "temporal" in self.reads.get("branches", ())
        return ["spatial"] * grey + ["flow"] * flow + ["apex_index"] * (self.kind == "flow-image")

    def small(self, images: Tensor) -> Tensor:
        """Images ``[..., S, S]`` at the side of the networks, by area."""
        images = images.float()
        return images if self.size == self.side else self.weights @ images @ self.weights.T

    def grey(self, spatial: Tensor) -> Tensor:
        """:func:`merflow.systems.tsdgcn.signals.grey_signal`."""
        small = self.small(spatial) / 255
        small = small - small.mean(dim=(-2, -1), keepdim=True)
        deviation = small.square().mean(dim=(-2, -1), keepdim=True).sqrt()
        return small / deviation.clamp(min=FLAT)

    def motion(self, flow: Tensor) -> Tensor:
        """:func:`merflow.systems.tsdgcn.signals.flow_signal`, ``[n, rows, pixels]``."""
        small = self.small(flow)
        if self.reads["signal"] == "strain":
            return small[:, :, 2].flatten(2) / UNIT
        motion = small[:, :, :2] / (UNIT * self.size)
        if self.reads["signal"] == "magnitude":
            return motion.square().sum(dim=2).sqrt().flatten(2)
        return motion.flatten(1, 2).flatten(2)

    def forward(self, given: Mapping[str, Tensor]) -> Tensor:
        """Clips by the names of :attr:`inputs` to ``[n, rows, pixels]``."""
        if self.kind == SIGNALS:
            return self.signals(given)
        if self.kind == "key-frames":
            frames = self.grey(given["spatial"])
            still = frames.mean(dim=1, keepdim=True) if frames.shape[1] > 1 else 0
            return (frames - still).flatten(1).unsqueeze(1)
        if self.kind == "flows":
            return self.small(given["flow"]).transpose(1, 2).flatten(2)
        places = given["apex_index"].view(-1, 1, 1, 1, 1)
        # The frame at the apex: all others times zero. A gather by two indices is what fewer runtimes have.
        chosen = (torch.arange(given["flow"].shape[1], device=places.device).view(1, -1, 1, 1, 1) == places).float()
        return self.small((given["flow"].float() * chosen).sum(dim=1)).flatten(2)

    def signals(self, given: Mapping[str, Tensor]) -> Tensor:
        """:func:`merflow.systems.tsdgcn.fusion.clip_signals`."""
        parts = {}
        if "spatial" in given:
            parts["spatial"] = self.grey(given["spatial"]).flatten(2)
        if "flow" in given:
            parts["temporal"] = self.motion(given["flow"])
        found = [parts[branch] for branch in self.reads["branches"]]
        if self.reads["fusion"] == "stack" or len(found) == 1:
            return torch.cat(found, dim=1)
        if self.reads["signal"] == "u+v":  # The spatial row stands beside u and beside v.
            grey = parts["spatial"].unsqueeze(2).expand(-1, -1, 2, -1).flatten(1, 2)
            found = [grey if branch == "spatial" else parts[branch] for branch in self.reads["branches"]]
        return torch.cat(found, dim=2)


class PlainLayer(nn.Module):
    """:class:`merflow.systems.tsdgcn.sgcn.ChebyshevLayer` in operations that ONNX has; ``[images, nodes, channels]``.

    A small Laplacian is a dense matrix. A large one has few entries in a row: each node gathers its neighbours, padded
    to the largest number of them with weights of zero.
    """

    def __init__(self, layer: ChebyshevLayer) -> None:
        """The same layer; its weights are shared."""
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        starts, columns, values = (part.cpu().numpy() for part in layer.laplacian)
        nodes, ends = len(starts), np.append(starts[1:], len(columns))
        row = np.repeat(np.arange(nodes), ends - starts)
        self.dense = nodes**2 <= DENSE
        if self.dense:
            matrix = np.zeros((nodes, nodes), np.float32)
            matrix[row, columns] = values
            self.register_buffer("matrix", torch.from_numpy(matrix))
        else:
            width = int((ends - starts).max())
            neighbours, shares = np.zeros((nodes, width), np.int64), np.zeros((nodes, width, 1), np.float32)
            place = np.arange(len(columns)) - np.repeat(starts, ends - starts)
            neighbours[row, place], shares[row, place, 0] = columns, values
            self.register_buffer("neighbours", torch.from_numpy(neighbours).flatten())
            self.register_buffer("shares", torch.from_numpy(shares))
        self.united = layer.pool.shape[1]
        self.register_buffer("pool", layer.pool.cpu().flatten())

    def times(self, x: Tensor) -> Tensor:
        """The product of the Laplacian with ``x``."""
        if self.dense:
            return self.matrix @ x
        gathered = x.index_select(1, self.neighbours).unflatten(1, (self.shares.shape[0], self.shares.shape[1]))
        return (gathered * self.shares).sum(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """``[images, nodes, inputs]`` to ``[images, coarse nodes, outputs]``."""
        before, last = x, self.times(x)
        y = before @ self.weight[0] + last @ self.weight[1]
        for k in range(2, len(self.weight)):
            before, last = last, 2 * self.times(last) - before
            y = y + last @ self.weight[k]
        children = y.index_select(1, self.pool).unflatten(1, (-1, self.united))
        return functional.relu(children.amax(dim=2) + self.bias)


class PlainSGCN(nn.Module):
    """The features of an SGCN (:meth:`merflow.systems.tsdgcn.sgcn.SGCN.features`) in operations that ONNX has."""

    def __init__(self, network: SGCN) -> None:
        """The same network; its weights are shared."""
        super().__init__()
        self.layers = nn.ModuleList(map(PlainLayer, network.layers))
        self.connected = network.connected
        self.register_buffer("order", network.order.cpu())

    def forward(self, x: Tensor) -> Tensor:
        """``[images, pixels]`` to ``[images, hidden]``."""
        signal = x.index_select(1, self.order).unsqueeze(2)
        for layer in self.layers:
            signal = layer(signal)
        return functional.relu(self.connected(signal.flatten(1)))


class PlainHeads(nn.Module):
    """The heads of one seed side by side: one product for all of them."""

    def __init__(self, heads: Sequence[StandardizedHead]) -> None:
        """Stack heads of one shape."""
        super().__init__()
        arrays = [[head.mean, head.scale, *head.head.parameters()] for head in heads]
        mean, scale, first, first_bias, second, second_bias = (
            torch.stack(list(one)) for one in zip(*arrays, strict=True)
        )
        tensors = {"mean": mean.unsqueeze(1), "scale": scale.unsqueeze(1), "first": first.mT.unsqueeze(1)}
        tensors |= {"first_bias": first_bias[:, None, None], "second": second.mT.unsqueeze(1)}
        for name, tensor in (tensors | {"second_bias": second_bias[:, None, None]}).items():
            self.register_buffer(name, tensor.detach().clone())

    def forward(self, rows: Tensor) -> Tensor:
        """Features ``[n, rows, features]`` to probabilities ``[heads, n, classes]``."""
        standard = (rows.unsqueeze(0) - self.mean) / self.scale
        hidden = functional.relu(standard @ self.first + self.first_bias)
        return (hidden @ self.second + self.second_bias).softmax(dim=3).mean(dim=2)


class PlainGraphs(nn.Module):
    """:class:`merflow.inference.ensemble.GraphGroup` or :class:`merflow.inference.ensemble.EndToEndGroup`."""

    def __init__(self, group: GraphGroup | EndToEndGroup) -> None:
        """The same group."""
        super().__init__()
        alone = isinstance(group, EndToEndGroup)
        networks = group.model.networks if alone else group.networks
        self.networks, self.pixels = nn.ModuleList(map(PlainSGCN, networks)), networks[0].order.numel()
        self.head = group.model.head if alone else PlainHeads(list(group.heads))
        self.alone = alone
        self.register_buffer("centre_mean", group.mean if alone else None)
        self.register_buffer("centre_divisor", group.divisor if alone else None)

    def forward(self, rows: Tensor) -> Tensor:
        """``[n, rows, pixels]`` to probabilities ``[members, n, classes]``."""
        if self.centre_mean is not None:
            rows = (rows - self.centre_mean) / self.centre_divisor
        pieces = rows.flatten(0, 1).split(self.pixels, dim=1)
        features = torch.cat([one(piece) for piece in pieces for one in self.networks], dim=1)
        if self.alone:
            chances = self.head(features).softmax(dim=1)
            return chances.unflatten(0, (-1, rows.shape[1])).mean(dim=1).unsqueeze(0)
        return self.head(features.unflatten(0, (-1, rows.shape[1])))


class PlainClips(nn.Module):
    """:class:`merflow.inference.ensemble.ClipGroup`."""

    def __init__(self, group: ClipGroup) -> None:
        """The same network."""
        super().__init__()
        self.model, self.shape = group.model, group.shape
        self.register_buffer("centre_mean", group.mean)
        self.register_buffer("centre_divisor", group.divisor)

    def forward(self, rows: Tensor) -> Tensor:
        """``[n, rows, pixels]`` to probabilities ``[1, n, classes]``."""
        return (
            self.model(((rows - self.centre_mean) / self.centre_divisor).unflatten(2, self.shape[1:]))
            .softmax(dim=1)
            .unsqueeze(0)
        )


def plain(group: Group) -> nn.Module:
    """A group of members in operations that ONNX has: ``[n, rows, pixels]`` to ``[members, n, classes]``."""
    group = copy.deepcopy(group).cpu()  # The ensemble's own may be on a GPU, and answers there.
    return (PlainClips(group) if isinstance(group, ClipGroup) else PlainGraphs(group)).eval()


def to_onnx(ensemble: Ensemble, clips: ClipArrays, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """A calibrated ensemble as one ONNX graph.

    Torch translates the part that reads clips, and of members that differ in their numbers only the first. The others
    are copies of its operations with numbers of their own: the time does not grow with the folds.

    Args:
        ensemble: with all its members.
        clips: one or more, for their shapes.
        metadata: texts that stand in the file.

    Returns:
        A graph with the inputs of :attr:`Reader.inputs`, of any number n of clips, and the outputs ``probabilities [n,
        classes]`` and ``members [members, n, classes]``, float32.

    Raises:
        ConfigError: the ensemble is too large for one file.
    """
    reader = Reader(ensemble.about["reads"], ensemble.about["clip"]["size"]).eval()
    given = given_to(reader.inputs, clips)
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    with torch.no_grad():
        rows = reader(tensors)
    parts = Parts()
    parts.add(_translated(_Named(reader), tuple(tensors.values()), reader.inputs, "rows"), {}, "reader", "rows")
    templates: dict[tuple, onnx.ModelProto] = {}
    chances = []
    for number, group in enumerate(ensemble.groups()):
        module = plain(group)
        numbers = _numbers(module)
        shape = tuple((name, tuple(tensor.shape)) for name, tensor in numbers.items())
        if shape not in templates:
            templates[shape] = _translated(module, (rows,), ["rows"], "chances")
        chances.append(f"chances_{number}")
        parts.add(templates[shape], numbers, f"group_{number}", chances[-1])
        if parts.size > LARGEST:
            raise ConfigError(
                f"export.members: all {len(ensemble.about['members'])} members of experiment "
                f"{ensemble.about['experiment']} together are larger than 2 GB, which one ONNX file cannot hold; set "
                f"export: {{members: {max(1, number * len(ensemble.about['members']) // len(ensemble.parts))}}} or less"
            )
    return parts.model(chances, ensemble, given, metadata)


class _Named(nn.Module):
    """A reader that takes its inputs one by one."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, *given: Tensor) -> Tensor:
        return self.reader(dict(zip(self.reader.inputs, given, strict=True)))


def _numbers(module: nn.Module) -> dict[str, np.ndarray]:
    """Every array of a module, by name."""
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def _translated(module: nn.Module, given: tuple[Tensor, ...], inputs: list[str], output: str) -> onnx.ModelProto:
    """One module as torch's exporter translates it, with the number of clips left open."""
    clips = torch.export.Dim("n")
    told = {"input_names": inputs, "output_names": [output], "opset_version": OPSET, "verbose": False}
    # Two clips at least: with one, the exporter takes their number for a constant.
    given = tuple(torch.cat([one, one])[: max(2, len(one))] for one in given)
    shapes = (tuple({0: clips} for _ in given),) if isinstance(module, _Named) else ({0: clips},)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), repeatable(0), translatable():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(module, given, dynamo=True, optimize=False, dynamic_shapes=shapes, **told)
    except torch.onnx.OnnxExporterError as error:
        last = str(error.__cause__ or error).strip().splitlines()[0]
        raise MerflowError(f"torch {version('torch')} cannot translate this system to ONNX: {last}") from error
    return program.model_proto


@contextmanager
def translatable() -> Iterator[None]:
    """Let operations that torch does not translate to ONNX, or wrongly, be done by others.

    Averages on a grid are products with matrices, as those of three axes are not translated at all. Convolutions of
    three axes without a bias have one of zeros, as torch 2.13 would give them one of two axes, which no runtime takes.
    """
    pools = ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
    usual = {name: getattr(functional, name) for name in (*pools, "conv3d")}

    def conv3d(x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any) -> Tensor:
        return usual["conv3d"](x, weight, weight.new_zeros(len(weight)) if bias is None else bias, *rest)

    try:
        for axes, name in enumerate(pools, 1):
            setattr(functional, name, partial(averages, axes=axes))
        functional.conv3d = conv3d
        yield
    finally:
        for name, function in usual.items():
            setattr(functional, name, function)


def averages(x: Tensor, output_size: int | Sequence[int | None], axes: int) -> Tensor:
    """Adaptive average pooling of the last ``axes`` axes, as torch divides them into a grid."""
    sizes = [output_size] * axes if isinstance(output_size, int) else list(output_size)
    for place, size in zip(range(-axes, 0), sizes, strict=True):
        own = x.shape[place]
        cells = own if size is None else size
        shares = np.zeros((own, cells), np.float32)
        for cell in range(cells):
            begin, end = cell * own // cells, -(-(cell + 1) * own // cells)
            shares[begin:end, cell] = 1 / (end - begin)
        x = (x.movedim(place, -1) @ torch.from_numpy(shares)).movedim(-1, place)
    return x


class Parts:
    """Operations and arrays of a graph that is put together; equal arrays are kept once."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, onnx.TensorProto] = {}
        self._known: dict[bytes, str] = {}
        self.size, self.imports, self.version = 0, {}, 0

    def add(self, template: onnx.ModelProto, numbers: Mapping[str, np.ndarray], prefix: str, output: str) -> None:
        """Add the operations of ``template`` with other ``numbers`` in place of its own, by the names of its arrays.

        What they compute is called ``output``; inputs of the template keep their names.
        """
        graph = template.graph
        names = {one.name: one.name for one in graph.input} | {"": "", graph.output[0].name: output}
        for array in graph.initializer:
            own = onnx.numpy_helper.from_array(numbers[array.name]) if array.name in numbers else array
            names[array.name] = self._keep(own, f"{prefix}/{array.name}")
        for node in graph.node:
            new = onnx.NodeProto()
            new.CopyFrom(node)
            for field in ("metadata_props", "doc_string"):  # Where the code lay, line by line.
                new.ClearField(field)
            new.name = f"{prefix}/{node.name}"
            new.input[:] = [names[name] for name in node.input]
            new.output[:] = [names.setdefault(name, f"{prefix}/{name}") for name in node.output]
            self.nodes.append(new)
        self.imports |= {one.domain: max(one.version, self.imports.get(one.domain, 0)) for one in template.opset_import}
        self.version = max(self.version, template.ir_version)

    def _keep(self, array: onnx.TensorProto, name: str) -> str:
        content = onnx.numpy_helper.to_array(array)
        known = sha256(f"{content.dtype} {content.shape} ".encode() + content.tobytes()).digest()
        if known not in self._known:
            self.arrays[name] = onnx.numpy_helper.from_array(content, name)
            self._known[known], self.size = name, self.size + content.nbytes
        return self._known[known]

    def model(
        self, chances: Sequence[str], ensemble: Ensemble, given: Mapping[str, np.ndarray], metadata: Mapping[str, str]
    ) -> onnx.ModelProto:
        """The graph: all parts, then temperature and mean."""
        helper = onnx.helper
        constants = {"tiny": np.float32(TINY), "temperature": np.float32(ensemble.temperature), "first": np.array([0])}
        for name, value in constants.items():
            self.arrays[name] = onnx.numpy_helper.from_array(np.asarray(value), name)
        tail = [
            helper.make_node("Concat", list(chances), ["raw"], name="members_together", axis=0),
            helper.make_node("Max", ["raw", "tiny"], ["above_zero"], name="above_zero"),
            helper.make_node("Log", ["above_zero"], ["logarithms"], name="logarithms"),
            helper.make_node("Div", ["logarithms", "temperature"], ["tempered"], name="tempered"),
            helper.make_node("Softmax", ["tempered"], ["members"], name="members", axis=2),
            helper.make_node("ReduceMean", ["members", "first"], ["probabilities"], name="mean", keepdims=0),
        ]
        kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in given.items()}
        classes = len(ensemble.classes)
        graph = helper.make_graph(
            self.nodes + tail,
            "merflow",
            [helper.make_tensor_value_info(name, kinds[name], ["n", *given[name].shape[1:]]) for name in given],
            [
                helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["n", classes]),
                helper.make_tensor_value_info(
                    "members", onnx.TensorProto.FLOAT, [len(ensemble.about["members"]), "n", classes]
                ),
            ],
            list(self.arrays.values()),
        )
        imports = [helper.make_opsetid(domain, number) for domain, number in sorted(self.imports.items())]
        model = helper.make_model(graph, opset_imports=imports, ir_version=self.version, producer_name="merflow")
        helper.set_model_props(model, dict(sorted(metadata.items())))
        return model


def given_to(inputs: Sequence[str], clips: ClipArrays) -> dict[str, np.ndarray]:
    """The arrays that a graph takes: ``spatial`` uint8, ``flow`` float32, ``apex_index`` int64."""
    kinds = {"spatial": np.uint8, "flow": np.float32, "apex_index": np.int64}
    return {name: np.ascontiguousarray(getattr(clips, name), kinds[name]) for name in inputs}


def export_onnx(
    ensemble: Path, caches: Sequence[Path], settings: Mapping[str, Any], *, model: Path, card: Path, check: Path
) -> None:
    """Write an experiment's calibrated ensemble as ONNX, with its check against torch and its card.

    Args:
        ensemble: ``ensemble.json``.
        caches: clips of the study, which the check is made on; up to :data:`CHECKED`, spread over all of them.
        settings: ``members`` (so many of the ensemble, spread over folds and seeds; None: all), and what
            :func:`merflow.inference.model_card.write_card` is told.
        model: output, ``model.onnx``.
        card: output, ``model_card.md``.
        check: output, the greatest differences.

    Raises:
        ConfigError: the ensemble is too large for one file.
        MerflowError: onnxruntime and torch differ by more than :data:`LIMIT`.
    """
    whole_one = load_ensemble(ensemble)
    chosen = whole_one.some(settings["members"])
    samples = list(_samples(caches))
    about = chosen.about
    metadata = {
        "classes": json.dumps(chosen.classes),
        "experiment": about["experiment"],
        "system": about["system"],
        "preparation": json.dumps(settings["preparation"], sort_keys=True),
        "clip": json.dumps(about["clip"], sort_keys=True),
        "temperature": repr(chosen.temperature),
        "members": json.dumps([{key: one[key] for key in ("seed", "fold")} for one in about["members"]]),
        "versions": json.dumps({name: version(name) for name in VERSIONS}, sort_keys=True),
        "license": "see model_card.md",
    }
    made = to_onnx(chosen, samples[0], metadata)
    log.info("%d operations, %d members", len(made.graph.node), len(about["members"]))
    content = made.SerializeToString(deterministic=True)
    differences = compare(content, chosen, samples)
    clips = sum(map(len, samples))
    rows = [
        {"output": name, "clips": clips, "greatest_difference": value, "limit": LIMIT}
        for name, value in differences.items()
    ]
    if not max(differences.values()) <= LIMIT:
        told = ", ".join(f"{name} by {value:.2g}" for name, value in differences.items())
        raise MerflowError(
            f"experiment {about['experiment']}: onnxruntime {version('onnxruntime')} and torch {version('torch')} "
            f"differ over {clips} clips ({told}; limit {LIMIT:g}); nothing was exported. Please report it so"
        )
    with atomic_write(model) as temporary:
        temporary.write_bytes(content)
    write_table(rows, check, EXPORT_CHECK)
    write_card(chosen, content, rows, dict(settings) | {"all_members": len(whole_one.about["members"])}, card)


def compare(content: bytes, ensemble: Ensemble, samples: Iterable[ClipArrays]) -> dict[str, float]:
    """Greatest differences of ``probabilities`` and ``members`` between onnxruntime and torch over some clips."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = [one.name for one in session.get_inputs()]
    found = {"probabilities": 0.0, "members": 0.0}
    for clips in samples:
        expected = ensemble.members(clips)
        answers = session.run(["probabilities", "members"], given_to(inputs, clips))
        for name, answer, own in zip(found, answers, (expected.mean(axis=0), expected), strict=True):
            apart = np.abs(answer - own).max(initial=0)
            found[name] = max(found[name], float("inf") if np.isnan(apart) else float(apart))
    return found


def _samples(caches: Sequence[Path]) -> Iterator[ClipArrays]:
    """Clips of some caches, a few at a time."""
    places = []
    for path in caches:
        with open_h5(path) as file:
            places += [(path, n) for n in range(len(file["clip"]))]
    kept = np.unique(np.linspace(0, len(places) - 1, min(CHECKED, len(places))).round().astype(int))
    for path in caches:
        own = [places[n][1] for n in kept if places[n][0] == path]
        for first in range(0, len(own), AT_ONCE):
            yield ClipArrays.of_cache(path, own[first : first + AT_ONCE])
