"""The input images of the frame scorer: small crops with the head stabilised to onset."""

import cv2
import numpy as np
import torch

from merflow.preprocessing.frame_scorer.network import SIDE, eye_mask, head_and_light
from merflow.preprocessing.settings import STANDARD_GEOMETRY, Geometry

_STABILISATION_STEPS = 3  # Of least squares; the third moves a head that drifts by two pixels by less than 0.01 px.


def small_frames(frames: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Return the input images of the scorer: small, eyes at their standard position, head stabilised to onset.

    Each frame is moved by the similarity that least squares find between it and the onset (Lucas and Kanade 1981,
    together with a change of light). The network subtracts the remaining motion to first order.

    Args:
        frames: uint8 [T, S, S], the onset first.
        geometry: position of the eyes in the frames.

    Returns:
        float32 [T, SIDE, SIDE], grey levels, free of aliasing; beyond the crop its border is repeated.
    """
    size, standard = frames.shape[-1], STANDARD_GEOMETRY
    scale = SIDE / standard.crop * geometry.crop / size
    target = np.array([standard.eye_across, standard.eye_height]) * SIDE - 0.5
    source = np.array([geometry.eye_across, geometry.eye_height]) * size - 0.5
    back = np.vstack([np.column_stack([np.eye(2) / scale, source - target / scale]), [0, 0, 1]])  # Small to crop.
    sigma = 0.5 * np.sqrt(max(scale**-2 - 1, 0.0))

    def resampled(frame: np.ndarray, pose: np.ndarray) -> np.ndarray:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(frame, (back @ pose)[:2], (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)

    small = np.empty((len(frames), SIDE, SIDE), np.float32)
    seen = eye_mask().numpy()
    for index, frame in enumerate(frames):
        frame = frame.astype(np.float32)
        if sigma > 0.2:
            frame = cv2.GaussianBlur(frame, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        pose = np.eye(3)
        small[index] = resampled(frame, pose)
        if not index:
            causes = head_and_light(torch.from_numpy(small[:1] - small[0].mean()))[0].double().numpy()
            solved = np.linalg.pinv(causes)
            continue
        for _ in range(_STABILISATION_STEPS):
            pose = pose @ _inverse_motion(*(solved @ ((small[index] - small[0]) * seen).ravel())[:4])
            small[index] = resampled(frame, pose)
    return small


def _inverse_motion(right: float, down: float, turn: float, zoom: float) -> np.ndarray:
    """Return the inverse of a small motion, 3x3, in pixels of the image; rotation and zoom in pixels at its edge."""
    middle = (SIDE - 1) / 2
    rate = np.array([[zoom, -turn], [turn, zoom]]) / middle
    linear = np.eye(2) - rate
    shift = rate @ [middle, middle] - [right, down]
    return np.vstack([np.column_stack([linear, shift]), [0, 0, 1]])
