"""What the search measures of a video: curves of motion, features of face regions, candidates and face positions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from merflow.preprocessing.geometry import Box
from merflow.storage.files import atomic_write
from merflow.storage.hdf5 import open_h5

GreyFrame = tuple[int, np.ndarray]
"""Frame number and grey pixels, uint8 [H, W]."""

MICRO, MACRO = "micro", "macro"
SHORTEST = {MICRO: 1 / 25, MACRO: 1 / 2}
LONGEST = {MICRO: 1 / 2, MACRO: 4.0}
"""Shortest and longest duration of an expression of each kind, in seconds."""

_SIDES: dict[str, Box] = {
    "inner brow": (0.05, 0.45, -0.6, -0.15),
    "outer brow": (0.45, 0.9, -0.6, -0.1),
    "eye": (0.25, 0.75, -0.15, 0.15),
    "cheek": (0.3, 0.85, 0.25, 0.75),
    "mouth corner": (0.25, 0.7, 0.9, 1.4),
}
REGIONS: dict[str, Box] = {
    **{f"left {name}": (-right, -left, top, bottom) for name, (left, right, top, bottom) in _SIDES.items()},
    **{f"right {name}": box for name, box in _SIDES.items()},
    "nose": (-0.3, 0.3, 0.4, 0.85),
    "upper lip": (-0.25, 0.25, 0.85, 1.15),
    "lower lip": (-0.25, 0.25, 1.15, 1.4),
    "chin": (-0.35, 0.35, 1.4, 1.75),
}
"""Regions whose mean flow is kept at each time; left and right are those of the image."""
HEAD = ("scale", "turn", "right", "down")
FEATURES = [
    f"{name} {axis} {side}"
    for side in ("before", "after")
    for names, axes in ((REGIONS, ("right", "down")), (("head",), HEAD))
    for axis in axes
    for name in names
]
"""Names of the features: flow to the frames before and after, then the head motion that was subtracted from it."""


@dataclass
class FacePosition:
    """Position of the face from a frame on."""

    frame: int
    transform: np.ndarray
    """float64 [2, 3], pixels of the video to those of the crop on which motion is measured."""
    face: Any
    """A :class:`merflow.preprocessing.detection.Face`, which is not imported: systems need no face detector."""


@dataclass(frozen=True)
class Candidate:
    """A peak of a curve, in frame numbers of the video; onset and offset of a blink are not searched."""

    onset: int
    apex: int
    offset: int
    strength: float
    """Height of the peak, in the unit of :attr:`MotionCurve.motion`."""
    blink: bool


@dataclass
class MotionCurve:
    """Motion there and back at equal steps of time, measured for one kind of expression."""

    reference: float
    """Seconds between the frames that are compared."""
    spacing: int
    """Frames from one value to the next."""
    centres: list[int] = field(default_factory=list)
    """Frame numbers of the values."""
    motion: list[float] = field(default_factory=list)
    """Motion of the face there and back, in per cent of the inter-ocular distance; NaN if there is no face."""
    lids: list[float] = field(default_factory=list)
    """The same between brows and cheeks, where eyelids move."""
    candidates: list[Candidate] = field(default_factory=list)
    """All peaks above the floor of the search, in order of time."""

    def reach(self, fps: float) -> int:
        """Return the number of values between the frames that are compared."""
        return max(1, round(self.reference * fps / self.spacing))


@dataclass
class MotionTrack:
    """Face positions and motion of a video."""

    fps: float
    frames: int = 0
    first: int = 0
    last: int = 0
    width: int = 0
    height: int = 0
    curves: dict[str, MotionCurve] = field(default_factory=dict)
    """By kind, ``micro`` and perhaps ``macro``."""
    features: list[np.ndarray] = field(default_factory=list)
    """float32 [len(FEATURES)] at each value of the curve ``micro``, units as of the curve; NaN if there is no face."""
    positions: list[FacePosition] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    """First and last frame of stretches without a face."""
    thumbnails: list[GreyFrame] = field(default_factory=list)

    @property
    def micro(self) -> MotionCurve:
        """The curve on which micro-expressions are searched."""
        return self.curves[MICRO]


def save_track(track: MotionTrack, path: str | Path) -> None:
    """Write the curves, features and candidates of a video to HDF5; face positions and thumbnails are left out."""
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({name: getattr(track, name) for name in _NUMBERS})
        file["lost"] = np.array(track.lost, np.int64).reshape(-1, 2)
        file["features"] = np.array(track.features, np.float32).reshape(-1, len(FEATURES))
        for kind, curve in track.curves.items():
            group = file.create_group(f"curves/{kind}")
            group.attrs.update(reference=curve.reference, spacing=curve.spacing)
            group["centres"] = np.array(curve.centres, np.int64)
            group["motion"], group["lids"] = (np.array(values, float) for values in (curve.motion, curve.lids))
            table = pd.DataFrame(map(asdict, curve.candidates), columns=list(Candidate.__annotations__))
            for name in table:
                group[f"candidates/{name}"] = table[name].to_numpy(_CANDIDATE_TYPES[str(name)])


def load_track(path: str | Path) -> MotionTrack:
    """Read what :func:`save_track` wrote.

    Raises:
        InputError: as of :func:`merflow.storage.hdf5.open_h5`.
    """
    with open_h5(path) as file:
        track = MotionTrack(**{name: file.attrs[name].item() for name in _NUMBERS})
        track.lost = [(int(first), int(last)) for first, last in file["lost"][()]]
        track.features = list(file["features"][()])
        for kind, group in file["curves"].items():
            curve = track.curves[kind] = MotionCurve(float(group.attrs["reference"]), int(group.attrs["spacing"]))
            curve.centres, curve.motion, curve.lids = (
                group[name][()].tolist() for name in ("centres", "motion", "lids")
            )
            columns = [group[f"candidates/{name}"][()].tolist() for name in Candidate.__annotations__]
            curve.candidates = [Candidate(*row) for row in zip(*columns, strict=True)]
    return track


_NUMBERS = ("fps", "frames", "first", "last", "width", "height")
_CANDIDATE_TYPES: Mapping[str, type] = {
    "onset": np.int64, "apex": np.int64, "offset": np.int64, "strength": np.float64, "blink": np.bool_
}  # fmt: skip
