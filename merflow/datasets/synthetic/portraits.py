"""Neutral faces from the user's photographs: one each, then blends of two or three if there are too few.

Landmarks come from dlib's 68-point model, whose training data forbids commercial use; drawn faces do not need it.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import dlib
import numpy as np
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay

from merflow.datasets.settings import SyntheticSettings
from merflow.datasets.synthetic.draw import OVERSAMPLING, BasePicture, base_side, eye_midpoint, to_base
from merflow.datasets.synthetic.expressions import Anchors
from merflow.datasets.synthetic.truth import apply_affine, pixel_grid
from merflow.errors import ClipError, InputError
from merflow.footage.frames import image_paths
from merflow.footage.images import read_image
from merflow.runtime.dlib_models import dlib_model

_BLEND_STREAM = 13
_DETECTION_SIDE = 640
_LEFT_EYE, _RIGHT_EYE = range(36, 42), range(42, 48)

_PAIRED: dict[str, tuple[dict[int, float], dict[int, float]]] = {
    "pupil": (dict.fromkeys(_LEFT_EYE, 1.0), dict.fromkeys(_RIGHT_EYE, 1.0)),
    "brow_inner": ({20: 1, 21: 1}, {22: 1, 23: 1}),
    "brow_middle": ({19: 1}, {24: 1}),
    "brow_outer": ({17: 1, 18: 1}, {25: 1, 26: 1}),
    "upper_lid": ({37: 1, 38: 1}, {43: 1, 44: 1}),
    "lower_lid": ({40: 1, 41: 1}, {46: 1, 47: 1}),
    "cheek": ({41: 0.6, 48: 0.4}, {46: 0.6, 54: 0.4}),
    "nose_root": ({27: 0.7, 39: 0.3}, {27: 0.7, 42: 0.3}),
    "nose_wing": ({31: 1}, {35: 1}),
    "nasolabial": ({48: 0.55, 41: 0.45}, {54: 0.55, 46: 0.45}),
    "upper_lip": ({49: 1, 50: 1}, {52: 1, 53: 1}),
    "mouth_corner": ({48: 1}, {54: 1}),
}
"""Anchors as weighted means of the 68 points, left and right of the image."""
_CENTRAL: dict[str, dict[int, float]] = {
    "philtrum": {33: 1, 51: 1},
    "upper_lip_centre": {51: 1, 62: 1},
    "lower_lip_centre": {57: 1, 66: 1},
    "chin": {57: 1, 8: 1},
}


@dataclass(frozen=True)
class Photograph:
    """A photograph, reduced to the resolution of the base picture, and its 68 landmarks, float64 [68, 2]."""

    picture: np.ndarray
    landmarks: np.ndarray

    @property
    def pupils(self) -> np.ndarray:
        """Centres of the eyes on the left and on the right of the image, [2, 2]."""
        return np.stack([self.landmarks[list(_LEFT_EYE)].mean(axis=0), self.landmarks[list(_RIGHT_EYE)].mean(axis=0)])


def portrait(subject: str, settings: SyntheticSettings) -> BasePicture:
    """Return the neutral face of a subject from the photographs in the folder ``portraits``.

    Micro clips use every second photograph and macro clips the others, so that they show different people. The first
    subjects of a dataset are one photograph each, the others are blends of two or three.

    Raises:
        InputError: the folder is missing or has fewer than four photographs, or some are unreadable or have no face;
            all of these are named.
    """
    files = photographs(Path(str(settings.portraits)))[: 2 * settings.subjects]
    results = [read_photograph(file, OVERSAMPLING * settings.interocular_px) for file in files]
    usable = [result for result in results if not isinstance(result, str)]
    bad = [f"{file.name}: {reason}" for file, reason in zip(files, results, strict=True) if isinstance(reason, str)]
    if bad:
        raise InputError(
            f"demo.portraits: {len(bad)} of {len(files)} photographs in {settings.portraits} cannot be used; replace "
            "or remove them:\n  " + "\n  ".join(bad)
        )
    if len(files) < 4:
        raise InputError(f"demo.portraits: {settings.portraits} has {len(files)} photographs; give four people or more")
    pool = usable[0::2] if settings.kind == "macro" else usable[1::2]
    position = settings.subject_names.index(subject.rsplit("/", 1)[-1])
    if position < len(pool):
        members, weights = [pool[position]], np.ones(1)
    else:
        # Combinations in a random order, so that no combination is used twice before all were used.
        combinations = [c for count in (2, 3) for c in itertools.combinations(range(len(pool)), count)]
        order = np.random.default_rng((settings.seed, _BLEND_STREAM)).permutation(len(combinations))
        chosen = combinations[order[(position - len(pool)) % len(combinations)]]
        members = [pool[i] for i in chosen]
        rng = np.random.default_rng((settings.seed, _BLEND_STREAM, settings.person_number(subject)))
        # Each weight is at least 1/4, so that a blend is not recognisable as one of its members.
        weights = 0.25 + (1 - 0.25 * len(members)) * rng.dirichlet(np.ones(len(members)))
    return blend(members, weights, settings.frame_size, settings.interocular_px)


def photographs(folder: Path) -> list[Path]:
    """List the image files of a folder by name."""
    if not folder.is_dir():
        raise InputError(
            f"demo.portraits: folder {folder} does not exist; give a folder of frontal photographs, or null"
        )
    files = sorted(map(Path, image_paths(folder)))
    if not files:
        raise InputError(f"demo.portraits: folder {folder} has no photograph (.jpg, .png, ...)")
    return files


def read_photograph(file: Path, interocular_px: float) -> Photograph | str:
    """Read a photograph, shrink it if its pupils are farther apart than ``interocular_px``, and find its landmarks.

    Returns:
        The photograph, or the reason why it cannot be used.
    """
    try:
        picture = read_image(file, cv2.IMREAD_COLOR, "photograph")
    except ClipError as error:
        return str(error).removeprefix(f"photograph {file} ")
    small, scale = _shrunk(picture, _DETECTION_SIDE / max(picture.shape[:2]))
    points = _landmarks(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
    if points is None:
        return "no face found"
    photograph = Photograph(picture, _rescaled(points, 1 / scale))
    across = np.hypot(*(photograph.pupils[1] - photograph.pupils[0]))
    picture, scale = _shrunk(picture, interocular_px / across)
    return Photograph(picture, _rescaled(photograph.landmarks, scale))


def blend(members: list[Photograph], weights: np.ndarray, frame_size: int, interocular_px: float) -> BasePicture:
    """Return an upright face of the members' mean shape and colours, with the pupils where a neutral frame has them.

    Each member is warped to the mean shape, affinely in each triangle of the landmarks (Delaunay). ``weights`` add up
    to 1.
    """
    side = base_side(frame_size)
    half = np.array([interocular_px / 2, 0.0])
    pupils = to_base(eye_midpoint(frame_size) + np.stack([-half, half]))
    upright = [_similarity(member.pupils, pupils) for member in members]
    shapes = [apply_affine(matrix, member.landmarks) for matrix, member in zip(upright, members, strict=True)]
    mean = np.tensordot(weights, shapes, axes=1)
    border = (side - 1) * np.array([(x, y) for x in (0, 0.5, 1) for y in (0, 0.5, 1) if (x, y) != (0.5, 0.5)])
    triangles = Delaunay(np.vstack([mean, border]))
    picture = np.zeros((side, side, 3), np.float32)
    for member, matrix, weight in zip(members, upright, weights, strict=True):
        sources = np.vstack([member.landmarks, apply_affine(cv2.invertAffineTransform(matrix), border)])
        places = LinearNDInterpolator(triangles, sources)(pixel_grid(side, side))
        x, y = np.moveaxis(places, -1, 0).astype(np.float32)
        warped = cv2.remap(member.picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        picture += np.float32(weight) * warped
    return BasePicture(np.clip(np.round(picture), 0, 255).astype(np.uint8), _anchors(mean))


def _anchors(landmarks: np.ndarray) -> Anchors:
    """Return the anchors in pixels of the frame from 68 landmarks in the base picture."""
    points = (landmarks - to_base(np.zeros(2))) / (to_base(np.ones(2)) - to_base(np.zeros(2)))

    def mean(weights: dict[int, float]) -> np.ndarray:
        return np.asarray(np.average(points[list(weights)], axis=0, weights=list(weights.values())))

    return Anchors(
        paired={name: np.stack([mean(left), mean(right)]) for name, (left, right) in _PAIRED.items()},
        central={name: mean(weights) for name, weights in _CENTRAL.items()},
    )


def _shrunk(picture: np.ndarray, scale: float) -> tuple[np.ndarray, float]:
    """Reduce the picture by ``scale`` if that is below 1; returns it and the scale that was used."""
    if scale >= 1:
        return picture, 1.0
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), scale


def _rescaled(points: np.ndarray, scale: float) -> np.ndarray:
    """Return points of a picture in a copy that is ``scale`` times as large; pixel centres have whole coordinates."""
    return (points + 0.5) * scale - 0.5


@lru_cache(maxsize=1)
def _models() -> tuple[Any, Any]:
    """Return face detector and landmark model."""
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(dlib_model("shape_predictor_68_face_landmarks.dat"))


def _landmarks(grey: np.ndarray) -> np.ndarray | None:
    """Return the 68 landmarks of the face with the highest score, float64 [68, 2]; None if there is no face."""
    detector, model = _models()
    for doubled in (0, 1):
        boxes, scores, _ = detector.run(grey, doubled, 0.0)
        if boxes:
            parts = model(grey, boxes[int(np.argmax(scores))]).parts()
            return np.array([(part.x, part.y) for part in parts], np.float64)
    return None


def _similarity(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the 2x3 similarity that maps two points to two others."""
    a, b = start[1] - start[0], end[1] - end[0]
    turn = complex(*b) / complex(*a)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([linear, end[0] - linear @ start[0]])
