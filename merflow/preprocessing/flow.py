"""Optical flow between aligned frames: facial motion with the motion of the head subtracted.

TV-L1 (Zach, Pock, Bischof: A duality based approach for realtime TV-L1 optical flow, DAGM 2007; reference [52] of the
TSDGCN paper) on frames whose local contrast is normalised, so that light and shading do not look like motion. A robust
similarity, the motion of the head, is fitted to each field, subtracted and stored.
"""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from merflow.errors import InputError
from merflow.preprocessing.geometry import face_weights, stored_geometry
from merflow.preprocessing.interpolation import fill_between
from merflow.preprocessing.settings import FlowSettings
from merflow.storage.files import atomic_write, safe_filename
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import KEYFRAMES, read_table

log = logging.getLogger(__name__)

Similarity = tuple[float, float, float, float]
"""(a, b, tx, ty) of the field u = a*x - b*y + tx, v = b*x + a*y + ty, with x, y in pixels from the crop's centre."""

_MIN_RESIDUAL_PX = 0.02  # Keeps the fit to an exactly rigid field well-conditioned.
_ROUNDS = 12  # Of re-weighting.
_CONTRAST = 1 / 6  # Three standard deviations of local contrast on either side fill [0, 1].
_FLAT = 4.0  # Grey levels added to the local deviation, so that noise is not amplified.


def local_contrast(image: np.ndarray) -> np.ndarray:
    """Return a grey image minus its local mean, divided by its local standard deviation, as input of TV-L1.

    Flow assumes constant brightness; changing light and the shading of moving skin violate it. Both vary slowly over
    the face and are removed here. Four grey levels are added to the deviation: on smooth skin and walls, most of the
    variation is camera noise (about 2 grey levels), which would otherwise be amplified to full strength.

    The window of mean and deviation is a triangle (a box convolved with a box) of standard deviation side / 63 (3.7 px
    at 231 px, 2 px at 128 px): close to a Gaussian and cheaper. It covers the same part of a face at every size.

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


def pair_flow(first: np.ndarray, second: np.ndarray, settings: FlowSettings) -> np.ndarray:
    """Return the flow from one frame, uint8 [H, W], to another, by ``settings.backend``; head motion is not subtracted.

    Returns:
        float32 [2, H, W]: the point at (x, y) in ``first`` is at (x + u, y + v) in ``second``; pixels, u right, v down.
    """
    flow: np.ndarray = clip_flow(np.stack([first, second]), [(0, 1)], replace(settings, rigid=False))[0][0]
    return flow


def _initial_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return a fast coarse flow of the raw frames (DIS, Kroeger et al., ECCV 2016), float32 [2, H, W].

    TV-L1 starts from it. Normalised frames contain fine detail only, which cannot show motions longer than itself:
    without this start, a smile of 10 px was lost. Motions of a micro-expression are found with and without it. DIS runs
    without its own refinement, which doubles its time and improves no result, and on the whole frame: on frames of half
    the size, a few smiles were lost under changing light.
    """
    return dis_flow(dis_solver(refine=False), first, second)


def dis_solver(full_resolution: bool = False, refine: bool = True) -> Any:
    """Return a DIS solver (Kroeger, Timofte, Dai, Van Gool: Fast optical flow using dense inverse search, ECCV 2016).

    The finest level may have the full resolution of the images; variational iterations may refine the flow.
    """
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    if full_resolution:
        solver.setFinestScale(0)
    if not refine:
        solver.setVariationalRefinementIterations(0)
    return solver


