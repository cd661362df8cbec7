"""Key-frames: how far the face has moved in each frame, the frame where it has moved most (apex), and key-frames.

Key-frames are chosen from a curve over the frames that says how far the expression has gone: measured motion, or the
scores of a trained network (:mod:`merflow.preprocessing.frame_scorer.scorer`, whose table this module reads).

The motion of a frame is its dense optical flow from onset (DIS: Kroeger, Timofte, Dai, Van Gool: Fast optical flow
using dense inverse search, ECCV 2016), after head motion is subtracted, inside the regions that expressions move.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from scipy.ndimage import gaussian_filter1d

from merflow.errors import ConfigError, InputError
from merflow.preprocessing.flow import dis_flow, dis_solver, fit_similarity, similarity_field
from merflow.preprocessing.geometry import face_weights, region_mask, stored_geometry
from merflow.preprocessing.settings import STANDARD_GEOMETRY, Geometry, KeyframeSettings
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import FRAME_SCORES, KEYFRAMES, read_table, write_table

log = logging.getLogger(__name__)

MOTION_SIDE = 160
"""Side in pixels of the crop on which motion is measured."""


def motion_curve(frames: np.ndarray, geometry: Geometry = STANDARD_GEOMETRY) -> np.ndarray:
    """Return how far the face has moved since the first of some crops [T, S, S], float64 [T], pixels of the crop.

    Mean of the top tenth of the flow magnitude inside the regions, after head motion is subtracted, smoothed over a few
    frames.
    """
    size = frames.shape[-1]
    mask, weights = region_mask(MOTION_SIDE, geometry), face_weights(MOTION_SIDE, geometry)
    solver = dis_solver(full_resolution=True)
    first = _resized(frames[0])
    curve = np.zeros(len(frames))
    for index in range(1, len(frames)):
        flow = dis_flow(solver, first, _resized(frames[index]))
        flow = flow - similarity_field(fit_similarity(flow, weights), MOTION_SIDE)
        lengths = np.hypot(*flow)[mask]
        top = len(lengths) // 10
        curve[index] = np.partition(lengths, -top)[-top:].mean() * size / MOTION_SIDE
    return smoothed(curve)


def smoothed(curve: np.ndarray) -> np.ndarray:
    """Return a curve [T] without the noise of single frames; the first value, at onset, neither changes nor spreads."""
    if len(curve) <= 2:
        return curve
    # The frames from onset to offset are one expression, so a short clip has a low frame rate: smooth it less.
    return np.append(curve[:1], gaussian_filter1d(curve[1:], min(1.5, len(curve) / 25), mode="nearest"))


def _resized(frame: np.ndarray) -> np.ndarray:
    if frame.shape[0] == MOTION_SIDE:
        return frame
    smaller = frame.shape[0] > MOTION_SIDE
    return cv2.resize(frame, (MOTION_SIDE, MOTION_SIDE), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def spot_apex(curve: np.ndarray) -> int:
    """Return the index of the frame that has moved most; never the first, unless it is the only one."""
    return 0 if len(curve) == 1 else 1 + int(np.argmax(curve[1:]))


def choose(curve: np.ndarray, apex: int, count: int) -> list[int]:
    """Choose key-frames at equal steps of a curve around the apex.

    Of ``count`` frames, half (rounded up) are on the rising side, the last of them at the apex: at 1/R, 2/R, ... of the
    way from the least motion after onset to that of the apex. The others are on the falling side, at F/(F+1), ...,
    1/(F+1) of it. With five: 1/3, 2/3, apex, 2/3, 1/3. If one side has too few frames, the other side gets more. All
    frames are distinct if the clip has enough besides its onset; otherwise all are taken, and the nearest repeated.

    Args:
        curve: [T], motion or learned scores; in any unit, because only ratios are used.
        apex: index of the apex; 0, the onset, is replaced by 1 unless it is the only frame.
        count: number of key-frames.

    Returns:
        ``count`` indices into the clip, ascending; 0, the onset, only if the clip has one frame.
    """
    last = len(curve) - 1
    if last == 0:
        return [0] * count
    apex = max(apex, 1)
    if last <= count:
        return _all_frames(last, count)
    falling = min(count // 2, last - apex)
    rising = min(count - falling, apex)
    falling = count - rising
    floor, peak = float(curve[1:].min()), float(curve[apex])
    up = floor + (peak - floor) * np.arange(1, rising) / rising
    down = floor + (peak - floor) * np.arange(falling, 0, -1) / (falling + 1)
    before = _nearest_ascending(curve[1:apex], up)
    after = _nearest_ascending(curve[apex + 1 :], down)
    return [1 + index for index in before] + [apex] + [apex + 1 + index for index in after]


def choose_uniform(frames: int, count: int) -> list[int]:
    """Choose key-frames as :func:`choose` does, at equal steps of time, from the onset (excluded) to the last frame."""
    last = frames - 1
    if last == 0:
        return [0] * count
    if last <= count:
        return _all_frames(last, count)
    return [int(np.floor(last * step / count + 0.5)) for step in range(1, count + 1)]


def choose_proportional(frames: int, apex: int, count: int, interpolate: bool = False) -> list[int | None]:
    """Choose the apex, the last frame, and frames before and after the apex in proportion to the lengths of both sides.

    They are at equal steps of time on each side. With ten key-frames, and the onset, eight are between onset, apex and
    offset, as in MERSiamC3D (docs/fidelity.md). Short sides and clips are treated as in :func:`choose`.

    Args:
        frames: number of frames of the clip.
        apex: index of the apex; 0, the onset, is replaced by 1 unless it is the only frame.
        count: number of key-frames.
        interpolate: whether only apex and last frame are chosen; None stands for each of the others.
    """
    last = frames - 1
    if last == 0:
        return [0] * count
    apex = max(apex, 1)
    rising = count if apex == last else max(1, 1 + round((count - 2) * apex / last))  # The apex is among them.
    if interpolate:
        return [*[None] * (rising - 1), apex, *[None] * (count - rising - 1), last][:count]
    if last <= count:
        return [*_all_frames(last, count)]
    falling = min(count - min(rising, apex), last - apex)
    before, after = np.linspace(0, apex, count - falling + 1)[1:], np.linspace(apex, last, falling + 1)[1:]
    return [int(place + 0.5) for place in (*before, *after)]


def _all_frames(last: int, count: int) -> list[int]:
    """Return frames 1 to ``last``, with the nearest repeated until there are ``count``."""
    frames: list[int] = (1 + np.round(np.linspace(0, last - 1, count)).astype(int)).tolist()
    return frames


def _nearest_ascending(values: np.ndarray, levels: np.ndarray) -> list[int]:
    """Return strictly ascending indices of ``values`` [n] with the least sum of distances to ``levels`` [k], k <= n.

    Ties go to the lowest indices. Dynamic programming over (level, index).
    """
    if not len(levels):
        return []
    distance = np.abs(levels[:, None] - values[None, :])
    total = distance[0]
    came_from = []
    for row in distance[1:]:
        best = np.minimum.accumulate(total)
        where = np.maximum.accumulate(np.where(total < np.concatenate([[np.inf], best[:-1]]), np.arange(len(total)), 0))
        came_from.append(np.concatenate([[0], where[:-1]]))
        total = row + np.concatenate([[np.inf], best[:-1]])
    indices = [int(np.argmin(total))]
    for where in reversed(came_from):
        indices.append(int(where[indices[-1]]))
    return indices[::-1]


def select_subject(
    faces: str | Path, output: str | Path, settings: KeyframeSettings, scores: str | Path | None = None
) -> None:
    """Choose the key-frames of all clips of a subject and write ``keyframes/{subject}.csv``.

    Columns as in :data:`merflow.storage.tables.KEYFRAMES`, rows in time: ``index`` counts the key-frames from 0, as
    ``apex_index`` and the arrays of the cache do, and is empty for the onset;
    ``magnitude_px`` is the curve there: motion in pixels of the aligned crop, or with ``adaptive`` the learned score,
    which has no unit. Both it and ``frame`` are empty for a key-frame that is to be interpolated. The apex is always
    spotted, for the record; ``apex_source`` says which one was used: with every method the spotted one, if none is
    annotated. A still image has one row (index 0, ``still``); a clip that could not be aligned has none.

    ``scores`` are those of :func:`merflow.preprocessing.frame_scorer.scorer.score_subject` for the same faces; only the
    method ``adaptive`` takes them.

    Raises:
        ConfigError: ``scores`` are missing for ``adaptive``, or given for another method.
        InputError: ``scores`` do not belong to ``faces``.
    """
    if (scores is not None) != (settings.method == "adaptive"):
        raise ConfigError(f"keyframes.method: {settings.method}: only adaptive uses scores of frames, and needs them")
    cv2.setNumThreads(1)
    learned = None if scores is None else _read_scores(scores)
    rows: list[dict[str, Any]] = []
    with open_h5(faces) as file:
        for group in file.values():
            if group.attrs["status"] != "ok":
                continue
            if group.attrs["kind"] == "still":
                rows.append(_still_row(group))
            elif learned is None:
                rows += _clip_rows(group, motion_curve(group["frames"][()], stored_geometry(file, group)), settings)
            else:
                clip_scores = learned.get(str(group.attrs["clip"]), {})
                numbers = [int(number) for number in group["frame_numbers"][()]]
                if set(numbers) != set(clip_scores):
                    clip = group.attrs["clip"]
                    raise InputError(
                        f"{scores}: the frames of clip {clip} are not those of {faces}; delete it and run again"
                    )
                rows += _clip_rows(group, smoothed(np.array([clip_scores[number] for number in numbers])), settings)
    write_table(rows, output, KEYFRAMES)


def _read_scores(path: str | Path) -> dict[str, dict[int, float]]:
    """Return the score of each frame of each clip."""
    table = read_table(path, FRAME_SCORES)
    return {
        str(clip): dict(zip(rows["frame"].astype(int), rows["score"].astype(float), strict=True))
        for clip, rows in table.groupby("clip", sort=False)
    }


def _annotated_apex(group: h5py.Group) -> int | str:
    """Return the number of the annotated apex, empty if there is none."""
    return apex if (apex := int(group.attrs["apex"])) >= 0 else ""


def _still_row(group: h5py.Group) -> dict[str, Any]:
    numbers, annotated = group["frame_numbers"][()].tolist(), _annotated_apex(group)
    frame = annotated if annotated in numbers else numbers[0]
    row = {"clip": str(group.attrs["clip"]), "index": 0, "frame": frame, "magnitude_px": 0.0}
    return row | {"apex_annotated": annotated, "apex_spotted": "", "apex_source": "still"}


def _clip_rows(group: h5py.Group, curve: np.ndarray, settings: KeyframeSettings) -> list[dict[str, Any]]:
    """Return the rows of one aligned clip."""
    clip, annotated = str(group.attrs["clip"]), _annotated_apex(group)
    numbers = [int(number) for number in group["frame_numbers"][()]]
    spotted = spot_apex(curve)
    use_annotated = settings.apex == "annotated" and annotated in numbers
    apex = numbers.index(int(annotated)) if use_annotated else spotted
    row = {"clip": clip, "apex_annotated": annotated, "apex_spotted": numbers[spotted]}
    row["apex_source"] = "annotated" if use_annotated else "spotted"
    log.info("%s: apex %s, spotted %d", clip, annotated or "unknown", numbers[spotted])
    steps: Sequence[int | None]
    if settings.method == "uniform":
        steps = choose_uniform(len(curve), settings.count)
    elif settings.method == "proportional":
        steps = choose_proportional(len(curve), apex, settings.count, settings.interpolate)
    else:
        steps = choose(curve, apex, settings.count)
    chosen = [{} if step is None else {"frame": numbers[step], "magnitude_px": float(curve[step])} for step in steps]
    onset = row | {"index": None, "frame": numbers[0], "magnitude_px": float(curve[0])}
    return [onset, *(row | {"index": index} | keyframe for index, keyframe in enumerate(chosen))]
