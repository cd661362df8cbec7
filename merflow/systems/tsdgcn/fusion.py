"""Inputs of TSDGCN: features or signals of both branches, fused (Eq. 4 and 5)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from merflow.errors import InputError
from merflow.protocols.settings import ClipSettings
from merflow.storage.hdf5 import open_h5
from merflow.systems.samples import Samples, read_samples
from merflow.systems.settings import ROWS_PER_FLOW, SignalSettings
from merflow.systems.tsdgcn.signals import flow_signal, grey_signal, less_clip_mean


def fuse(branches: Mapping[str, np.ndarray], fusion: str, rows_per_flow: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Fuse the branches of clips (Eq. 5).

    Eq. 5 prints the branches side by side, with the dimensions of stacked rows. ``stack`` has these dimensions, Ms + Mt
    rows of the same width: each row of either branch is a sample of the head. ``clip`` has the same rows, but all rows
    of a clip are one sample. ``concat`` places row m of both branches side by side.

    Args:
        branches: ``spatial`` ``[clips, Ms, d]`` and/or ``temporal`` ``[clips, Mt * rows_per_flow, d]``.
        fusion: ``stack``, ``clip`` or ``concat``.
        rows_per_flow: rows of each flow image; for ``concat`` the spatial row is repeated beside each of them.

    Returns:
        float32 ``[clips, rows, features]``, and the branch of each row, int64 ``[rows]``: rows with the same number
        share their standardisation.

    Raises:
        InputError: ``concat`` of different numbers of key-frames and flow images.
    """
    parts = list(branches.values())
    if fusion != "concat":
        branch = np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])
        return np.concatenate(parts, axis=1), branch
    if len(parts) == 2:
        repeats = {"spatial": rows_per_flow, "temporal": 1}
        parts = [np.repeat(part, repeats[name], axis=1) for name, part in branches.items()]
        if parts[0].shape[1] != parts[1].shape[1]:
            raise InputError(
                f"fusion: concat needs as many key-frames as flow images, found {branches['spatial'].shape[1]} and "
                f"{branches['temporal'].shape[1] // rows_per_flow}; choose fusion: stack"
            )
    return np.concatenate(parts, axis=2), np.zeros(parts[0].shape[1], np.int64)


def relative_features(features: Tensor, inputs: SignalSettings, branch: Sequence[int] | np.ndarray) -> Tensor:
    """Return fused features ``[clips, rows, features]``, the spatial part less its clip's mean if ``inputs`` say so.

    ``branch``: of each row, as :func:`fuse` returned it.
    """
    if inputs.relative != "features" or "spatial" not in inputs.branches:
        return features
    concat, place = inputs.fusion == "concat", list(inputs.branches).index("spatial")
    if concat:
        parts = list(features.chunk(len(inputs.branches), dim=2))
        if len(parts) > 1 and features.shape[1] == ROWS_PER_FLOW[inputs.signal]:
            return features  # A single key-frame, repeated beside each row of its flow, stays as it is.
    else:
        parts = list(torch.split(features, np.bincount(branch).tolist(), dim=1))
    parts[place] = less_clip_mean(parts[place])
    return torch.cat(parts, dim=2 if concat else 1)


def load_features(
    files: Sequence[Sequence[str | Path]],
    clips: ClipSettings,
    inputs: SignalSettings,
) -> tuple[Samples, np.ndarray]:
    """Read and fuse the features of all labelled clips.

    Args:
        files: for each micro dataset the feature files of its one or two networks, whose features are concatenated
            (Eq. 4).
        clips: datasets and classes.
        inputs: the branches and how they are fused.

    Returns:
        Samples with rows in memory, and the branch of each row.

    Raises:
        InputError: files do not belong together, or lack what the branches need.
    """
    branch, paths = np.zeros(0, np.int64), [[Path(file) for file in group] for group in files]
    for group in paths:
        _check_feature_files(group, inputs.branches)

    def read_clip(files: Sequence[h5py.File], index: int) -> np.ndarray:
        nonlocal branch
        rows_of = {name: [file[name][index] for file in files] for name in inputs.branches}
        features = {name: np.concatenate(rows, axis=1)[None] for name, rows in rows_of.items()}
        rows, branch = fuse(features, inputs.fusion, int(files[0].attrs["rows_per_flow"]))
        return np.asarray(relative_features(torch.from_numpy(rows), inputs, branch)[0])

    return read_samples(paths, clips, read_clip, in_memory=True), branch


