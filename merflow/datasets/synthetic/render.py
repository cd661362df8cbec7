"""Filming of the demo: a neutral face, an expression that comes and goes, a drifting head, light and camera noise."""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from merflow.datasets.synthetic.draw import MARGIN, OVERSAMPLING, BasePicture, draw_face
from merflow.datasets.synthetic.expressions import unit_field
from merflow.datasets.synthetic.plan import Performance, complete, person_number, plan_subject
from merflow.datasets.synthetic.truth import Motion, pose_matrix
from merflow.storage.files import safe_filename

log = logging.getLogger(__name__)

TRUTH = "truth.h5"
"""Name of the file of ground truth beside the clips."""
JPEG_QUALITY = 97

_POSE = (6.0, 6.0, 1.5)
"""How far a clip's framing is from the canonical one, at most: right and down in pixels, rotation in degrees."""
_DRIFT = (0.5, 0.5, 0.12, 0.0008)
"""Standard deviation of the head's drift: right and down in pixels, rotation in degrees, scale."""
_DRIFT_FRAMES, _LIGHT_FRAMES = 30.0, 15.0
"""Over how many frames drift and light forget where they were."""
_LIGHT = 0.008
_SHADING = 0.8
"""Change of brightness per unit of divergence: skin that is pushed together darkens, stretched skin brightens."""
_DARKEST, _BRIGHTEST = -0.25, 0.15


def make_subject(dataset: str, subject: str, settings: Mapping[str, Any], folder: str | Path) -> None:
    """Film the clips of one person into ``folder``, which appears whole or not at all.

    The folder holds ``{clip}/{number:04d}.jpg`` (numbers from 0) and ``truth.h5``: a group ``key(clip)`` per clip with
    ``field`` float32 [h, w, 2], ``envelope`` float32 [T] and ``rigid`` float64 [T, 4], as
    :mod:`merflow.datasets.synthetic.truth` defines them, and the attributes ``clip, emotion, amplitude_px, onset,
    apex, offset, noise``.

    Args:
        dataset: name of the dataset.
        subject: ``s01`` and so on.
        settings: those of :func:`merflow.datasets.synthetic.plan.plan_clips`.
        folder: where to write.
    """
    full = complete(settings)
    folder = Path(folder)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        base = base_picture(subject, full)
        performances = plan_subject(subject, full)
        with h5py.File(temporary / TRUTH, "w") as file:
            for number, performance in enumerate(performances, start=1):
                motion = stage(base, performance, full)
                frames = film(base, motion, performance, noise=full["noise"], light=full["light"])
                _write_frames(frames, temporary / performance.clip)
                _write_truth(file.create_group(safe_filename(performance.clip)), performance, motion, full["noise"])
                log.info("%s/%s: clip %d of %d, %s", dataset, subject, number, len(performances), performance.clip)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def base_picture(subject: str, settings: Mapping[str, Any]) -> BasePicture:
    """The neutral face of a dataset's subject: drawn, or from the folder ``portraits``."""
    full = complete(settings)
    if full["portraits"] is None:
        return draw_face(full["seed"], person_number(subject, full), full["frame_size"], full["interocular_px"])
    from merflow.datasets.synthetic.portraits import (
        portrait,  # dlib and its landmark model, which drawn faces do without
    )

    return portrait(subject, full)


def stage(base: BasePicture, performance: Performance, settings: Mapping[str, Any]) -> Motion:
    """The motion of a performance on this face: its displacement field, its course, and the head's pose."""
    full = complete(settings)
    size = full["frame_size"]
    field = unit_field(base.anchors, performance.strengths, performance.gains, (size, size))
    chance = np.random.default_rng((*performance.seed, 0))
    rigid = head_motion(chance, performance.frames, full["drift"], size / 480)
    return Motion(field, performance.envelope, rigid, performance.amplitude_px)


def head_motion(chance: np.random.Generator, frames: int, drift: float, zoom: float = 1.0) -> np.ndarray:
    """Pose of the head in each frame: a framing of the clip's own, and a slow random drift from frame 0 on.

    Args:
        chance: source of randomness.
        frames: number of frames, T.
        drift: scale of the drift; 0 holds the head still.
        zoom: size of the frame relative to 480 px.

    Returns:
        float64 [T, 4]: dx, dy, rotation in radians, scale.
    """
    units = np.array([zoom, zoom, np.pi / 180])
    rigid = np.empty((frames, 4))
    rigid[:, :3] = chance.uniform(-1, 1, 3) * _POSE * units
    rigid[:, 3] = 1
    for column, size in enumerate(_DRIFT):
        walk = drift * size * wander(chance, frames, _DRIFT_FRAMES)
        rigid[:, column] += walk * (units[column] if column < 3 else 1)
    return rigid


def wander(chance: np.random.Generator, frames: int, memory: float) -> np.ndarray:
    """A smooth random walk that starts at 0: Ornstein-Uhlenbeck of standard deviation 1, float64 [frames]."""
    kept = np.exp(-1 / memory)
    walk = np.empty(frames)
    walk[0] = chance.standard_normal()
    for step in range(1, frames):
        walk[step] = kept * walk[step - 1] + np.sqrt(1 - kept**2) * chance.standard_normal()
    window = np.hanning(11)[1:-1]
    walk = np.convolve(np.pad(walk, 4, "edge"), window / window.sum(), "valid")
    return walk - walk[0]


