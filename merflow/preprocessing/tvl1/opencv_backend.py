"""TV-L1 by OpenCV's DualTVL1OpticalFlow: the reference for the other backends."""

import cv2
import numpy as np

from merflow.preprocessing.settings import FlowSettings


def solve(first: np.ndarray, second: np.ndarray, start: np.ndarray, settings: FlowSettings) -> np.ndarray:
    """Compute the TV-L1 flow of N pairs, as defined in :mod:`merflow.preprocessing.tvl1.backends`."""
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
    flows = np.empty_like(start)
    for flow, before, after, guess in zip(flows, first, second, start, strict=True):
        # A solver keeps the shortened pyramid of a small frame, so it is used for pairs of one size only.
        flow[:] = np.moveaxis(solver.calc(before, after, np.ascontiguousarray(np.moveaxis(guess, 0, 2))), 2, 0)
    return flows
