"""Farnebäck's optical flow, for comparison with TV-L1.

Farnebäck: Two-frame motion estimation based on polynomial expansion, SCIA 2003, by OpenCV, with the parameters of
OpenCV's example. MERSiamC3D is said to use it (docs/fidelity.md).
"""

import cv2
import numpy as np

from merflow.preprocessing.settings import FlowSettings


def solve(first: np.ndarray, second: np.ndarray, start: np.ndarray, settings: FlowSettings) -> np.ndarray:
    """Compute the flow of a pair, in the shapes and units of :mod:`merflow.preprocessing.tvl1.backends`.

    It starts from no motion, not from ``start``, and reads none of the ``settings``.
    """
    before, after = (np.rint(255 * image).astype(np.uint8) for image in (first, second))
    flow = np.empty((*first.shape, 2), np.float32)  # OpenCV fills it.
    # Scale and levels of the pyramid, window, iterations, size and deviation of the polynomials, flags.
    cv2.calcOpticalFlowFarneback(before, after, flow, 0.5, 3, 15, 3, 5, 1.2, 0)
    return np.moveaxis(flow, 2, 0)
