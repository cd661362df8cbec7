"""Displacement fields of emotions: action units as Gaussian pushes at landmarks of the face.

The action units of each emotion follow the prototypes of the Facial Action Coding System and its emotion tables
(Ekman, Friesen, Hager: FACS Investigator's Guide, 2002). The displacement of the skin per unit is an estimate.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Anchors:
    """Named points of a neutral, upright face, in pixels of the frame (pixel centres have whole coordinates).

    ``paired`` has one row for the left of the image and one for the right, float64 [2, 2] as (x, y); ``central`` one
    point, float64 [2].
    """

    paired: Mapping[str, np.ndarray]
    central: Mapping[str, np.ndarray]

    @property
    def interocular(self) -> float:
        """Distance between the pupils in pixels."""
        return float(np.hypot(*(self.paired["pupil"][1] - self.paired["pupil"][0])))


@dataclass(frozen=True)
class Push:
    """A Gaussian push of the skin at an anchor.

    ``outward`` (away from the midline) and ``down`` are relative displacements; ``width`` is the Gaussian's standard
    deviation in inter-ocular distances.
    """

    anchor: str
    outward: float
    down: float
    width: float


ACTION_UNITS: dict[int, tuple[Push, ...]] = {
    1: (Push("brow_inner", 0.0, -1.0, 0.19),),
    2: (Push("brow_outer", 0.1, -1.0, 0.20),),
    4: (Push("brow_inner", -0.5, 0.8, 0.20), Push("brow_middle", -0.2, 0.5, 0.20)),
    5: (Push("upper_lid", 0.0, -0.6, 0.10),),
    6: (Push("cheek", 0.1, -0.6, 0.24),),
    7: (Push("lower_lid", 0.0, -0.5, 0.11),),
    9: (Push("nose_wing", 0.1, -0.8, 0.17), Push("nose_root", -0.2, 0.4, 0.15)),
    10: (Push("upper_lip", 0.0, -0.8, 0.15), Push("philtrum", 0.0, -0.5, 0.14)),
    12: (Push("mouth_corner", 0.6, -0.85, 0.23), Push("nasolabial", 0.15, -0.4, 0.24)),
    15: (Push("mouth_corner", 0.2, 0.95, 0.19),),
    17: (Push("chin", 0.0, -0.6, 0.24), Push("lower_lip_centre", 0.0, -0.4, 0.16)),
    20: (Push("mouth_corner", 1.0, 0.15, 0.22),),
    24: (
        Push("mouth_corner", -0.4, 0.0, 0.15),
        Push("upper_lip_centre", 0.0, 0.5, 0.16),
        Push("lower_lip_centre", 0.0, -0.5, 0.16),
    ),
    26: (Push("chin", 0.0, 0.8, 0.28), Push("lower_lip_centre", 0.0, 0.7, 0.22)),
    45: (Push("upper_lid", 0.0, 1.0, 0.11), Push("lower_lid", 0.0, -0.2, 0.10)),
}
"""Action units by their number."""

EMOTIONS: dict[str, dict[int, float]] = {
    "happiness": {6: 0.6, 12: 1.0},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.6, 26: 0.6},
    "disgust": {4: 0.3, 9: 1.0, 10: 0.8},
    "fear": {1: 0.9, 2: 0.4, 4: 0.4, 5: 0.7, 20: 0.9, 26: 0.2},
    "sadness": {1: 0.9, 4: 0.3, 15: 1.0, 17: 0.6},
    "anger": {4: 1.0, 5: 0.2, 7: 0.7, 24: 0.6},
}
"""Action units of each emotion and their usual strength."""

_GRAIN = 2.0**-14
"""Fields are multiples of this: the error is below a thousandth of a pixel, and the files compress well."""


def unit_field(
    anchors: Anchors, strengths: Mapping[int, float], gains: tuple[float, float], shape: tuple[int, int]
) -> np.ndarray:
    """Return the joint displacement of action units, scaled so that its longest vector has length 1.

    Args:
        anchors: the landmarks.
        strengths: strength of each action unit, by its number.
        gains: factor of the left and of the right side of the image; the midline takes their mean.
        shape: height and width of the frame.

    Returns:
        float32 [height, width, 2], (u right, v down).
    """
    rows, columns = np.arange(shape[0], dtype=np.float64), np.arange(shape[1], dtype=np.float64)
    field = np.zeros((2, *shape))
    for unit, strength in strengths.items():
        for push in ACTION_UNITS[unit]:
            for (x, y), direction, gain in _places(anchors, push.anchor, gains):
                width = push.width * anchors.interocular
                spread = np.outer(
                    np.exp(-((rows - y) ** 2) / (2 * width**2)), np.exp(-((columns - x) ** 2) / (2 * width**2))
                )
                if push.outward and direction:
                    field[0] += (strength * gain * direction * push.outward) * spread
                if push.down:
                    field[1] += (strength * gain * push.down) * spread
    field /= np.sqrt((field**2).sum(axis=0).max())
    return (np.round(field / _GRAIN) * _GRAIN).astype(np.float32).transpose(1, 2, 0).copy()


def _places(anchors: Anchors, name: str, gains: tuple[float, float]) -> list[tuple[np.ndarray, int, float]]:
    """Return point, direction of "outward" along x, and gain of each place of an anchor."""
    if name in anchors.central:
        return [(anchors.central[name], 0, sum(gains) / 2)]
    left, right = anchors.paired[name]
    return [(left, -1, gains[0]), (right, 1, gains[1])]