def dis_flow(solver: Any, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the flow between two uint8 images, float32 [2, H, W]."""
    return np.moveaxis(solver.calc(first, second, None), 2, 0)


def _smooth(field: np.ndarray, settings: FlowSettings) -> np.ndarray:
    """Return a field [2, H, W] without the noise that the few iterations of TV-L1 leave in it, float32.

    Skin moves together with its surroundings, so facial motion is smoother than that noise: with 0.02 of the side
    (3.3 mm on a face with 63 mm between the pupils), the error falls by a quarter and no motion is lost.
    """
    sigma = settings.smooth * max(field.shape)
    if not sigma:
        return field
    window = (2 * math.ceil(3 * sigma) + 1,) * 2
    return np.stack([cv2.GaussianBlur(part, window, sigma) for part in field])


def _centred_grid(size: int, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return x, y of every n-th pixel of a square, measured from its centre, float64 [n, n] each."""
    axis = np.arange(0, size, every, dtype=np.float64) - (size - 1) / 2
    x, y = np.meshgrid(axis, axis)
    return x, y


def fit_similarity(flow: np.ndarray, weights: np.ndarray | None = None) -> Similarity:
    """Return the similarity motion that most of the face shares: the motion of the head.

    Iteratively re-weighted least squares with the redescending weight of Geman and McClure, 1 / (1 + (r / s)^2)^2. The
    scale s of the residuals starts wide and shrinks in each round towards the 30th percentile of the residuals. The
    part of the face that an expression moves has larger residuals and gets little weight; a plain least squares fit
    would absorb the expression.

    Args:
        flow: float [2, S, S], pixels.
        weights: float [S, S], prior weights of the pixels; :func:`merflow.preprocessing.geometry.face_weights` if None.
    """
    size = flow.shape[-1]
    every = max(1, size // 32)
    x, y = _centred_grid(size, every)
    prior = (face_weights(size) if weights is None else np.asarray(weights))[::every, ::every]
    used = prior > 0
    # In units of the side, so that the four unknowns have one order of magnitude.
    x, y, prior = x[used] / size, y[used] / size, prior[used]
    u, v = (np.asarray(part, np.float64)[::every, ::every][used] for part in flow)
    # Everything that the normal equations sum over the pixels.
    terms = np.stack([np.ones_like(x), x, y, x * x + y * y, u, v, x * u + y * v, x * v - y * u])
    # Starts at the median shift, which an expression changes only if it moves half of the face.
    a, b, tx, ty = 0.0, 0.0, float(np.median(u)), float(np.median(v))
    still = int(0.3 * len(u))
    for turn in range(_ROUNDS):
        residual = np.hypot(u - (a * x - b * y + tx), v - (b * x + a * y + ty))
        scale = max(float(np.partition(residual, still)[still]), _MIN_RESIDUAL_PX) * max(1.0, 3.0 * 0.7**turn)
        total, sx, sy, squares, su, sv, along, across = (terms @ (prior / (1 + (residual / scale) ** 2) ** 2)).tolist()
        spread = squares - (sx * sx + sy * sy) / total
        a, b = (along - (sx * su + sy * sv) / total) / spread, (across - (sx * sv - sy * su) / total) / spread
        tx, ty = (su - a * sx + b * sy) / total, (sv - b * sx - a * sy) / total
    return a / size, b / size, tx, ty


def similarity_field(parameters: Similarity | np.ndarray, size: int) -> np.ndarray:
    """Return the field of a similarity motion, float32 [2, size, size], pixels."""
    a, b, tx, ty = (float(value) for value in parameters)
    x, y = _centred_grid(size)
    return np.stack([a * x - b * y + tx, b * x + a * y + ty]).astype(np.float32)


def optical_strain(flow: np.ndarray) -> np.ndarray:
    """Return the magnitude of the optical strain of a flow [..., 2, S, S]: sqrt(exx^2 + eyy^2 + 2 exy^2), float32.

    exx = du/dx, eyy = dv/dy, exy = (du/dy + dv/dx) / 2, by central differences: the deformation of the skin, which is
    invariant to a shift and a (small) rotation of the head. Shreve et al.: Macro- and micro-expression spotting in long
    videos using spatio-temporal strain, FG 2011.
    """
    flow = np.asarray(flow, np.float32)
    u, v = flow[..., 0, :, :], flow[..., 1, :, :]
    u_y, u_x = np.gradient(u, axis=(-2, -1))
    v_y, v_x = np.gradient(v, axis=(-2, -1))
    shear = (u_y + v_x) / 2
    return np.asarray(np.sqrt(u_x**2 + v_y**2 + 2 * shear**2))


def flow_image(flow: np.ndarray, full: float | None = None) -> np.ndarray:
    """Return a flow field as colours: hue is the direction, saturation the length; no motion is white.

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
    frames: np.ndarray, pairs: Sequence[tuple[int, int]], settings: FlowSettings, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return facial flow and head motion for pairs of frames of one clip.

    Args:
        frames: uint8 [T, S, S].
        pairs: indices (from, to) into ``frames``; equal pairs are computed once.
        settings: settings of the stage.
        weights: as in :func:`fit_similarity`.

    Returns:
        The flow, float32 [M, 2, S, S], with head motion subtracted (unless ``rigid`` is false), and the head motion,
        float32 [M, 4], as :func:`fit_similarity` returns it (zeros if ``rigid`` is false).
    """
    # Loaded by name, not imported: key-frames, cache and report use this module without a backend, and the code hash of
    # their rules must not follow numba. The script of the flow imports the backends itself.
    solve = import_module(".tvl1.backends", __package__).backend(settings.backend)
    shape = (2, *frames.shape[1:])
    prepared: dict[int, np.ndarray] = {}
    motions: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    for pair in dict.fromkeys(pairs):
        motion, rigid = np.zeros(shape, np.float32), np.zeros(4, np.float32)
        if pair[0] != pair[1]:
            for index in pair:
                if index not in prepared:
                    image = frames[index]
                    prepared[index] = local_contrast(image) if settings.normalise else image.astype(np.float32) / 255
            start = _initial_flow(frames[pair[0]], frames[pair[1]])
            motion = _smooth(solve(prepared[pair[0]], prepared[pair[1]], start, settings), settings)
            if settings.rigid:
                rigid = np.array(fit_similarity(motion, weights), np.float32)
                motion = motion - similarity_field(rigid, shape[-1])
        motions[pair] = motion, rigid
    flow, rigids = np.zeros((len(pairs), *shape), np.float32), np.zeros((len(pairs), 4), np.float32)
    for index, pair in enumerate(pairs):
        flow[index], rigids[index] = motions[pair]
    return flow, rigids


def subject_flow(faces: str | Path, keyframes: str | Path, output: str | Path, settings: FlowSettings) -> None:
    """Compute the flow of all clips of a subject and write ``flow/{subject}.h5``.

    Every clip has a group with attributes ``clip``, ``subject``, ``status``. If ok, it holds ``flow`` float16
    [M, 2, S, S] in pixels of the aligned crop, head motion subtracted; ``frame_numbers`` int64 [M], the key-frames, -1
    if interpolated; with those, ``frames`` uint8 [1 + M, S, S], onset and key-frames; ``rigid`` float32 [M, 4], the
    subtracted motion; and the attributes ``backend`` and ``head_motion_px``, the largest mean length of a subtracted
    field. A still image has M = 0.

    Raises:
        InputError: key-frames are missing or are not among the frames: the two inputs do not belong together.
    """
    cv2.setNumThreads(1)
    table = read_table(keyframes, KEYFRAMES)
    rows = {str(name): part for name, part in table.groupby("clip", sort=False)}
    with open_h5(faces) as source, atomic_write(output) as temporary, h5py.File(temporary, "w") as target:
        size = int(source.attrs["size"])
        target.attrs["size"] = size
        target.attrs["settings"] = json.dumps(asdict(settings), sort_keys=True)
        for group in source.values():
            clip = str(group.attrs["clip"])
            flow_group = target.create_group(safe_filename(clip))
            for name in ("clip", "subject", "status"):
                flow_group.attrs[name] = group.attrs[name]
            if group.attrs["status"] != "ok":
                continue
            if clip not in rows:
                raise InputError(f"{keyframes} has no row for clip {clip} of {faces}; delete it and run again")
            numbers = rows[clip]["frame"].fillna(-1).astype(np.int64).to_numpy()
            filmed = numbers >= 0
            frame_index = {int(number): index for index, number in enumerate(group["frame_numbers"][()])}
            missing = [int(number) for number in numbers[filmed] if int(number) not in frame_index]
            if missing:
                raise InputError(
                    f"{keyframes}: frame {missing[0]} of clip {clip} is not in {faces}; delete it and run again"
                )
            # The first row is the onset; a still image has one row and no flow.
            frames, indices = np.unique([frame_index[int(number)] for number in numbers[filmed]], return_inverse=True)
            images, keyframe_indices = group["frames"][()][frames], indices.tolist()
            if not filmed.all():
                images = fill_between(images[indices], filmed, lambda first, second: pair_flow(first, second, settings))
                flow_group["frames"], keyframe_indices = images, list(range(len(images)))
            before = keyframe_indices[:1] * (len(numbers) - 1)
            if settings.reference == "consecutive":
                before = keyframe_indices[:-1]
            pairs = list(zip(before, keyframe_indices[1:], strict=True))
            weights = face_weights(size, stored_geometry(source, group))
            flow, rigid = clip_flow(images, pairs, settings, weights)
            head_motion = max((float(np.hypot(*similarity_field(row, size)).mean()) for row in rigid), default=0.0)
            flow_group["flow"], flow_group["rigid"] = flow.astype(np.float16), rigid
            flow_group["frame_numbers"] = numbers[1:]
            flow_group.attrs["backend"] = settings.backend
            flow_group.attrs["head_motion_px"] = head_motion
            log.info("%s: %d fields, head motion %.2f px", clip, len(flow), head_motion)
