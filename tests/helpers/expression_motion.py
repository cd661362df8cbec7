"""The true motion of an expression on a head that does not move."""

from dataclasses import replace

import numpy as np

from merflow.datasets.synthetic.truth import Motion, true_flow


def expression_flow(motion: Motion, frame: int, onset: int) -> np.ndarray:
    """Return the flow of the expression only, with the head as in the onset frame, as :func:`true_flow` does."""
    return true_flow(replace(motion, rigid=np.broadcast_to(motion.rigid[onset], motion.rigid.shape)), frame, onset)
