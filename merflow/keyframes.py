"""Key-frames: how much the face moves in each frame, where that is most (the apex), and the frames that tell it.

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

from merflow.errors import ConfigError
from merflow.faces import eye_centres
from merflow.flow import face_weights, fit_similarity, similarity_field
from merflow.tables import KEYFRAMES, write_table

log = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {"count": 5, "apex": "annotated"}
"""Settings of the stage: ``count`` key-frames beside the onset; ``apex`` ``annotated`` (where the dataset has one, else
spotted) or ``spotted``."""
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
        geometry: where the eyes are in a face crop that was taken whole, as :data:`merflow.faces.FACE_CROP`, which
            alignment gives where it found no face; it goes before the landmarks.

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
    if len(frames) > 2:
        # From onset to offset is one expression, so a short clip is one that was filmed slowly: smooth it less.
        curve[1:] = gaussian_filter1d(curve[1:], min(1.5, len(frames) / 25), mode="nearest")
    return curve


def _resized(frame: np.ndarray) -> np.ndarray:
    if frame.shape[0] == _SIDE:
        return frame
    smaller = frame.shape[0] > _SIDE
    return cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def spot_apex(curve: np.ndarray) -> int:
    """Index of the frame that has moved most from the first one; never the first, unless it is the only one."""
    return 0 if len(curve) == 1 else 1 + int(np.argmax(curve[1:]))


def choose(curve: np.ndarray, apex: int, count: int) -> list[int]:
    """Key-frames at equal steps of the motion curve around the apex.

    Of ``count`` frames, half (rounded up) rise, the last of them being the apex: at 1/R, 2/R, ... of the way from the
    least motion after onset to that of the apex. The others fall, at F/(F+1), ..., 1/(F+1) of it. With five:
    1/3, 2/3, apex, 2/3, 1/3. Where one side of the apex has too few frames, the other side gives more. All frames are
    distinct if the clip has as many beside its onset; otherwise all of them are taken, and the nearest are repeated.

    Args:
        curve: [T], from :func:`motion_curve`.
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
        every = list(range(1, last + 1))
        places = np.round(np.linspace(0, last - 1, count)).astype(int) if last > 1 else np.zeros(count, int)
        return [every[place] for place in places]
    falling = min(count // 2, last - apex)
    rising = min(count - falling, apex)
    falling = count - rising
    floor, peak = float(curve[1:].min()), float(curve[apex])
    up = floor + (peak - floor) * np.arange(1, rising) / rising
    down = floor + (peak - floor) * np.arange(falling, 0, -1) / (falling + 1)
    before = _nearest_ascending(curve[1:apex], up)
    after = _nearest_ascending(curve[apex + 1 :], down)
    return [1 + place for place in before] + [apex] + [apex + 1 + place for place in after]


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


def select_subject(faces: str | Path, output: str | Path, settings: Mapping[str, Any] | None = None) -> None:
    """Choose the key-frames of all clips of a subject and write ``keyframes/{subject}.csv``.

    Columns as in :data:`merflow.tables.KEYFRAMES`: ``index`` 0 is the onset, 1..M are the key-frames in time;
    ``magnitude_px`` is the motion curve there, in pixels of the aligned crop. The apex is always spotted, for the
    record, and ``apex_source`` says which one was used. A still image has one row (index 1, ``still``); a clip that
    could not be aligned has none.

    Args:
        faces: output of :func:`merflow.faces.align_subject`.
        output: CSV file, written whole or not at all.
        settings: see :data:`DEFAULTS`.
    """
    options = DEFAULTS | dict(settings or {})
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        raise ConfigError(f"unknown key-frame setting {', '.join(unknown)}; known: {', '.join(DEFAULTS)}")
    if options["apex"] not in SOURCES:
        raise ConfigError(f"keyframes.apex: {options['apex']} is not allowed; allowed: {', '.join(SOURCES)}")
    if int(options["count"]) < 1:
        raise ConfigError(f"keyframes.count: {options['count']} is not allowed; 1 or more is")
    cv2.setNumThreads(1)
    rows: list[dict[str, Any]] = []
    with h5py.File(faces) as file:
        for group in file.values():
            if group.attrs["status"] == "ok":
                rows += _clip_rows(group, int(options["count"]), str(options["apex"]))
    write_table(rows, output, KEYFRAMES)


def _clip_rows(group: h5py.Group, count: int, prefer: str) -> list[dict[str, Any]]:
    """The rows of one aligned clip."""
    clip = str(group.attrs["clip"])
    numbers = [int(number) for number in group["frame_numbers"][()]]
    annotated = int(group.attrs["apex"])
    row: dict[str, Any] = {"clip": clip, "apex_annotated": annotated if annotated >= 0 else ""}
    if group.attrs["kind"] == "still":
        frame = annotated if annotated in numbers else numbers[0]
        return [row | {"index": 1, "frame": frame, "magnitude_px": 0.0, "apex_spotted": "", "apex_source": "still"}]
    curve = motion_curve(group["frames"][()], group.attrs.get("landmarks"), group.attrs.get("geometry"))
    spotted = spot_apex(curve)
    use_annotated = prefer == "annotated" and annotated in numbers
    apex = numbers.index(annotated) if use_annotated else spotted
    row |= {"apex_spotted": numbers[spotted], "apex_source": "annotated" if use_annotated else "spotted"}
    log.info("%s: apex %s, spotted %d", clip, row["apex_annotated"] or "unknown", numbers[spotted])
    chosen = [0, *choose(curve, apex, count)]
    return [
        row | {"index": index, "frame": numbers[place], "magnitude_px": float(curve[place])}
        for index, place in enumerate(chosen)
    ]
