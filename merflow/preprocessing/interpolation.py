"""Key-frames that no camera filmed: made between two frames of a clip by warping both along their flow."""

from collections.abc import Callable
from itertools import pairwise

import cv2
import h5py
import numpy as np
import pandas as pd


def interpolate_frame(first: np.ndarray, second: np.ndarray, flow: np.ndarray, share: float) -> np.ndarray:
    """Return the frame at a ``share`` (0 to 1) of the motion between two frames, uint8 [S, S].

    Both are warped there and mixed. The ``flow``, float32 [2, S, S], from ``first`` to ``second`` is read at the places
    of the new frame, which is exact for motions that are the same a few pixels further.
    """
    y, x = np.mgrid[: flow.shape[1], : flow.shape[2]].astype(np.float32)
    mixed = np.zeros(flow.shape[1:], np.float32)
    for image, part, weight in ((first, np.float32(-share), 1 - share), (second, np.float32(1 - share), share)):
        places = x + part * flow[0], y + part * flow[1]
        mixed += weight * cv2.remap(image.astype(np.float32), *places, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def fill_between(
    frames: np.ndarray, filmed: np.ndarray, flow_between: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return all key-frames of a clip, uint8 [M, S, S]: between two filmed ones, the others at equal steps of motion.

    Args:
        frames: the filmed ones, uint8 [filmed, S, S].
        filmed: bool [M], which key-frames they are; the first and the last are among them.
        flow_between: returns the flow of two frames, float32 [2, S, S], with the motion of the head.
    """
    places = np.flatnonzero(filmed)
    images = np.empty((len(filmed), *frames.shape[1:]), np.uint8)
    images[places] = frames
    for start, end in pairwise(places):
        if end - start > 1:
            flow = flow_between(images[start], images[end])
            for place in range(start + 1, end):
                share = (place - start) / (end - start)
                images[place] = interpolate_frame(images[start], images[end], flow, share)
    return images


def keyframe_images(face: h5py.Group, flow: h5py.Group, rows: pd.DataFrame) -> np.ndarray:
    """Return the image of each row of a clip in ``keyframes/{subject}.csv``, uint8 [rows, S, S].

    ``face, flow``: the group of the clip in ``faces/{subject}.h5`` and ``flow/{subject}.h5``; the latter has ``frames``
    if some are interpolated.
    """
    if "frames" in flow:
        return np.asarray(flow["frames"])
    places = np.searchsorted(face["frame_numbers"][()], rows["frame"].astype(int))
    return np.stack([face["frames"][place] for place in places])
