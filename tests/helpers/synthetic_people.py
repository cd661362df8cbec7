"""Drawn people of the synthetic data, and settings of their clips."""

from dataclasses import replace
from functools import cache

import numpy as np

from merflow.datasets.settings import STANDARD_MACRO, STANDARD_MICRO
from merflow.datasets.synthetic.draw import BasePicture, draw_face

MICRO = replace(STANDARD_MICRO, root="somewhere", subjects=12, first_subject=12)
MACRO = replace(STANDARD_MACRO, root="somewhere", subjects=12)
SHORT = replace(MICRO, emotions=("happiness", "fear"), clips_per_emotion=1, frames=20)


@cache
def drawn_person(number: int) -> BasePicture:
    """Return a person's drawn face."""
    return draw_face(0, number)


def pupil_positions(face: BasePicture) -> np.ndarray:
    """Return x, y of both pupils."""
    return face.anchors.paired["pupil"]
