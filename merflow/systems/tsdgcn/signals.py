"""Signals on a pixel graph: grey images and optical flow as one scalar per node."""

from typing import TypeVar

import numpy as np
from torch import Tensor

from merflow.preprocessing.resize import area_resize

Array = TypeVar("Array", np.ndarray, Tensor)

UNIT = 0.01
"""Flow in widths of the crop, or strain, that enters a network as 1.0. It is a constant, not fitted to data, because
features are extracted once per network and dataset, before there are folds."""
FLAT = 1e-3
"""Lower bound of an image's standard deviation, a quarter of a grey level: an image without contrast becomes zero. The
flow of a still face is above it, so that its noise has deviation 1, too."""


def grey_signal(images: np.ndarray, side: int) -> np.ndarray:
    """Return grey images at the size of a graph, each scaled to [0, 1] and then to mean 0 and standard deviation 1.

    uint8 ``[..., S, S]`` to float32 ``[..., side, side]``. The paper does not say how it normalises images. With [0, 1]
    alone, the brightness of the skin outweighs the expression in every layer, and training stays on a plateau.
    """
    return _standardised(area_resize(images, side) / 255)


def _standardised(images: np.ndarray) -> np.ndarray:
    """Return each image ``[..., side, side]`` at mean 0 and standard deviation 1."""
    images = images - images.mean(axis=(-2, -1), keepdims=True)
    return np.asarray(images / np.maximum(images.std(axis=(-2, -1), keepdims=True), FLAT))


def flow_signal(flow: np.ndarray, side: int, signal: str, normalise: str = "constant") -> np.ndarray:
    """Return optical flow as scalar images at the size of a graph.

    The vectors are averaged over the area of a pixel before their length is computed, so that noise averages out.

    Args:
        flow: ``[n, M, 3 (u, v, strain), S, S]``; u and v in pixels of the crop.
        side: side of the graph.
        signal: ``magnitude``, ``u+v``, ``strain`` or ``channels``.
        normalise: ``constant``: 1.0 is a motion of 1 % of the width of the crop, or a strain of 1 %, so that the amount
            of motion is kept. ``image``: each image has mean 0 and standard deviation 1, as the grey images have.

    Returns:
        float32 ``[n, M * rows per flow, side, side]``, for ``u+v`` u and v alternate; for ``channels``
        ``[n, M, 3 (u, v, strain), side, side]``.
    """
    clips, count, _, size, _ = flow.shape
    small = area_resize(flow, side)
    if signal == "strain":
        images = small[:, :, 2] / UNIT
    else:
        motion = small[:, :, :2] / (UNIT * size)
        images = motion.reshape(clips, 2 * count, side, side)
        if signal == "magnitude":
            images = np.hypot(motion[:, :, 0], motion[:, :, 1])
        elif signal == "channels":
            images = np.concatenate([motion, small[:, :, 2:] / UNIT], axis=2)
    return _standardised(images) if normalise == "image" else np.asarray(images)


def less_clip_mean(rows: Array) -> Array:
    """Return key-frames or their features ``[clips, rows, ...]`` less the mean over the rows of each clip.

    The mean shows who the person is, which outweighs the motion: with it, networks learn little from a few hundred
    clips. A single row stays as it is.
    """
    return rows - rows.mean(1)[:, None] if rows.shape[1] > 1 else rows