def film(
    base: BasePicture, motion: Motion, performance: Performance, *, noise: float = 2.0, light: bool = True
) -> Iterator[np.ndarray]:
    """The frames of a clip one by one, uint8 BGR [size, size, 3].

    Args:
        base: the neutral face.
        motion: what :func:`stage` made.
        performance: whose seed light and noise follow.
        noise: standard deviation of the camera noise in grey levels, the same in the three channels.
        light: whether the illumination wanders.
    """
    chance = np.random.default_rng((*performance.seed, 1))
    frames = len(motion.envelope)
    gain = 1 + _LIGHT * wander(chance, frames, _LIGHT_FRAMES) if light else np.ones(frames)
    layers = deformation(motion.field)
    for frame in range(frames):
        yield exposure(base, layers, motion.strength(frame), motion.rigid[frame], gain[frame], noise, chance)


def deformation(field: np.ndarray) -> np.ndarray:
    """A displacement field [h, w, 2] and its divergence, by which skin darkens, float32 [h, w, 3]."""
    divergence = np.gradient(field[..., 0], axis=1) + np.gradient(field[..., 1], axis=0)
    return np.dstack([field, divergence]).astype(np.float32)


def exposure(
    base: BasePicture,
    layers: np.ndarray,
    strength: float,
    rigid: np.ndarray,
    gain: float,
    noise: float,
    chance: np.random.Generator,
) -> np.ndarray:
    """One frame, uint8 BGR [h, w, 3].

    Args:
        base: the neutral face.
        layers: what :func:`deformation` gives of the frame's displacement.
        strength: its factor; 0: the face is neutral.
        rigid: pose of the head, (dx, dy, rotation, scale).
        gain: of the light.
        noise: standard deviation of the camera noise in grey levels.
        chance: where the noise comes from.
    """
    height, width = layers.shape[:2]
    columns, rows = np.arange(width)[None, :], np.arange(height)[:, None]
    inverse = cv2.invertAffineTransform(pose_matrix(rigid, (width, height)))
    # Base pixels of the canonical place of each pixel, then of the neutral place that was carried there.
    to_base = OVERSAMPLING * inverse
    to_base[:, 2] += OVERSAMPLING * (MARGIN + 0.5) - 0.5
    x, y = ((to_base[i, 0] * columns + (to_base[i, 1] * rows + to_base[i, 2])).astype(np.float32) for i in (0, 1))
    brightness = np.full((height, width), gain, np.float32)
    if strength > 0:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(layers, inverse, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        moved *= np.float32(strength)
        x -= OVERSAMPLING * moved[..., 0]
        y -= OVERSAMPLING * moved[..., 1]
        brightness *= 1 + np.clip(_SHADING * moved[..., 2], _DARKEST, _BRIGHTEST)
    grain = np.zeros((height, width), np.float32)
    if noise:
        grain = np.float32(noise) * chance.standard_normal((height, width), np.float32)
    # Linear is enough: the base picture has twice the pixels, and cubic is no truer to sub-pixel shifts and slower.
    picture = cv2.remap(base.picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    picture = cv2.multiply(picture, cv2.merge([brightness] * 3), dtype=cv2.CV_32F)
    return cv2.add(picture, cv2.merge([grain] * 3), dtype=cv2.CV_8U)  # Rounded, and cut to 0..255.


def still_clip(
    person: int = 0,
    frames: int = 40,
    *,
    seed: int = 0,
    noise: float = 2.0,
    drift: float = 2.0,
    light: bool = True,
    frame_size: int = 480,
    interocular_px: float = 120,
) -> list[np.ndarray]:
    """A drawn face that holds still before a shaking camera: whatever moves in it is no expression.

    Returns:
        Grey frames, uint8 [frame_size, frame_size].
    """
    base = draw_face(seed, person, frame_size, interocular_px)
    performance = Performance("still", "", frames, 0, frames // 2, frames - 1, 0.0, 0.0, (1.0, 1.0), {}, (seed, person))
    rigid = head_motion(np.random.default_rng((seed, person, 0)), frames, drift, frame_size / 480)
    motion = Motion(np.zeros((frame_size, frame_size, 2), np.float32), performance.envelope, rigid, 0.0)
    return [cv2.cvtColor(f, cv2.COLOR_BGR2GRAY) for f in film(base, motion, performance, noise=noise, light=light)]


def _write_frames(frames: Iterator[np.ndarray], folder: Path) -> None:
    folder.mkdir()
    for number, frame in enumerate(frames):
        done, code = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not done:
            raise RuntimeError(f"OpenCV could not encode frame {number} of {folder}")
        (folder / f"{number:04d}.jpg").write_bytes(code)  # Unlike `tofile`, it says if the disk is full.


def _write_truth(group: h5py.Group, performance: Performance, motion: Motion, noise: float) -> None:
    group.create_dataset("field", data=motion.field, compression="gzip", compression_opts=1, shuffle=True)
    group.create_dataset("envelope", data=motion.envelope)
    group.create_dataset("rigid", data=motion.rigid)
    group.attrs["clip"] = performance.clip
    group.attrs["emotion"] = performance.emotion
    group.attrs["amplitude_px"] = performance.amplitude_px
    for name in ("onset", "apex", "offset"):
        group.attrs[name] = np.int64(getattr(performance, name))
    group.attrs["noise"] = float(noise)
