"""Geometry of face crops: eye positions, transforms from source to crop, and face regions of a crop."""

import json
from collections.abc import Iterable

import cv2
import h5py
import numpy as np

from merflow.preprocessing.settings import STANDARD_GEOMETRY, Geometry

EYES = {5: ((2, 3), (0, 1)), 68: (tuple(range(36, 42)), tuple(range(42, 48)))}
"""Landmarks around the left and the right eye of the image, for each of dlib's models."""
PUPIL_ABOVE = {5: 0.05, 68: 0.035}
"""Height of the pupil above the mean of these landmarks, in inter-ocular distances: the corners of an eye lie lower.
Measured on 40 frontal photographs with marked pupils (0.047-0.057 and 0.031-0.039)."""

Box = tuple[float, float, float, float]
"""Left, right, top and bottom in inter-ocular distances from the point between the eyes."""

MOTION_REGIONS: dict[str, Box] = {
    "brows": (-0.85, 0.85, -0.65, -0.15),
    "nose": (-0.40, 0.40, 0.30, 0.85),
    "mouth": (-0.65, 0.65, 0.85, 1.55),
}
"""Regions in which facial motion is measured. The eyes are left out: a blink moves more than a micro-expression."""


def eye_centres(landmarks: np.ndarray) -> np.ndarray:
    """Return the pupil positions of open eyes that look ahead, float64 [2, 2], left of the image first.

    Args:
        landmarks: [5, 2] or [68, 2] in dlib's order, in any upright similarity of the image.
    """
    count = len(landmarks)
    means = np.stack([landmarks[list(points)].mean(axis=0) for points in EYES[count]])
    across = means[1] - means[0]
    up = np.array([across[1], -across[0]])  # A quarter turn; its length is the inter-ocular distance.
    return means + PUPIL_ABOVE[count] * up


def interocular_distance(eyes: np.ndarray) -> float:
    """Return the distance between two eyes, [2, 2], in their unit."""
    return float(np.hypot(*(eyes[1] - eyes[0])))


def crop_transform(eyes: np.ndarray, size: int, geometry: Geometry = STANDARD_GEOMETRY) -> np.ndarray:
    """Return the similarity transform that levels the eyes and moves them to their position in the crop.

    Args:
        eyes: the pupils in source pixels, [2, 2], left of the image first.
        size: side of the crop in pixels.
        geometry: position of the eyes in the crop; they are centred horizontally.

    Returns:
        float64 [2, 3], from source pixels to crop pixels. Pixel centres have integer coordinates.
    """
    across = eyes[1] - eyes[0]
    scale = size / geometry.crop / np.hypot(*across)
    angle = np.arctan2(across[1], across[0])
    linear = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    target = np.array([size / 2 - 0.5, geometry.eye_height * size - 0.5])
    return np.column_stack([linear, target - linear @ eyes.mean(axis=0)])


def whole_image_transform(width: int, height: int, size: int) -> np.ndarray:
    """Return the similarity transform that fits a whole image into the middle of the square crop.

    The longer side fills the crop; beside an image that is not square its border is repeated. Face crops are tight and
    higher than wide: cutting them square would remove the brows or the mouth, which move. One scale for both sides
    keeps the proportions of the face. Units as of :func:`crop_transform`.
    """
    scale = size / max(width, height)
    shift = ((size - 1) - scale * (np.array([width, height]) - 1)) / 2
    return np.column_stack([scale * np.eye(2), shift])


def crop_geometry(eyes: np.ndarray, size: int) -> Geometry:
    """Return the position of the eyes, [2, 2] in crop pixels, in a square crop."""
    across, down = ((eyes.mean(axis=0) + 0.5) / size).tolist()
    return Geometry(size / interocular_distance(eyes), down, across)


def stored_geometry(file: h5py.File, group: h5py.Group) -> Geometry:
    """Return the position of the eyes in a clip of ``faces/{subject}.h5``.

    A face crop that was taken whole has its own; the other clips have that of the alignment settings.
    """
    if "geometry" in group.attrs:
        return Geometry(*map(float, group.attrs["geometry"]))
    settings = json.loads(str(file.attrs["settings"]))
    return Geometry(float(settings["crop"]), float(settings["eye_height"]))


def map_points(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return points [n, 2] mapped by a 2x3 transform, float64 [n, 2]."""
    mapped: np.ndarray = np.asarray(points, np.float64) @ transform[:, :2].T + transform[:, 2]
    return mapped


def warp(frame: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """Return the square crop of a frame, uint8 [size, size], free of aliasing.

    Interpolation alone reads at most 4x4 pixels for each pixel of the crop. If the crop is smaller than its source,
    the source is first blurred by the Gaussian that takes its own resolution (half a pixel) to that of the crop; only
    the part that the crop covers is read. Beyond the image its border is repeated.
    """
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    sigma = 0.5 * np.sqrt(max(scale**-2 - 1, 0.0))
    corners = np.array([[0, 0], [size - 1, 0], [0, size - 1], [size - 1, size - 1]])
    source = map_points(cv2.invertAffineTransform(transform), corners)
    margin = int(np.ceil(4 * sigma)) + 3
    height, width = frame.shape
    left, top = (np.clip(np.floor(source.min(axis=0)).astype(int) - margin, 0, [width - 1, height - 1])).tolist()
    right, bottom = (np.clip(np.ceil(source.max(axis=0)).astype(int) + margin, [left, top], [width, height])).tolist()
    part = frame[top : bottom + 1, left : right + 1]
    if sigma > 0.2:
        part = cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    shifted = transform.copy()
    shifted[:, 2] += transform[:, :2] @ [left, top]
    return cv2.warpAffine(part, shifted, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def face_coordinates(size: int, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Return x [1, size] and y [size, 1] of the pixels, in inter-ocular distances from the point between the eyes."""
    axis = (np.arange(size) + 0.5) / size
    x, y = (axis - geometry.eye_across) * geometry.crop, (axis - geometry.eye_height) * geometry.crop
    return x[None, :], y[:, None]


def region_mask(
    size: int, geometry: Geometry = STANDARD_GEOMETRY, boxes: Iterable[Box] = MOTION_REGIONS.values()
) -> np.ndarray:
    """Return the union of some boxes in a crop, bool [size, size].

    Args:
        size: side of the crop in pixels.
        geometry: position of the eyes in the crop.
        boxes: brows, nose and mouth by default.
    """
    x, y = face_coordinates(size, geometry)
    mask = np.zeros((size, size), bool)
    for left, right, top, bottom in boxes:
        mask |= (y >= top) & (y < bottom) & (x >= left) & (x < right)
    return mask


def face_weights(size: int, geometry: Geometry = STANDARD_GEOMETRY) -> np.ndarray:
    """Return the weights with which head motion is fitted in a crop, float64 [size, size].

    1 on forehead, bridge of the nose and temples, which expressions hardly move; 1/4 on the rest of the face; 0 on hair
    and background, which do not move with the head.
    """
    x, y = face_coordinates(size, geometry)
    face = (x / 0.99) ** 2 + ((y - 0.44) / 1.2) ** 2 <= 1
    forehead = (np.abs(x) < 0.9) & (y > -0.95) & (y < -0.55)
    bridge = (np.abs(x) < 0.25) & (y > -0.2) & (y < 0.45)
    temples = (np.abs(x) > 0.6) & (y > -0.2) & (y < 0.6)
    return np.where(face, np.where(forehead | bridge | temples, 1.0, 0.25), 0.0)
