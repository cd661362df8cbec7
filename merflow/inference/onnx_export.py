"""Export of trained systems: the whole calibrated ensemble of an experiment as one ONNX graph.

The graph takes clips as a cache holds them (aligned grey crops, flow, index of the apex) and does the rest:
resizing, signals, networks, heads, temperature, mean. It is compared with torch before it is written.
"""

import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnxruntime
import onnxscript  # noqa: F401 (used by torch.onnx, which does not require it)
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, DeduplicateInitializersPass
from torch import Tensor, nn

from merflow.errors import ConfigError, MerflowError
from merflow.evaluation.calibration import TINY
from merflow.inference.ensemble import ClipArrays, Ensemble
from merflow.inference.model_card import VERSIONS, clip_shapes, write_card
from merflow.inference.onnx_layers import ClipReader, exportable
from merflow.inference.settings import ExportSettings
from merflow.inference.system_ensemble import SystemEnsemble, load_systems
from merflow.learning.fit import repeatable
from merflow.storage.files import atomic_write
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import EXPORT_CHECK, write_table

log = logging.getLogger(__name__)

LIMIT = 1e-4
"""Largest allowed difference between a probability of the exported graph and torch's."""
OPSET = 20
MAX_BYTES = 2 * 10**9
"""Largest ONNX file: a protobuf message has at most 2 GiB."""
CHECKED_CLIPS = 256
"""Clips on which an export is compared with torch, in equal parts from the datasets."""
BATCH = 16
"""Clips of the comparison that are in memory together."""


