"""Features of both branches: what a pre-trained SGCN makes of key-frames and of optical flow (Fig. 4 and 5)."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from merflow.errors import ConfigError, InputError
from merflow.learning.fit import repeatable
from merflow.runtime.devices import device
from merflow.storage.files import atomic_write
from merflow.storage.hdf5 import open_h5
from merflow.systems.tsdgcn.graph import Graph
from merflow.systems.tsdgcn.pretrain import load_network
from merflow.systems.tsdgcn.signals import ROWS_PER_FLOW, flow_signal, grey_signal

log = logging.getLogger(__name__)

CLIPS_AT_ONCE = 8
"""Clips that go through the network together; the memory needed does not grow with the dataset."""


def extract(cache: Path, weights: Path, graph: Path, output: Path, settings: Mapping[str, Any]) -> None:
    """Write the outputs of the fully connected layer (X^fc of Eq. 4) for every clip of a dataset.

    Args:
        cache: micro dataset.
        weights: pre-trained network.
        graph: its graph.
        output: HDF5: ``clip, subject, label`` (text), ``spatial`` float32 ``[n, Ms, 512]``, ``temporal`` float32
            ``[n, Mt * r, 512]`` with r rows per flow image (2 for ``u+v``: first u, then v, flow by flow); attributes
            ``dataset, classes, weights, graph, signal, rows_per_flow``.
        settings: ``signal``: magnitude, u+v or strain: the scalar at each pixel of a flow image.

    Raises:
        InputError: weights and graph do not belong together.
        ConfigError: unknown signal.
    """
    signal = settings["signal"]
    if signal not in ROWS_PER_FLOW:
        raise ConfigError(f"temporal.signal: {signal!r} is not allowed; allowed: {', '.join(ROWS_PER_FLOW)}")
    plan = Graph.load(graph)
    model, digest = load_network(weights, plan)
    model.to(device())
    with repeatable(0), open_h5(cache) as source, atomic_write(output) as temporary, h5py.File(temporary, "w") as file:
        clips = len(source["clip"])
        if not clips:
            raise InputError(f"{cache} holds no clips")
        for name in ("clip", "subject", "label"):
            file.create_dataset(name, data=source[name].asstr()[:].tolist(), dtype=h5py.string_dtype())
        width = model.connected.out_features
        rows = {"spatial": source["spatial"].shape[1], "temporal": source["flow"].shape[1] * ROWS_PER_FLOW[signal]}
        for branch, count in rows.items():
            file.create_dataset(branch, (clips, count, width), np.float32)
        for first in range(0, clips, CLIPS_AT_ONCE):
            part = slice(first, min(first + CLIPS_AT_ONCE, clips))
            file["spatial"][part] = _features(model, grey_signal(source["spatial"][part], plan.side))
            file["temporal"][part] = _features(model, flow_signal(source["flow"][part], plan.side, signal))
            log.info("%d of %d clips", part.stop, clips)
        file.attrs.update(
            dataset=source.attrs["dataset"],
            classes=[str(name) for name in source.attrs["classes"]],
            weights=digest,
            graph=plan.name,
            signal=signal,
            rows_per_flow=ROWS_PER_FLOW[signal],
        )


@torch.no_grad()
def _features(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """``[n, rows, side, side]`` to ``[n, rows, width]``."""
    clips, rows = images.shape[:2]
    if not rows:
        return np.zeros((clips, 0, model.connected.out_features), np.float32)
    signals = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).reshape(clips * rows, -1)
    return model.features(signals.to(device())).reshape(clips, rows, -1).cpu().numpy()
