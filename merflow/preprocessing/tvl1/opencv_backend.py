"""TV-L1 by OpenCV's DualTVL1OpticalFlow: the reference of the other backends."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np


def solve(first: np.ndarray, second: np.ndarray, start: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    """TV-L1 of N pairs, as :mod:`merflow.preprocessing.tvl1` defines it."""
    solver = cv2.optflow.DualTVL1OpticalFlow_create(
        tau=float(options["tau"]),
        lambda_=float(options["lambda"]),
        theta=float(options["theta"]),
        nscales=int(options["scales"]),
        scaleStep=float(options["step"]),
        warps=int(options["warps"]),
        epsilon=float(options["epsilon"]),
        useInitialFlow=True,
    )
    flows = np.empty_like(start)
    for flow, before, after, guess in zip(flows, first, second, start, strict=True):
        # One solver for all pairs would remember a pyramid that a small frame cut short; here all have one size.
        flow[:] = np.moveaxis(solver.calc(before, after, np.ascontiguousarray(np.moveaxis(guess, 0, 2))), 2, 0)
    return flows