class ExportedEnsemble(nn.Module):
    """A calibrated ensemble as one module, from clips to probabilities."""

    def __init__(self, ensemble: Ensemble) -> None:
        """Copy the networks of ``ensemble``.

        Raises:
            ConfigError: they are too large for a single file.
        """
        super().__init__()
        self.reader = ClipReader(ensemble.input_settings)
        self.inputs = self.reader.inputs
        self.temperature = ensemble.temperature
        self.groups = nn.ModuleList()
        size, members, experiment = 0, len(ensemble.metadata["members"]), ensemble.metadata["experiment"]
        for number, group in enumerate(ensemble.groups):
            self.groups.append(exportable(group))
            size += sum(tensor.nbytes for tensor in [*self.groups[-1].parameters(), *self.groups[-1].buffers()])
            if size > MAX_BYTES:
                raise ConfigError(
                    f"export.members: all {members} members of experiment {experiment} together are "
                    "larger than 2 GB, which one ONNX file cannot hold; set export: {members: "
                    f"{max(1, number * members // len(ensemble.groups))}}} or less"
                )

    def forward(self, *arrays: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``probabilities [n, classes]`` and ``members [members, n, classes]``."""
        rows = self.reader(*arrays)
        probs = torch.cat([group(rows) for group in self.groups])
        members = (probs.clamp(min=TINY).log() / self.temperature).softmax(dim=2)
        return members.mean(dim=0), members


class ExportedSystems(nn.Module):
    """An ensemble of systems as one module, from clips to probabilities."""

    def __init__(self, ensemble: SystemEnsemble) -> None:
        """Copy the networks of all members.

        Raises:
            ConfigError: they are too large for a single file.
        """
        super().__init__()
        self.systems = nn.ModuleList(ExportedEnsemble(system) for system in ensemble.networks)
        read = {name for system in self.systems for name in cast(ExportedEnsemble, system).inputs}
        self.inputs: list[str] = [name for name in ("spatial", "flow", "apex_index") if name in read]
        if sum(tensor.nbytes for tensor in [*self.parameters(), *self.buffers()]) > MAX_BYTES:
            raise ConfigError(
                f"export.members: the members of {ensemble.metadata['experiment']} together are larger than 2 GB, "
                "which one ONNX file cannot hold; set a number of networks of each member"
            )

    def forward(self, *arrays: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``probabilities [n, classes]`` and ``members [systems, n, classes]``."""
        clips = dict(zip(self.inputs, arrays, strict=True))
        members = torch.stack(
            [system(*(clips[name] for name in cast(ExportedEnsemble, system).inputs))[0] for system in self.systems]
        )
        return members.mean(dim=0), members


def to_onnx(ensemble: Ensemble | SystemEnsemble, clips: ClipArrays, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Return an ensemble as one ONNX graph for any number of clips; ``clips`` are examples of the shapes.

    The inputs are those of :attr:`ClipReader.inputs`, the outputs those of :class:`ExportedEnsemble` or
    :class:`ExportedSystems`, float32.

    Raises:
        ConfigError: the ensemble is too large for a single file.
        MerflowError: torch cannot export an operation.
    """
    module = ExportedEnsemble(ensemble) if isinstance(ensemble, Ensemble) else ExportedSystems(ensemble)
    inputs = module.inputs
    arrays = [torch.from_numpy(array) for array in model_inputs(inputs, clips).values()]
    model = export_module(module.eval(), arrays, inputs, ["probabilities", "members"])
    onnx.helper.set_model_props(model, dict(sorted(metadata.items())))
    return model


def export_module(
    module: nn.Module, arrays: Sequence[Tensor], inputs: list[str], outputs: list[str]
) -> onnx.ModelProto:
    """Return a module as an ONNX graph, with the length n of the arrays' first axis left open.

    Raises:
        MerflowError: torch cannot export an operation.
    """
    # At least two clips: with one, the exporter takes their number for a constant.
    examples = tuple(torch.cat([array, array])[: max(2, len(array))] for array in arrays)
    clips = torch.export.Dim("n")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), repeatable(0):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                examples,
                input_names=inputs,
                output_names=outputs,
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=(tuple({0: clips} for _ in examples),),
                optimize=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        last = str(error.__cause__ or error).strip().splitlines()[0]
        raise MerflowError(f"torch {version('torch')} cannot translate this system to ONNX: {last}") from error
    assert program is not None
    DeduplicateInitializersPass()(program.model)
    ClearMetadataAndDocStringPass()(program.model)  # Paths of source files.
    return program.model_proto


def model_inputs(names: Sequence[str], clips: ClipArrays) -> dict[str, np.ndarray]:
    """Return the inputs of a graph: ``spatial`` uint8, ``flow`` float32, ``apex_index`` int64."""
    types = {"spatial": np.uint8, "flow": np.float32, "apex_index": np.int64}
    return {name: np.ascontiguousarray(getattr(clips, name), types[name]) for name in names}


def export_onnx(
    ensemble: Path,
    caches: Sequence[Path],
    settings: ExportSettings,
    *,
    metrics: Path,
    calibration: Path,
    model: Path,
    card: Path,
    check: Path,
) -> None:
    """Write an experiment's calibrated ensemble as ONNX, with its comparison with torch and its model card.

    The inputs are ``ensemble.json``, and the ``caches``, ``metrics.csv`` and ``calibration.csv`` of the study; up to
    :data:`CHECKED_CLIPS` clips are used for the comparison. The outputs are ``model.onnx``, ``model_card.md`` and
    ``check.csv``.

    Raises:
        ConfigError: the ensemble is too large for a single file.
        MerflowError: onnxruntime and torch differ by more than :data:`LIMIT`.
    """
    complete = load_systems(ensemble)
    exported = complete.subsample(settings.members)
    experiment, networks = exported.metadata["experiment"], exported.networks
    members = [
        {"experiment": network.metadata["experiment"], **{key: member[key] for key in ("seed", "fold", "member")}}
        for network in networks
        for member in network.metadata["members"]
    ]
    temperatures = {network.metadata["experiment"]: network.temperature for network in networks}
    samples = list(_samples(caches))
    metadata = {
        "classes": json.dumps(exported.classes),
        "experiment": experiment,
        "system": exported.metadata["system"],
        "preparation": json.dumps(asdict(settings.preparation), sort_keys=True),
        "clip": json.dumps(clip_shapes(networks), sort_keys=True),
        "temperature": json.dumps(temperatures if len(networks) > 1 else networks[0].temperature),
        "members": json.dumps(members),
        "versions": json.dumps({name: version(name) for name in VERSIONS}, sort_keys=True),
        "license": "see model_card.md",
    }
    proto = to_onnx(exported, samples[0], metadata)
    log.info("%d operations, %d members", len(proto.graph.node), len(members))
    content = proto.SerializeToString(deterministic=True)
    differences = compare(content, exported, samples)
    clips = sum(map(len, samples))
    shared = {"clips": clips, "limit": LIMIT}
    rows = [shared | {"output": name, "greatest_difference": value} for name, value in differences.items()]
    if not max(differences.values()) <= LIMIT:
        listed = ", ".join(f"{name} by {value:.2g}" for name, value in differences.items())
        raise MerflowError(
            f"experiment {experiment}: onnxruntime {version('onnxruntime')} and torch {version('torch')} "
            f"differ over {clips} clips ({listed}; limit {LIMIT:g}); nothing was exported. Please report this"
        )
    with atomic_write(model) as temporary:
        temporary.write_bytes(content)
    write_table(rows, check, EXPORT_CHECK)
    count = sum(len(network.metadata["members"]) for network in complete.networks)
    write_card(exported, content, rows, settings, count, metrics, calibration, card)


def compare(content: bytes, ensemble: Ensemble | SystemEnsemble, samples: Iterable[ClipArrays]) -> dict[str, float]:
    """Return the largest differences of ``probabilities`` and ``members`` between onnxruntime and torch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = [array.name for array in session.get_inputs()]
    largest = {"probabilities": 0.0, "members": 0.0}
    for clips in samples:
        members = ensemble.members(clips)
        expected = {"probabilities": members.mean(axis=0), "members": members}
        outputs = session.run(list(largest), model_inputs(inputs, clips))
        for name, output in zip(largest, outputs, strict=True):
            difference = float(np.abs(output - expected[name]).max(initial=0))
            largest[name] = max(largest[name], float("inf") if np.isnan(difference) else difference)
    return largest


def _samples(caches: Sequence[Path]) -> Iterator[ClipArrays]:
    """Yield clips spread over each cache, a batch at a time."""
    for path in caches:
        with open_h5(path) as file:
            count = len(file["clip"])
        rows = np.unique(np.linspace(0, count - 1, min(CHECKED_CLIPS // len(caches), count)).round().astype(int))
        for first in range(0, len(rows), BATCH):
            yield ClipArrays.of_cache(path, rows[first : first + BATCH])
