"""Features of both branches: outputs of a pre-trained SGCN for key-frames and for optical flow (Fig. 4 and 5)."""

import logging
from pathlib import Path

import h5py
import numpy as np
import torch

from merflow.errors import InputError
from merflow.learning.fit import repeatable
from merflow.runtime.devices import device
from merflow.storage.files import atomic_write
from merflow.storage.hdf5 import open_h5
from merflow.systems.settings import ROWS_PER_FLOW
from merflow.systems.tsdgcn.graph import Graph
from merflow.systems.tsdgcn.pretrain import load_network
from merflow.systems.tsdgcn.sgcn import SGCN
from merflow.systems.tsdgcn.signals import flow_signal, grey_signal

log = logging.getLogger(__name__)

CLIPS_AT_ONCE = 8
"""Number of clips that go through the network at a time, so that memory does not grow with the dataset."""


def extract(cache: Path, weights: Path, graph: Path, output: Path, signal: str, normalise: str = "constant") -> None:
    """Write the outputs of the fully connected layer (X^fc of Eq. 4) for all clips of a dataset.

    Args:
        cache: micro dataset.
        weights: pre-trained network.
        graph: its graph.
        output: HDF5: ``clip, subject, label`` (text), ``spatial`` float32 ``[n, Ms, 512]``, ``temporal`` float32
            ``[n, Mt * r, 512]`` with r rows per flow image (2 for ``u+v``: u, then v, for each flow image); attributes
            ``dataset, classes, weights, graph, signal, rows_per_flow``.
        signal: as in :func:`merflow.systems.tsdgcn.signals.flow_signal`.
        normalise: likewise.

    Raises:
        InputError: weights and graph do not belong together.
    """
    pixel_graph = Graph.load(graph)
    network, digest = load_network(weights, pixel_graph)
    network.to(device())
    with repeatable(0), open_h5(cache) as source, atomic_write(output) as temporary, h5py.File(temporary, "w") as file:
        clips = len(source["clip"])
        if not clips:
            raise InputError(f"{cache} holds no clips")
        for name in ("clip", "subject", "label"):
            file.create_dataset(name, data=source[name].asstr()[:].tolist(), dtype=h5py.string_dtype())
        width = network.connected.out_features
        rows = {"spatial": source["spatial"].shape[1], "temporal": source["flow"].shape[1] * ROWS_PER_FLOW[signal]}
        for branch, count in rows.items():
            file.create_dataset(branch, (clips, count, width), np.float32)
        for first in range(0, clips, CLIPS_AT_ONCE):
            part = slice(first, min(first + CLIPS_AT_ONCE, clips))
            file["spatial"][part] = _features(network, grey_signal(source["spatial"][part], pixel_graph.side))
            motion = flow_signal(source["flow"][part], pixel_graph.side, signal, normalise)
            file["temporal"][part] = _features(network, motion)
            log.info("%d of %d clips", part.stop, clips)
        file.attrs.update(
            dataset=source.attrs["dataset"],
            classes=[str(name) for name in source.attrs["classes"]],
            weights=digest,
            graph=pixel_graph.name,
            signal=signal,
            rows_per_flow=ROWS_PER_FLOW[signal],
        )


@torch.no_grad()
def _features(network: SGCN, images: np.ndarray) -> np.ndarray:
    """Return the features of images ``[n, rows, side, side]``, ``[n, rows, width]``."""
    clips, rows = images.shape[:2]
    if not rows:
        return np.zeros((clips, 0, network.connected.out_features), np.float32)
    signals = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).reshape(clips * rows, -1)
    features: np.ndarray = network.features(signals.to(device())).reshape(clips, rows, -1).cpu().numpy()
    return features
