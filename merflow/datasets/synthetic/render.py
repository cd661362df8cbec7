"""Rendering of synthetic clips: a neutral face, an expression, a drifting head, changing light and camera noise."""

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import h5py
import numpy as np

from merflow.datasets.settings import SyntheticSettings
from merflow.datasets.synthetic.distractions import distractions
from merflow.datasets.synthetic.draw import MARGIN, OVERSAMPLING, BasePicture, draw_face
from merflow.datasets.synthetic.expressions import unit_field
from merflow.datasets.synthetic.plan import Performance, plan_subject, random_walk
from merflow.datasets.synthetic.truth import Motion, pose_matrix
from merflow.storage.files import safe_filename, scratch_folder

log = logging.getLogger(__name__)

TRUTH = "truth.h5"
"""File name of the ground truth, in the folder of the clips."""
JPEG_QUALITY = 97

_POSE = (6.0, 6.0, 1.5)
"""Largest offset of a clip's framing from the canonical one: right and down in pixels, rotation in degrees."""
_DRIFT = (0.5, 0.5, 0.12, 0.0008)
"""Standard deviation of the head's drift: right and down in pixels, rotation in degrees, scale."""
_DRIFT_FRAMES, _LIGHT_FRAMES = 30.0, 15.0
"""Correlation lengths of drift and light in frames."""
_LIGHT = 0.008
_SHADING = 0.8
"""Change of brightness per unit of divergence: compressed skin darkens, stretched skin brightens."""
_DARKEST, _BRIGHTEST = -0.25, 0.15


def make_subject(dataset: str, subject: str, settings: SyntheticSettings, folder: str | Path) -> None:
    """Render the clips of one person into ``folder``, which appears complete or not at all.

    The folder holds ``{clip}/{number:04d}.jpg`` (numbers from 0) and ``truth.h5``: a group ``key(clip)`` per clip with
    ``field`` float32 [h, w, 2], ``envelope`` float32 [T] and ``rigid`` float64 [T, 4], as
    :mod:`merflow.datasets.synthetic.truth` defines them (blinks, gaze and turns of the head are not in it), and the
    attributes ``clip, emotion, amplitude_px, onset,
    apex, offset, noise``.
    """
    folder = Path(folder)
    base, performances = base_picture(subject, settings), plan_subject(subject, settings)
    with scratch_folder(folder) as temporary:
        with h5py.File(temporary / TRUTH, "w") as file:
            for number, performance in enumerate(performances, start=1):
                motion = clip_motion(base, performance, settings)
                others = distractions(base.anchors, performance, settings) if settings.annotated else []
                frames = render_frames(
                    base, motion, performance, noise=settings.noise, light=settings.light, others=others
                )
                _write_frames(frames, temporary / performance.clip)
                _write_truth(file.create_group(safe_filename(performance.clip)), performance, motion, settings.noise)
                log.info("%s/%s: clip %d of %d, %s", dataset, subject, number, len(performances), performance.clip)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)


def base_picture(subject: str, settings: SyntheticSettings) -> BasePicture:
    """Return the neutral face of a subject: drawn, or from the folder ``portraits``."""
    if settings.portraits is None:
        return draw_face(settings.seed, settings.person_number(subject), settings.frame_size, settings.interocular_px)
    from merflow.datasets.synthetic.portraits import portrait  # It imports dlib, which drawn faces do not need.

    return portrait(subject, settings)


def clip_motion(base: BasePicture, performance: Performance, settings: SyntheticSettings) -> Motion:
    """Return the motion of a performance on this face: displacement field, course, and pose of the head."""
    size = settings.frame_size
    field = unit_field(base.anchors, performance.strengths, performance.gains, (size, size), performance.pushes)
    rng = np.random.default_rng((*performance.seed, 0))
    rigid = head_motion(rng, performance.frames, settings.drift, size / 480)
    return Motion(field, performance.envelope, rigid, performance.amplitude_px)


def head_motion(rng: np.random.Generator, frames: int, drift: float, zoom: float = 1.0) -> np.ndarray:
    """Return the pose of the head in each frame: the clip's framing, and a slow random drift from frame 0 on.

    ``drift`` scales the drift, and ``zoom`` is the size of the frame relative to 480 px.

    Returns:
        float64 [frames, 4]: dx, dy, rotation in radians, scale.
    """
    units = np.array([zoom, zoom, np.pi / 180])
    rigid = np.empty((frames, 4))
    rigid[:, :3] = rng.uniform(-1, 1, 3) * _POSE * units
    rigid[:, 3] = 1
    for column, size in enumerate(_DRIFT):
        walk = drift * size * random_walk(rng, frames, _DRIFT_FRAMES)
        rigid[:, column] += walk * (units[column] if column < 3 else 1)
    return rigid


