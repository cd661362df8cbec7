"""The true motion of every pixel of a synthetic clip, from the ground truth that is stored with it.

A point of the neutral, undrifted face is at p, in pixels of the frame; these are the canonical pixels. In frame t, the
expression moves it to z and the head moves it to y, where the camera sees it:

    p = z - a_t u(z)                        a_t = amplitude_px * envelope[t]
    y = A_t(z) = c + d_t + s_t R_t (z - c)  c = centre of the frame, ((width - 1) / 2, (height - 1) / 2)

``field`` is u. It is the BACKWARD field, defined at the point z that the point has reached. The forward displacement
F of the point p solves F(p) = a_t u(p + F(p)). ``rigid`` holds (dx, dy, rotation, scale) of A_t; rotation is in
radians, positive from x (right) to y (down). Row t of ``envelope`` and ``rigid`` belongs to frame number t.
"""

from dataclasses import dataclass

import cv2
import h5py
import numpy as np

_TOLERANCE_PX = 1e-3
_MAX_STEPS = 30


@dataclass(frozen=True)
class Motion:
    """Ground truth of one clip; see the docstring of this module."""

    field: np.ndarray  # float32 [height, width, 2], unit displacement u (right, down)
    envelope: np.ndarray  # float32 [T]
    rigid: np.ndarray  # float64 [T, 4]
    amplitude_px: float

    @classmethod
    def read(cls, group: h5py.Group) -> "Motion":
        """Read the ground truth from a clip's group in ``truth.h5``."""
        return cls(group["field"][...], group["envelope"][...], group["rigid"][...], float(group.attrs["amplitude_px"]))

    def strength(self, frame: int) -> float:
        """Return a_t, the length of the longest displacement in a frame, in pixels."""
        return self.amplitude_px * float(self.envelope[frame])

    def pose(self, frame: int) -> np.ndarray:
        """Return A_t as a 2x3 matrix, float64, from canonical pixels to pixels of the frame."""
        height, width = self.field.shape[:2]
        return pose_matrix(self.rigid[frame], (width, height))


def pose_matrix(rigid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the similarity A_t as a 2x3 matrix from (dx, dy, rotation, scale) and the frame's width and height."""
    dx, dy, angle, scale = rigid
    centre = (np.array(size) - 1) / 2
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([linear, centre + [dx, dy] - linear @ centre])


def true_flow(motion: Motion, frame: int, onset: int) -> np.ndarray:
    """Return the flow from the onset frame, which need not be neutral, to a later one, of expression and head together.

    Returns:
        float32 [height, width, 2], (right, down) in pixels of the frame, at the pixels of the onset frame.
    """
    pixels = pixel_grid(*motion.field.shape[:2])
    start = apply_affine(cv2.invertAffineTransform(motion.pose(onset)), pixels)
    neutral = start - motion.strength(onset) * _sample(motion.field, start)
    end = neutral + _forward(motion, frame, neutral)
    return np.asarray((apply_affine(motion.pose(frame), end) - pixels).astype(np.float32))


def crop_flow(flow: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """Return a flow of source frames, [height, width, 2], in the geometry of an aligned crop, float32 [2, size, size].

    It is sampled at the position of each pixel of the crop in the source, rotated and scaled. ``transform`` is the 2x3
    similarity from source to crop, as ``faces/{subject}.h5`` has it.
    """
    positions = apply_affine(cv2.invertAffineTransform(np.asarray(transform, np.float64)), pixel_grid(size, size))
    sampled = _sample(np.asarray(flow, np.float32), positions)
    return np.ascontiguousarray((sampled @ np.asarray(transform)[:, :2].T).transpose(2, 0, 1), np.float32)


def _forward(motion: Motion, frame: int, neutral: np.ndarray) -> np.ndarray:
    """F(p) = a u(p + F(p)) by fixed-point iteration, which converges if no point passes another."""
    strength = motion.strength(frame)
    moved = np.zeros_like(neutral)
    for _ in range(_MAX_STEPS):
        last, moved = moved, strength * _sample(motion.field, neutral + moved)
        if np.abs(moved - last).max() < _TOLERANCE_PX:
            break
    return moved


def pixel_grid(height: int, width: int) -> np.ndarray:
    """Return (x, y) of each pixel, float64 [height, width, 2]."""
    return np.stack(np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)), axis=-1)


def apply_affine(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Transform points [..., 2] by a 2x3 matrix."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def _sample(field: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Sample a field at positions [height, width, 2], bilinear; outside the frame, the border is repeated."""
    x, y = np.moveaxis(positions, -1, 0).astype(np.float32)
    return np.asarray(cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
