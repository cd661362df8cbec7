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

    ``outward`` (away from the midline) and ``down`` are relative displacements. ``width`` is the Gaussian's standard
    deviation, ``beside`` (outward) and ``below`` the place of its centre relative to the anchor, in inter-ocular
    distances.
    """

    anchor: str
    outward: float
    down: float
    width: float
    beside: float = 0.0
    below: float = 0.0


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
    14: (
        Push("mouth_corner", 0.3, -0.3, 0.12),
        Push("mouth_corner", -0.6, 0.0, 0.13, beside=0.17),
        Push("mouth_corner", 0.1, -0.8, 0.14, below=0.22),
    ),
    15: (Push("mouth_corner", 0.2, 0.95, 0.19),),
    16: (Push("lower_lip_centre", 0.0, 0.9, 0.17), Push("chin", 0.0, 0.3, 0.2)),
    17: (Push("chin", 0.0, -0.6, 0.24), Push("lower_lip_centre", 0.0, -0.4, 0.16)),
    18: (
        Push("mouth_corner", -0.9, 0.0, 0.18),
        Push("upper_lip_centre", 0.0, -0.3, 0.16),
        Push("lower_lip_centre", 0.0, 0.2, 0.16),
    ),
    20: (Push("mouth_corner", 1.0, 0.15, 0.22),),
    22: (
        Push("mouth_corner", -0.4, 0.0, 0.16),
        Push("upper_lip_centre", 0.0, -0.6, 0.15),
        Push("lower_lip_centre", 0.0, 0.7, 0.15),
    ),
    24: (
        Push("mouth_corner", -0.4, 0.0, 0.15),
        Push("upper_lip_centre", 0.0, 0.5, 0.16),
        Push("lower_lip_centre", 0.0, -0.5, 0.16),
    ),
    25: (Push("lower_lip_centre", 0.0, 0.7, 0.14), Push("upper_lip_centre", 0.0, -0.25, 0.12)),
    26: (Push("chin", 0.0, 0.8, 0.28), Push("lower_lip_centre", 0.0, 0.7, 0.22)),
    38: (Push("nose_wing", 0.9, -0.1, 0.10),),
    39: (Push("nose_wing", -0.9, 0.1, 0.10),),
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
    anchors: Anchors,
    strengths: Mapping[int, float],
    gains: tuple[float, float],
    shape: tuple[int, int],
    pushes: Mapping[int, tuple[Push, ...]] = ACTION_UNITS,
) -> np.ndarray:
    """Return the joint displacement of action units, scaled so that its longest vector has length 1.

    Args:
        anchors: the landmarks.
        strengths: strength of each action unit, by its number.
        gains: factor of the left and of the right side of the image; the midline takes their mean.
        shape: height and width of the frame.
        pushes: how this person makes each action unit.

    Returns:
        float32 [height, width, 2], (u right, v down).
    """
    field = np.zeros((2, *shape))
    for unit, strength in strengths.items():
        for push in pushes[unit]:
            for (x, y), direction, gain in _places(anchors, push, gains):
                spread = _gaussian(shape, x, y, push.width * anchors.interocular)
                if push.outward and direction:
                    field[0] += (strength * gain * direction * push.outward) * spread
                if push.down:
                    field[1] += (strength * gain * push.down) * spread
    field /= np.sqrt((field**2).sum(axis=0).max())
    return (np.round(field / _GRAIN) * _GRAIN).astype(np.float32).transpose(1, 2, 0).copy()


def gaze_field(anchors: Anchors, degrees: float, shape: tuple[int, int]) -> np.ndarray:
    """Return the displacement of both irises in one direction (0: right, 90: down), float32 [height, width, 2]."""
    spread = sum(_gaussian(shape, x, y, 0.09 * anchors.interocular) for x, y in anchors.paired["pupil"])
    return _directed(np.asarray(spread), degrees)


def turn_field(anchors: Anchors, degrees: float, shape: tuple[int, int]) -> np.ndarray:
    """Return what a turn of the head adds to its shift: near parts, such as the nose, move further than far ones.

    The longest displacement is 1; ``degrees`` as in :func:`gaze_field`.
    """
    unit = anchors.interocular
    x, y = anchors.central["philtrum"]
    depth = 0.6 * _gaussian(shape, x, y - 0.4 * unit, 0.7 * unit) + 0.4 * _gaussian(
        shape, x, y - 0.3 * unit, 0.2 * unit
    )
    return _directed(depth, degrees)


def _directed(size: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle) * size, np.sin(angle) * size], axis=-1).astype(np.float32)


def _gaussian(shape: tuple[int, int], x: float, y: float, width: float) -> np.ndarray:
    """Return a Gaussian of height 1 around a point, float64 [height, width]."""
    rows, columns = np.arange(shape[0], dtype=np.float64), np.arange(shape[1], dtype=np.float64)
    return np.outer(np.exp(-((rows - y) ** 2) / (2 * width**2)), np.exp(-((columns - x) ** 2) / (2 * width**2)))


def _places(anchors: Anchors, push: Push, gains: tuple[float, float]) -> list[tuple[tuple[float, float], int, float]]:
    """Return point, direction of "outward" along x, and gain of each place of a push."""
    beside, below = push.beside * anchors.interocular, push.below * anchors.interocular
    if push.anchor in anchors.central:
        x, y = anchors.central[push.anchor]
        return [((x + beside, y + below), 0, sum(gains) / 2)]
    left, right = anchors.paired[push.anchor]
    return [
        ((left[0] - beside, left[1] + below), -1, gains[0]),
        ((right[0] + beside, right[1] + below), 1, gains[1]),
    ]
