"""TV-L1 by OpenCV's DualTVL1OpticalFlow: the reference for the numba backend."""

import cv2
import numpy as np

from merflow.preprocessing.settings import FlowSettings


def solve(first: np.ndarray, second: np.ndarray, start: np.ndarray, settings: FlowSettings) -> np.ndarray:
    """Compute the TV-L1 flow of a pair, as defined in :mod:`merflow.preprocessing.tvl1.backends`."""
    solver = cv2.optflow.DualTVL1OpticalFlow.create(
        tau=settings.tau,
        lambda_=settings.lambda_,
        theta=settings.theta,
        nscales=settings.scales,
        scaleStep=settings.step,
        warps=settings.warps,
        epsilon=settings.epsilon,
        useInitialFlow=True,
    )
    return np.moveaxis(solver.calc(first, second, np.ascontiguousarray(np.moveaxis(start, 0, 2))), 2, 0)
