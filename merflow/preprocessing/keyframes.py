"""Key-frames: how much the face moves in each frame, where that is most (the apex), and the frames that tell it.

A curve over the frames says how far the expression has gone: their measured motion, or the scores of a network that has
learnt it (:mod:`merflow.preprocessing.frame_scorer.scorer`, which this module reads as a table and does not import).

The motion of a frame is its dense optical flow from onset (DIS: Kroeger, Timofte, Dai, Van Gool: Fast optical flow
using dense inverse search, ECCV 2016), with the motion of the head taken off, inside the regions that expressions move.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from scipy.ndimage import gaussian_filter1d

from merflow.errors import ConfigError, InputError
from merflow.preprocessing.faces import eye_centres
from merflow.preprocessing.flow import face_weights, fit_similarity, similarity_field
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import FRAME_SCORES, KEYFRAMES, read_table, write_table

log = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {"method": "motion", "count": 5, "apex": "annotated", "learn_from": None}
"""Settings of the stage: ``method``, one of :data:`METHODS`; ``count`` key-frames beside the onset; ``apex``
``annotated`` (where the dataset has one, else spotted) or ``spotted``; ``learn_from``, which the scorer of ``adaptive``
was given and nothing here reads."""
METHODS = ("motion", "adaptive", "uniform")
"""``motion``: equal steps of the motion curve around the apex; ``adaptive``: of the learned curve; ``uniform``: equal
steps of time."""
SOURCES = ("annotated", "spotted")

REGIONS = {
    "brows": (-0.85, 0.85, -0.65, -0.15),
    "nose": (-0.40, 0.40, 0.30, 0.85),
    "mouth": (-0.65, 0.65, 0.85, 1.55),
}
"""Left, right, top and bottom of the regions that are looked at, in inter-ocular distances from the point between the
eyes. The eyes are left out: a blink moves more than a micro-expression."""

_SIDE = 160  # Side of the crop on which motion is measured.


def region_mask(size: int, crop: float = 2.6, eye_height: float = 0.36, eye_across: float = 0.5) -> np.ndarray:
    """Brow, nose and mouth regions of a crop, bool [size, size].

    Args:
        size: side of the crop in pixels.
        crop: width of the crop in inter-ocular distances.
        eye_height: distance of the eyes from the top, as a part of the side.
        eye_across: distance of the point between them from the left, as a part of the side.
    """
    axis = (np.arange(size) + 0.5) / size
    x, y = (axis - eye_across) * crop, (axis - eye_height) * crop
    mask = np.zeros((size, size), bool)
    for left, right, top, bottom in REGIONS.values():
        mask |= ((y >= top) & (y <= bottom))[:, None] & ((x >= left) & (x <= right))[None, :]
    return mask


def motion_curve(
    frames: np.ndarray, landmarks: np.ndarray | None = None, geometry: Sequence[float] | None = None
) -> np.ndarray:
    """How far the face has moved from the first frame, for each frame.

    Mean of the top tenth of the length of the flow inside the regions, head motion taken off, then smoothed over a few
    frames. The first frame's value is 0 by definition.

    Args:
        frames: uint8 [T, S, S], crops, onset first.
        landmarks: [5, 2] or [68, 2] in crop pixels, for the place of the eyes; None: where alignment puts them by
            default.
        geometry: where the eyes are in a face crop that was taken whole, as
            :data:`merflow.preprocessing.faces.FACE_CROP`, which alignment gives where it found no face; it goes before
            the landmarks.

    Returns:
        float64 [T], in pixels of the crop.
    """
    size = frames.shape[-1]
    if geometry is None:
        geometry = (2.6, 0.36)
        if landmarks is not None:
            eyes = eye_centres(np.asarray(landmarks))
            geometry = (size / float(np.hypot(*(eyes[1] - eyes[0]))), (float(eyes[:, 1].mean()) + 0.5) / size)
    mask, weights = region_mask(_SIDE, *geometry), face_weights(_SIDE, *geometry)
    solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    solver.setFinestScale(0)
    first = _resized(frames[0])
    curve = np.zeros(len(frames))
    for index in range(1, len(frames)):
        flow = np.moveaxis(solver.calc(first, _resized(frames[index]), None), 2, 0)
        flow = flow - similarity_field(fit_similarity(flow, weights), _SIDE)
        lengths = np.hypot(*flow)[mask]
        top = len(lengths) // 10
        curve[index] = np.partition(lengths, -top)[-top:].mean() * size / _SIDE
    return smoothed(curve)


def smoothed(curve: np.ndarray) -> np.ndarray:
    """A curve [T] without the noise of single frames; its first value, the onset's, stays and touches no other."""
    if len(curve) <= 2:
        return curve
    # From onset to offset is one expression, so a short clip is one that was filmed slowly: smooth it less.
    return np.append(curve[:1], gaussian_filter1d(curve[1:], min(1.5, len(curve) / 25), mode="nearest"))


