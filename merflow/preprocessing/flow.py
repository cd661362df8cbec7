"""Optical flow between aligned frames: what the face does, apart from what the head does.

TV-L1 (Zach, Pock, Bischof: A duality based approach for realtime TV-L1 optical flow, DAGM 2007; reference [52] of the
TSDGCN paper) on frames whose local contrast is normalised, so that light and shading do not look like motion. A robust
similarity fitted to each field, the motion of the head, is subtracted and kept.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from merflow.errors import ConfigError, InputError
from merflow.storage.files import atomic_write, safe_filename
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import KEYFRAMES, read_table

log = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {
    "backend": "opencv",
    "reference": "onset",
    "tau": 0.25,
    "lambda": 0.05,
    "theta": 0.4,
    "scales": 2,
    "step": 0.5,
    "warps": 2,
    "epsilon": 0.055,
    "normalise": True,
    "smooth": 0.02,
    "rigid": True,
}
"""Settings of the stage.

``backend``: who solves TV-L1 (:mod:`merflow.preprocessing.tvl1`): ``opencv``; ``numba``, the same flow in a fraction
of the time; or ``torch``, which takes all pairs of a subject to the GPU together where there is one; ``reference``:
flow from the ``onset`` to each key-frame, or from each one to the next (``consecutive``); ``tau`` (time step),
``lambda`` (weight of the data term), ``theta`` (tightness), ``scales`` and ``step`` (pyramid), ``warps`` and
``epsilon`` (when to stop) as in OpenCV's DualTVL1OpticalFlow; ``normalise``: local contrast normalisation first;
``smooth``: standard deviation of the Gaussian that the field is smoothed with in the end, as a part of the crop's
side, 0 for none; ``rigid``: subtract the motion of the head.
"""
CHOICES = {"backend": ("opencv", "numba", "torch"), "reference": ("onset", "consecutive")}

_PAIRS_AT_ONCE = 128  # Clips are gathered until they have so many pairs; the memory needed has a limit.
_LEAST_RESIDUAL_PX = 0.02  # Below it there is nothing to tell apart; it keeps an exactly rigid field solvable.
_CONTRAST = 1 / 6  # Three standard deviations of local contrast on either side fill [0, 1].
_FLAT = 4.0  # Grey levels: what varies by less is not amplified to the strength of what varies by more.


def local_contrast(image: np.ndarray) -> np.ndarray:
    """A grey image less its local mean, divided by its local standard deviation, as TV-L1 takes it.

    Constant brightness, which the flow assumes, is broken by changing light and by the shading of moving skin; both
    change slowly over the face and are gone after this. Four grey levels are added to the deviation: smooth skin and
    walls, where the camera's noise (2 grey levels, say) is most of what varies, would be nothing but noise at full
    strength otherwise.

    The window of mean and deviation is a triangle (a box over a box) of standard deviation side / 63 (3.7 px at 231 px,
    2 px at 128 px): near to a Gaussian and cheaper. It covers the same part of a face at every size.

    Args:
        image: uint8 or float [H, W], grey levels 0 to 255.

    Returns:
        float32 [H, W] in [0, 1]; 0.5 is the local mean, three standard deviations reach 0 and 1.
    """
    box = np.ones(2 * round(max(image.shape) / 52) + 1, np.float32)
    window = np.convolve(box, box) / len(box) ** 2
    grey = np.asarray(image, np.float32)
    centred = grey - cv2.sepFilter2D(grey, cv2.CV_32F, window, window)
    deviation = np.sqrt(cv2.sepFilter2D(centred * centred, cv2.CV_32F, window, window))
    deviation += _FLAT
    centred /= deviation
    centred *= _CONTRAST
    centred += 0.5
    return np.clip(centred, 0, 1, out=centred)


def tvl1(first: np.ndarray, second: np.ndarray, settings: Mapping[str, Any] | None = None) -> np.ndarray:
    """TV-L1 optical flow from one frame to another.

    Args:
        first: uint8 [H, W].
        second: uint8 [H, W].
        settings: see :data:`DEFAULTS`.

    Returns:
        float32 [2, H, W]: what is at (x, y) in ``first`` is at (x + u, y + v) in ``second``; pixels, u right, v down.
    """
    pair = _Asked(np.stack([first, second]), [(0, 1)])
    return _solve([pair], _options(settings) | {"rigid": False})[0][0][0]


def _options(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    options = DEFAULTS | dict(settings or {})
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        raise ConfigError(f"unknown flow setting {', '.join(unknown)}; known: {', '.join(DEFAULTS)}")
    for name, allowed in CHOICES.items():
        if options[name] not in allowed:
            raise ConfigError(f"flow.{name}: {options[name]} is not allowed; allowed: {', '.join(allowed)}")
    return options


def _prepared(image: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    return local_contrast(image) if options["normalise"] else np.asarray(image, np.float32) / 255


def _start(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A fast coarse flow of the plain frames (DIS, Kroeger et al., ECCV 2016) to begin with, float32 [2, H, W].

    Normalised frames hold fine detail only, which says nothing about motions longer than itself: a smile of 10 px was
    lost without the start. Motions of a micro-expression are found either way. TV-L1 refines the start, so that DIS
    need not: its own refinement takes as long as the rest of it and changes no error. From half of the frame, single
    smiles were lost under changing light.
    """
    solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    solver.setVariationalRefinementIterations(0)
    return np.moveaxis(solver.calc(first, second, None), 2, 0)