def render_frames(
    base: BasePicture,
    motion: Motion,
    performance: Performance,
    *,
    noise: float = 2.0,
    light: float = 1.0,
    others: Sequence[tuple[np.ndarray, np.ndarray]] = (),
) -> Iterator[np.ndarray]:
    """Yield the frames of a clip, uint8 BGR [size, size, 3].

    ``noise`` is the standard deviation of the camera noise in grey levels, the same in the three channels; ``light``
    scales the variation of the illumination; ``others`` are further displacements, as
    :func:`merflow.datasets.synthetic.distractions.distractions` returns them.
    """
    rng = np.random.default_rng((*performance.seed, 1))
    frames = len(motion.envelope)
    gain = 1 + light * _LIGHT * random_walk(rng, frames, _LIGHT_FRAMES) if light else np.ones(frames)
    expression, further = deformation(motion.field), [(deformation(field), course) for field, course in others]
    for frame in range(frames):
        layers, strength = expression, motion.strength(frame)
        if further:
            layers = np.float32(strength) * expression
            for field, course in further:
                layers += np.float32(course[frame]) * field
            strength = 1.0
        yield render_frame(base, layers, strength, motion.rigid[frame], gain[frame], noise, rng)


def deformation(field: np.ndarray) -> np.ndarray:
    """Return a displacement field [h, w, 2] with its divergence, which changes brightness, float32 [h, w, 3]."""
    divergence = np.gradient(field[..., 0], axis=1) + np.gradient(field[..., 1], axis=0)
    return np.dstack([field, divergence]).astype(np.float32)


def render_frame(
    base: BasePicture,
    layers: np.ndarray,
    strength: float,
    rigid: np.ndarray,
    gain: float,
    noise: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Render one frame, uint8 BGR [h, w, 3].

    ``layers`` is the displacement as :func:`deformation` returns it, ``strength`` its factor, ``rigid`` the pose of the
    head, ``gain`` the factor of the light, and ``noise`` the standard deviation of the camera noise in grey levels.
    """
    height, width = layers.shape[:2]
    columns, rows = np.arange(width)[None, :], np.arange(height)[:, None]
    inverse = cv2.invertAffineTransform(pose_matrix(rigid, (width, height)))
    # Place in the base picture of each pixel without the head's motion, then without the expression.
    to_base = OVERSAMPLING * np.asarray(inverse, np.float64)
    to_base[:, 2] += OVERSAMPLING * (MARGIN + 0.5) - 0.5
    x, y = ((to_base[i, 0] * columns + (to_base[i, 1] * rows + to_base[i, 2])).astype(np.float32) for i in (0, 1))
    brightness = np.full((height, width), gain, np.float32)
    if strength > 0:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(layers, inverse, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        moved = moved.astype(np.float32, copy=False) * np.float32(strength)
        x -= OVERSAMPLING * moved[..., 0]
        y -= OVERSAMPLING * moved[..., 1]
        brightness *= 1 + np.clip(_SHADING * moved[..., 2], _DARKEST, _BRIGHTEST)
    grain = np.zeros((height, width), np.float32)
    if noise:
        grain = np.float32(noise) * rng.standard_normal((height, width), np.float32)
    # Linear is enough, since the base picture is oversampled; cubic is slower and no more exact at sub-pixel shifts.
    picture = cv2.remap(base.picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    picture = cv2.multiply(picture, cv2.merge([brightness] * 3), dtype=cv2.CV_32F)
    return cv2.add(picture, cv2.merge([grain] * 3), dtype=cv2.CV_8U)  # Rounds and clips to 0..255.


def _write_frames(frames: Iterator[np.ndarray], folder: Path) -> None:
    folder.mkdir()
    for number, frame in enumerate(frames):
        done, code = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not done:
            raise RuntimeError(f"OpenCV could not encode frame {number} of {folder}")
        (folder / f"{number:04d}.jpg").write_bytes(code.tobytes())  # Unlike `tofile`, this raises if the disk is full.


def _write_truth(group: h5py.Group, performance: Performance, motion: Motion, noise: float) -> None:
    group.create_dataset("field", data=motion.field, compression="gzip", compression_opts=1, shuffle=True)
    group.create_dataset("envelope", data=motion.envelope)
    group.create_dataset("rigid", data=motion.rigid)
    for name in ("clip", "emotion", "amplitude_px", "onset", "apex", "offset"):
        group.attrs[name] = getattr(performance, name)
    group.attrs["noise"] = float(noise)