def _resized(frame: np.ndarray) -> np.ndarray:
    if frame.shape[0] == _SIDE:
        return frame
    smaller = frame.shape[0] > _SIDE
    return cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def spot_apex(curve: np.ndarray) -> int:
    """Index of the frame that has moved most from the first one; never the first, unless it is the only one."""
    return 0 if len(curve) == 1 else 1 + int(np.argmax(curve[1:]))


def choose(curve: np.ndarray, apex: int, count: int) -> list[int]:
    """Key-frames at equal steps of a curve around the apex.

    Of ``count`` frames, half (rounded up) rise, the last of them being the apex: at 1/R, 2/R, ... of the way from the
    least motion after onset to that of the apex. The others fall, at F/(F+1), ..., 1/(F+1) of it. With five:
    1/3, 2/3, apex, 2/3, 1/3. Where one side of the apex has too few frames, the other side gives more. All frames are
    distinct if the clip has as many beside its onset; otherwise all of them are taken, and the nearest are repeated.

    Args:
        curve: [T], from :func:`motion_curve`, or learned; in any unit, as only its proportions count.
        apex: index of the apex; 1 is taken for 0, the onset, unless it is the only frame.
        count: number of key-frames.

    Returns:
        ``count`` indices into the clip, ascending; 0, the onset, only if the clip has one frame.
    """
    last = len(curve) - 1
    if last == 0:
        return [0] * count
    apex = max(apex, 1)
    if last <= count:
        return _all_of(last, count)
    falling = min(count // 2, last - apex)
    rising = min(count - falling, apex)
    falling = count - rising
    floor, peak = float(curve[1:].min()), float(curve[apex])
    up = floor + (peak - floor) * np.arange(1, rising) / rising
    down = floor + (peak - floor) * np.arange(falling, 0, -1) / (falling + 1)
    before = _nearest_ascending(curve[1:apex], up)
    after = _nearest_ascending(curve[apex + 1 :], down)
    return [1 + place for place in before] + [apex] + [apex + 1 + place for place in after]


def choose_uniform(frames: int, count: int) -> list[int]:
    """Key-frames at equal steps of time from the onset, the last of them being the last frame.

    Args:
        frames: frames of the clip, the onset first.
        count: number of key-frames.

    Returns:
        As :func:`choose`: distinct where the clip has as many frames.
    """
    last = frames - 1
    if last == 0:
        return [0] * count
    if last <= count:
        return _all_of(last, count)
    return [int(np.floor(last * step / count + 0.5)) for step in range(1, count + 1)]


def _all_of(last: int, count: int) -> list[int]:
    """Frames 1 to ``last``, ``count`` of them or fewer, the nearest repeated until there are ``count``."""
    return (1 + np.round(np.linspace(0, last - 1, count)).astype(int)).tolist()


def _nearest_ascending(values: np.ndarray, levels: np.ndarray) -> list[int]:
    """Strictly ascending places in ``values`` [n] with the least sum of distances to ``levels`` [k], k <= n.

    Ties go to the earliest places. Dynamic programming over (level, place).
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
    places = [int(np.argmin(total))]
    for where in reversed(came_from):
        places.append(int(where[places[-1]]))
    return places[::-1]


def select_subject(
    faces: str | Path,
    output: str | Path,
    settings: Mapping[str, Any] | None = None,
    scores: str | Path | None = None,
) -> None:
    """Choose the key-frames of all clips of a subject and write ``keyframes/{subject}.csv``.

    Columns as in :data:`merflow.storage.tables.KEYFRAMES`: ``index`` 0 is the onset, 1..M are the key-frames in time;
    ``magnitude_px`` is the curve there: motion in pixels of the aligned crop, or with ``adaptive`` the learned score,
    which has no unit. The apex is always spotted, for the record, and ``apex_source`` says which one was used. A still
    image has one row (index 1, ``still``); a clip that could not be aligned has none.

    Args:
        faces: output of :func:`merflow.preprocessing.faces.align_subject`.
        output: CSV file, written whole or not at all.
        settings: see :data:`DEFAULTS`.
        scores: output of :func:`merflow.preprocessing.frame_scorer.scorer.score_subject` for the same faces;
            ``adaptive`` needs it.

    Raises:
        ConfigError: a setting is not known or not allowed.
        InputError: ``scores`` do not belong to ``faces``.
    """
    options = DEFAULTS | dict(settings or {})
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        raise ConfigError(f"unknown key-frame setting {', '.join(unknown)}; known: {', '.join(DEFAULTS)}")
    for name, allowed in (("method", METHODS), ("apex", SOURCES)):
        if options[name] not in allowed:
            raise ConfigError(f"keyframes.{name}: {options[name]} is not allowed; allowed: {', '.join(allowed)}")
    if int(options["count"]) < 1:
        raise ConfigError(f"keyframes.count: {options['count']} is not allowed; 1 or more is")
    if (scores is not None) != (options["method"] == "adaptive"):
        raise ConfigError(f"keyframes.method: {options['method']}: scores of frames are for adaptive, which needs them")
    cv2.setNumThreads(1)
    learned = None if scores is None else _scores(scores)
    rows: list[dict[str, Any]] = []
    with open_h5(faces) as file:
        for group in file.values():
            if group.attrs["status"] != "ok":
                continue
            if group.attrs["kind"] == "still":
                rows.append(_still_row(group))
            elif learned is None:
                curve = motion_curve(group["frames"][()], group.attrs.get("landmarks"), group.attrs.get("geometry"))
                rows += _clip_rows(group, curve, options)
            else:
                own = learned.get(str(group.attrs["clip"]), {})
                numbers = [int(number) for number in group["frame_numbers"][()]]
                if set(numbers) != set(own):
                    clip = group.attrs["clip"]
                    raise InputError(f"{scores}: the frames of clip {clip} are not those of {faces}; make it anew")
                rows += _clip_rows(group, smoothed(np.array([own[number] for number in numbers])), options)
    write_table(rows, output, KEYFRAMES)


def _scores(path: str | Path) -> dict[str, dict[int, float]]:
    """Score of each frame of each clip."""
    table = read_table(path, FRAME_SCORES)
    return {
        str(clip): dict(zip(own["frame"].astype(int), own["score"].astype(float), strict=True))
        for clip, own in table.groupby("clip", sort=False)
    }


def _annotated(group: h5py.Group) -> int | str:
    """Number of the annotated apex, empty where there is none."""
    return apex if (apex := int(group.attrs["apex"])) >= 0 else ""


def _still_row(group: h5py.Group) -> dict[str, Any]:
    numbers, annotated = group["frame_numbers"][()].tolist(), _annotated(group)
    frame = annotated if annotated in numbers else numbers[0]
    row = {"clip": str(group.attrs["clip"]), "index": 1, "frame": frame, "magnitude_px": 0.0}
    return row | {"apex_annotated": annotated, "apex_spotted": "", "apex_source": "still"}


def _clip_rows(group: h5py.Group, curve: np.ndarray, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of one aligned clip."""
    clip, annotated = str(group.attrs["clip"]), _annotated(group)
    numbers = [int(number) for number in group["frame_numbers"][()]]
    spotted = spot_apex(curve)
    use_annotated = options["apex"] == "annotated" and annotated in numbers
    apex = numbers.index(annotated) if use_annotated else spotted
    row = {"clip": clip, "apex_annotated": annotated, "apex_spotted": numbers[spotted]}
    row["apex_source"] = "annotated" if use_annotated else "spotted"
    log.info("%s: apex %s, spotted %d", clip, annotated or "unknown", numbers[spotted])
    count = int(options["count"])
    steps = choose_uniform(len(curve), count) if options["method"] == "uniform" else choose(curve, apex, count)
    return [
        row | {"index": index, "frame": numbers[place], "magnitude_px": float(curve[place])}
        for index, place in enumerate([0, *steps])
    ]