def _check_feature_files(files: Sequence[Path], branches: Sequence[str]) -> None:
    """Check that the files of the networks have the same clips, and features of each branch."""
    clips: list[tuple[str, str]] = []
    for path in files:
        try:
            with open_h5(path) as file:
                table = list(zip(file["clip"].asstr(), file["subject"].asstr(), strict=True))
                empty = [branch for branch in branches if not file[branch].shape[1]]
        except (OSError, KeyError) as error:
            raise InputError(f"{path} is not a feature file of merflow: {error}; delete it and run again") from error
        if empty:
            raise InputError(f"{path} has no {empty[0]} features; leave {empty[0]} out of `branches`")
        if clips and table != clips:
            raise InputError(f"{path} has other clips than {files[0]}; delete both and run again")
        clips = table


def load_signals(
    caches: Sequence[Path], clips: ClipSettings, settings: SignalSettings, side: int
) -> tuple[Samples, np.ndarray]:
    """Read labelled clips as signals on a graph.

    ``caches``: cache of each micro dataset; ``side``: side of the graph.

    Returns:
        Samples with rows ``[clips, rows, pixels]`` (images side by side for ``concat``) on the disk, and the branch of
        each row.

    Raises:
        InputError: a cache lacks what a branch needs, or the caches differ in their numbers of key-frames.
    """
    branch = np.zeros(0, np.int64)

    def read_clip(files: Sequence[h5py.File], index: int) -> np.ndarray:
        nonlocal branch
        (file,) = files
        for key in settings.branches:
            if not file["spatial" if key == "spatial" else "flow"].shape[1]:
                raise InputError(f"{file.filename} has nothing for the {key} branch; leave {key} out of `branches`")
        rows, branch = clip_signals(file, index, side, settings)
        return rows

    return read_samples([[path] for path in caches], clips, read_clip), branch


def clip_signals(
    source: Mapping[str, Any], index: int, side: int, settings: SignalSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Return the fused signals of one clip on a graph.

    ``source``: ``spatial, flow`` by name, an open cache or arrays; ``side``: side of the graph.

    Returns:
        float32 ``[rows, pixels]``, images side by side for ``concat``, and the branch of each row.
    """
    signals = {}
    for name in settings.branches:
        images = (
            grey_signal(source["spatial"][index], side)
            if name == "spatial"
            else flow_signal(source["flow"][index][None], side, settings.signal, settings.normalise)[0]
        )
        signals[name] = images.reshape(1, len(images), -1)
    if settings.relative == "pixels" and "spatial" in signals:
        signals["spatial"] = less_clip_mean(signals["spatial"])
    rows, branch = fuse(signals, settings.fusion, ROWS_PER_FLOW[settings.signal])
    return rows[0], branch


def image_fields(cache: Path, inputs: SignalSettings) -> list[str]:
    """Return what each image of :func:`clip_signals` shows (:class:`merflow.learning.augmentation.Augmentation`)."""
    with open_h5(cache) as file:
        counts = {"spatial": file["spatial"].shape[1], "temporal": file["flow"].shape[1]}
    of_flow = {"u+v": [["u"], ["v"]], "channels": [["u", "v", "strain"]]}.get(inputs.signal, [[inputs.signal]])
    of_branch = {"spatial": [["grey"]], "temporal": of_flow}
    names = {name: np.array(of_branch[name] * counts[name])[None] for name in inputs.branches}
    return [str(name) for name in fuse(names, inputs.fusion, ROWS_PER_FLOW[inputs.signal])[0].ravel()]