def _smoothed(field: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    """A field less the noise that the few steps of TV-L1 leave in it, float32 [2, H, W].

    Skin drags its surroundings along, so that what a face does is smoother than that noise: with 0.02 of the side
    (3.3 mm on a face whose pupils are 63 mm apart) a quarter of the error goes, and no motion with it.
    """
    sigma = float(options["smooth"]) * max(field.shape)
    if not sigma:
        return field
    window = (2 * math.ceil(3 * sigma) + 1,) * 2  # What lies farther away than three deviations counts for nothing.
    return np.stack([cv2.GaussianBlur(part, window, sigma) for part in field])


@dataclass(frozen=True)
class _Asked:
    """The flow that is asked of a clip: what :func:`clip_flow` takes."""

    frames: np.ndarray
    pairs: Sequence[tuple[int, int]]
    weights: np.ndarray | None = None


def _solve(clips: Sequence[_Asked], options: Mapping[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """What :func:`clip_flow` returns for each of some clips of one size; all pairs go to the backend together."""
    pairs = [
        (number, pair)
        for number, clip in enumerate(clips)
        for pair in dict.fromkeys(clip.pairs)
        if pair[0] != pair[1]
    ]  # fmt: skip
    found: dict[tuple[int, tuple[int, int]], np.ndarray] = {}
    if pairs:
        seen = dict.fromkeys((number, index) for number, pair in pairs for index in pair)
        detail = {(number, index): _prepared(clips[number].frames[index], options) for number, index in seen}
        first, second = (np.stack([detail[number, pair[end]] for number, pair in pairs]) for end in (0, 1))
        start = np.stack([_start(*(clips[number].frames[index] for index in pair)) for number, pair in pairs])
        # By name, not by an import: key-frames, cache and report use the fields of this module and no backend, so that
        # they need neither numba nor torch. The script whose job comes here imports the backends itself.
        solve = import_module(".tvl1.backends", __package__).backend(options["backend"])
        fields = (_smoothed(field, options) for field in solve(first, second, start, options))
        found = dict(zip(pairs, fields, strict=True))
    results = []
    for number, clip in enumerate(clips):
        shape = (2, *clip.frames.shape[1:])
        parts: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        for pair in dict.fromkeys(clip.pairs):
            motion, rigid = found.get((number, pair), np.zeros(shape, np.float32)), np.zeros(4, np.float32)
            if options["rigid"] and (number, pair) in found:
                rigid = np.array(fit_similarity(motion, clip.weights), np.float32)
                motion = motion - similarity_field(rigid, shape[-1])
            parts[pair] = motion, rigid
        if clip.pairs:
            results.append(tuple(np.stack([parts[pair][part] for pair in clip.pairs]) for part in (0, 1)))
        else:
            results.append((np.zeros((0, *shape), np.float32), np.zeros((0, 4), np.float32)))
    return results


def _grid(size: int, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x, y of the pixels of a square, from its centre: float64 [size, size] each (every n-th pixel)."""
    axis = np.arange(0, size, every, dtype=np.float64) - (size - 1) / 2
    return np.meshgrid(axis, axis)


def face_weights(size: int, crop: float = 2.6, eye_height: float = 0.36, eye_across: float = 0.5) -> np.ndarray:
    """Where the head's motion is to be read in a crop, float64 [S, S].

    1 on forehead, bridge of the nose and temples, which expressions hardly move; 1/4 on the rest of the face; 0 on hair
    and on the background, which does not move with the head.

    Args:
        size: side of the crop in pixels.
        crop: width of the crop in inter-ocular distances.
        eye_height: distance of the eyes from the top, as a part of the side.
        eye_across: distance of the point between them from the left, as a part of the side.
    """
    x, y = _grid(size)
    # Inter-ocular distances from between the eyes.
    x, y = (x / size + (0.5 - eye_across)) * crop, (y / size + 0.5 - eye_height) * crop
    face = (x / 0.99) ** 2 + ((y - 0.44) / 1.2) ** 2 <= 1
    forehead = (np.abs(x) < 0.9) & (y > -0.95) & (y < -0.55)
    bridge = (np.abs(x) < 0.25) & (y > -0.2) & (y < 0.45)
    temples = (np.abs(x) > 0.6) & (y > -0.2) & (y < 0.6)
    return face * np.where(forehead | bridge | temples, 1.0, 0.25)


def fit_similarity(
    flow: np.ndarray, weights: np.ndarray | None = None, rounds: int = 12
) -> tuple[float, float, float, float]:
    """The similarity motion that most of the face shares: the head's, not the expression's.

    Least squares re-weighted with the redescending weight of Geman and McClure, 1 / (1 + (r / s)^2)^2. The scale s of
    the residuals starts wide and shrinks round by round to the residual that the stillest 30 % stay below: an
    expression moves a part of the face by more than that and loses its say, whereas a plain least squares fit would
    eat it.

    Args:
        flow: float [2, S, S], pixels.
        weights: float [S, S], where to look; :func:`face_weights` if None.
        rounds: rounds of re-weighting.

    Returns:
        (a, b, tx, ty) of the field u = a*x - b*y + tx, v = b*x + a*y + ty, with x, y in pixels from the crop's centre.
    """
    size = flow.shape[-1]
    every = max(1, size // 32)
    x, y = _grid(size, every)
    prior = (face_weights(size) if weights is None else np.asarray(weights))[::every, ::every]
    seen = prior > 0
    # In units of the side, so that the four unknowns are of one order.
    x, y, prior = x[seen] / size, y[seen] / size, prior[seen]
    u, v = (np.asarray(part, np.float64)[::every, ::every][seen] for part in flow)
    ones, zeros = np.ones_like(x), np.zeros_like(x)
    design = np.concatenate([np.stack([x, -y, ones, zeros], 1), np.stack([y, x, zeros, ones], 1)])
    motion = np.concatenate([u, v])
    # From the median shift on: half of the face has to move before an expression is followed.
    parameters = np.array([0.0, 0.0, np.median(u), np.median(v)])
    still = int(0.3 * len(u))
    for turn in range(rounds):
        residual = np.hypot(*np.split(motion - design @ parameters, 2))
        scale = max(float(np.partition(residual, still)[still]), _LEAST_RESIDUAL_PX) * max(1.0, 3.0 * 0.7**turn)
        weighted = design * np.tile(prior / (1 + (residual / scale) ** 2) ** 2, 2)[:, None]
        parameters = np.linalg.solve(weighted.T @ design, weighted.T @ motion)
    a, b, tx, ty = parameters.tolist()
    return a / size, b / size, tx, ty


def similarity_field(parameters: tuple[float, float, float, float] | np.ndarray, size: int) -> np.ndarray:
    """The field of the motion that :func:`fit_similarity` returns, float32 [2, size, size], pixels."""
    a, b, tx, ty = (float(value) for value in parameters)
    x, y = _grid(size)
    return np.stack([a * x - b * y + tx, b * x + a * y + ty]).astype(np.float32)


def optical_strain(flow: np.ndarray) -> np.ndarray:
    """Magnitude of the optical strain, sqrt(exx^2 + eyy^2 + 2 exy^2), float32 [..., S, S].

    exx = du/dx, eyy = dv/dy, exy = (du/dy + dv/dx) / 2, by central differences: the deformation of the skin, in which
    neither a shift nor a (small) turn of the head remains. Shreve et al.: Macro- and micro-expression spotting in long
    videos using spatio-temporal strain, FG 2011.

    Args:
        flow: float [..., 2, S, S], pixels.
    """
    flow = np.asarray(flow, np.float32)
    u, v = flow[..., 0, :, :], flow[..., 1, :, :]
    u_y, u_x = np.gradient(u, axis=(-2, -1))
    v_y, v_x = np.gradient(v, axis=(-2, -1))
    shear = (u_y + v_x) / 2
    return np.sqrt(u_x**2 + v_y**2 + 2 * shear**2)


def flow_image(flow: np.ndarray, full: float | None = None) -> np.ndarray:
    """A flow field as colours for people: hue is the direction, saturation the length; still is white.

    Args:
        flow: float [2, S, S], pixels.
        full: length in pixels that is shown fully saturated; the 99th percentile of this field if None.

    Returns:
        uint8 [S, S, 3], red, green, blue. Right is red, down is yellow-green, left is cyan, up is violet.
    """
    u, v = np.asarray(flow, np.float32)
    length = np.hypot(u, v)
    if full is None:
        full = float(np.percentile(length, 99))
    degrees = np.degrees(np.arctan2(v, u)) % 360
    saturation = np.clip(length / max(full, 1e-6), 0, 1)
    hsv = np.stack([degrees, saturation, np.ones_like(saturation)], axis=-1).astype(np.float32)
    return np.round(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def clip_flow(
    frames: np.ndarray,
    pairs: Sequence[tuple[int, int]],
    settings: Mapping[str, Any] | None = None,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Facial flow and head motion for pairs of frames of one clip.

    Args:
        frames: uint8 [T, S, S].
        pairs: indices (from, to) into ``frames``; equal pairs are computed once.
        settings: see :data:`DEFAULTS`.
        weights: as in :func:`fit_similarity`.

    Returns:
        The flow, float32 [M, 2, S, S], with the motion of the head subtracted (unless ``rigid`` is false), and that
        motion, float32 [M, 4], as :func:`fit_similarity` returns it (zeros if ``rigid`` is false).
    """
    return _solve([_Asked(frames, pairs, weights)], _options(settings))[0]


def subject_flow(
    faces: str | Path, keyframes: str | Path, output: str | Path, settings: Mapping[str, Any] | None = None
) -> None:
    """Compute the flow of all clips of a subject and write ``flow/{subject}.h5``.

    Every clip has a group with attributes ``clip``, ``subject``, ``status``. If ok, it holds ``flow`` float16
    [M, 2, S, S] in pixels of the aligned crop, raw, head motion subtracted; ``frame_numbers`` int64 [M], the
    key-frames; ``rigid`` float32 [M, 4], the subtracted motion; and the attributes ``backend`` and ``head_motion_px``,
    the largest mean length of a subtracted field. A still image has M = 0.

    Args:
        faces: output of :func:`merflow.preprocessing.faces.align_subject`.
        keyframes: output of :func:`merflow.preprocessing.keyframes.select_subject` for the same faces.
        output: HDF5 file, written whole or not at all.
        settings: see :data:`DEFAULTS`.

    Raises:
        InputError: key-frames are missing or are not among the frames, so that the two inputs do not belong together.
    """
    options = _options(settings)
    cv2.setNumThreads(1)
    table = read_table(keyframes, KEYFRAMES)
    rows = {str(name): part.sort_values("index") for name, part in table.groupby("clip", sort=False)}
    with open_h5(faces) as source, atomic_write(output) as temporary, h5py.File(temporary, "w") as target:
        target.attrs["size"] = source.attrs["size"]
        aligned = json.loads(source.attrs["settings"])
        side, usual = int(source.attrs["size"]), (float(aligned["crop"]), float(aligned["eye_height"]))
        target.attrs["settings"] = json.dumps(options, sort_keys=True)
        waiting: list[tuple[h5py.Group, _Asked]] = []
        for group in source.values():
            clip = str(group.attrs["clip"])
            written = target.create_group(safe_filename(clip))
            for name in ("clip", "subject", "status"):
                written.attrs[name] = group.attrs[name]
            if group.attrs["status"] != "ok":
                continue
            if clip not in rows:
                raise InputError(f"{keyframes} has no row for clip {clip} of {faces}; make it anew")
            numbers = rows[clip]["frame"].astype(np.int64).to_numpy()
            place = {int(number): index for index, number in enumerate(group["frame_numbers"][()])}
            strange = [int(number) for number in numbers if int(number) not in place]
            if strange:
                raise InputError(f"{keyframes}: frame {strange[0]} of clip {clip} is not in {faces}; make it anew")
            # The first row is the onset; a still image has one row and no flow.
            needed, chosen = np.unique([place[int(number)] for number in numbers], return_inverse=True)
            chosen = chosen.tolist()
            earlier = chosen[:-1] if options["reference"] == "consecutive" else chosen[:1] * (len(chosen) - 1)
            weights = face_weights(side, *group.attrs.get("geometry", usual))  # Face crops have their own.
            written["frame_numbers"] = numbers[1:]
            pairs = list(zip(earlier, chosen[1:], strict=True))
            waiting.append((written, _Asked(group["frames"][()][needed], pairs, weights)))
            if sum(len(asked.pairs) for _, asked in waiting) >= _PAIRS_AT_ONCE:
                _write(waiting, options)
                waiting.clear()
        _write(waiting, options)


def _write(waiting: Sequence[tuple[h5py.Group, _Asked]], options: Mapping[str, Any]) -> None:
    """Solve what is asked of some clips and write it into their groups."""
    for (group, _), (flow, rigid) in zip(waiting, _solve([asked for _, asked in waiting], options), strict=True):
        lengths = [float(np.hypot(*similarity_field(row, flow.shape[-1])).mean()) for row in rigid]
        group["flow"], group["rigid"] = flow.astype(np.float16), rigid
        group.attrs["backend"] = options["backend"]
        group.attrs["head_motion_px"] = max(lengths, default=0.0)
        log.info("%s: %d fields, head motion %.2f px", group.attrs["clip"], len(flow), max(lengths, default=0.0))
