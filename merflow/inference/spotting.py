"""Micro-expressions in long videos: search for times at which the face leaves its position and soon returns to it.

The video is read once, frame by frame, in constant memory. At each time t, the dense flow from t to k earlier and to k
later is compared; k is 0.2 s, less than half of the longest micro-expression. If both point the same way, the face was
elsewhere before and is elsewhere after: an expression came and went. A drifting head, a change of posture and a lasting
expression point opposite ways and cancel. This is the reference to frames on both sides of Moilanen, Zhao, Pietikäinen:
Spotting rapid facial movements from videos using appearance-based feature difference analysis (ICPR 2014), computed on
flow instead of appearance, with the direction of motion as in Wang, Wu, Fu: Main directional maximal difference
analysis for spotting facial movements from long-term videos (Neurocomputing 2017).

A micro-expression lasts 1/25 to 1/2 s (Yan et al.: How fast are the leaked facial expressions, Journal of Nonverbal
Behavior 2013; Ekman: Telling lies). The eyes are left out, because a blink is as short.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from merflow.evaluation.interval_matching import overlap
from merflow.inference.settings import SpottingSettings
from merflow.preprocessing.detection import Face, find_face
from merflow.preprocessing.flow import dis_flow, dis_solver, fit_similarity, similarity_field
from merflow.preprocessing.geometry import Box, crop_transform, face_weights, map_points, region_mask, warp
from merflow.preprocessing.keyframes import MOTION_SIDE
from merflow.preprocessing.settings import STANDARD_GEOMETRY

log = logging.getLogger(__name__)

GreyFrame = tuple[int, np.ndarray]
"""Frame number and grey pixels, uint8 [H, W]."""

SHORTEST, LONGEST = 1 / 25, 1 / 2
"""Shortest and longest duration of a micro-expression in seconds."""

_INTEROCULAR_PX = MOTION_SIDE / STANDARD_GEOMETRY.crop
_BLOCKS = 6  # Number of blocks of frames in k; the frames of a block are averaged.
_DETECTION_INTERVAL = 1.0  # Seconds after which the face is detected again.
_CNN_INTERVAL = 4.0  # Seconds after which the slow detector is tried again, if it found nothing.
_MAX_SHIFT = 0.12  # Inter-ocular distances that a face may move before it is cropped with a new transform.
_TOP = 0.1
_SMOOTH_PX = 4.0
_EYES: Box = (-0.85, 0.85, -0.15, 0.2)
_REFINED_FPS = 60  # Frames per second at which onset and offset are searched.
_NEUTRAL = 0.25  # Onset and offset may fall short of the greatest distance to the apex by this fraction.
_COSINE = 2 / 3  # Fraction of its duration in which a raised cosine covers the rest of the way.
_THUMBNAILS = 12
_THUMBNAIL_PX = 160


@dataclass
class FacePosition:
    """Position of the face from a frame on."""

    frame: int
    transform: np.ndarray
    """float64 [2, 3], pixels of the video to those of the crop on which motion is measured."""
    face: Face


@dataclass
class MotionTrack:
    """Face positions and motion of a video."""

    frames: int = 0
    first: int = 0
    last: int = 0
    width: int = 0
    height: int = 0
    centres: list[int] = field(default_factory=list)
    """Frame numbers of the curves."""
    motion: list[float] = field(default_factory=list)
    """Motion of the face there and back, in per cent of the inter-ocular distance; NaN if there is no face."""
    lids: list[float] = field(default_factory=list)
    """The same between brows and cheeks, where eyelids move."""
    positions: list[FacePosition] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    """First and last frame of stretches without a face."""
    thumbnails: list[GreyFrame] = field(default_factory=list)

    def reach(self, fps: float, settings: SpottingSettings) -> int:
        """Return the number of values of the curves between the frames that are compared."""
        spacing = self.centres[1] - self.centres[0] if len(self.centres) > 1 else 1
        return max(1, round(settings.reference * fps / spacing))


@dataclass(frozen=True)
class Interval:
    """A candidate, in frame numbers of the video; ``strength`` is the height of its peak (as ``motion``)."""

    onset: int
    apex: int
    offset: int
    strength: float


@dataclass(frozen=True)
class Window:
    """A part of the video around a peak of the motion curve, in frame numbers."""

    first: int
    peak: int
    last: int
    strength: float
    blink: bool


@dataclass(frozen=True)
class SpottingResult:
    """The motion of a video, its candidates, and the times of blinks."""

    track: MotionTrack
    intervals: list[Interval]
    blinks: list[int]


def track_motion(frames: Iterable[GreyFrame], fps: float, settings: SpottingSettings) -> MotionTrack:
    """Return where the face is in a video, and how far it moves there and back at each time."""
    cv2.setNumThreads(1)
    reach = max(1, round(settings.reference * fps))
    block_size = max(1, reach // _BLOCKS)
    reach = max(1, round(reach / block_size))
    compare = _MotionComparison()
    track = MotionTrack()
    thumbnails = _Thumbnails()
    blocks: deque[tuple[int, dict[int, np.ndarray]]] = deque(maxlen=2 * reach + 1)
    sums: dict[int, np.ndarray] = {}
    members: list[int] = []
    active: dict[int, int] = {}  # Earlier positions, and the block after which each is no longer needed.
    current: int | None = None
    next_detection, next_cnn, number, blocks_done = 0.0, 0.0, -1, 0
    for count, (number, frame) in enumerate(frames):
        if not count:
            track.first, (track.height, track.width) = number, frame.shape
        thumbnails.offer(number, frame)
        if count >= next_detection:
            upsample = 1 if current is None and not track.positions else 0
            detection = find_face([frame], 5, upsample, settings.detector if count >= next_cnn else "hog")
            if detection is None and count >= next_cnn:
                next_cnn = count + fps * _CNN_INTERVAL
            wait = _DETECTION_INTERVAL if detection else _CNN_INTERVAL if settings.detector == "cnn" else 0.25
            next_detection = count + max(1.0, fps * wait)
            if detection is None:
                if not track.lost or track.lost[-1][1] >= 0:
                    track.lost.append((number, -1))
                current = None
            else:
                if track.lost and track.lost[-1][1] < 0:
                    track.lost[-1] = (track.lost[-1][0], number)
                face = detection[1]
                if current is None or _has_moved(track.positions[current], face):
                    if current is not None:
                        active[current] = blocks_done + 2 * reach
                    track.positions.append(FacePosition(number, crop_transform(face.eyes, MOTION_SIDE), face))
                    current = len(track.positions) - 1
        needed = ([] if current is None else [current]) + [p for p, until in active.items() if blocks_done <= until]
        for position in needed:
            crop = warp(frame, track.positions[position].transform, MOTION_SIDE)
            if not members:
                sums[position] = crop.astype(np.float32)
            elif position in sums:  # A face that is found within a block starts with the next block.
                cv2.accumulate(crop, sums[position])
        members.append(number)
        if len(members) == block_size:
            means = {p: np.round(total / block_size).astype(np.uint8) for p, total in sums.items() if p in needed}
            blocks.append((members[len(members) // 2], means))
            sums, members, blocks_done = {}, [], blocks_done + 1
            active = {position: until for position, until in active.items() if blocks_done <= until}
            if len(blocks) == 2 * reach + 1:
                shared = set(blocks[0][1]) & set(blocks[reach][1]) & set(blocks[-1][1])
                motion = lids = np.nan
                if shared:
                    before, now, after = (blocks[index][1][max(shared)] for index in (0, reach, -1))
                    motion, lids = compare(before, now, after)
                track.centres.append(blocks[reach][0])
                track.motion.append(motion)
                track.lids.append(lids)
        track.frames = count + 1
    track.last = max(number, 0)
    if track.lost and track.lost[-1][1] < 0:
        track.lost[-1] = (track.lost[-1][0], track.last)
    track.thumbnails = thumbnails.kept
    return track


class _MotionComparison:
    """Measures motion between crops of one face position."""

    def __init__(self, refined: bool = False) -> None:
        self.mask, self.weights = region_mask(MOTION_SIDE), face_weights(MOTION_SIDE)
        self.eyes = region_mask(MOTION_SIDE, boxes=[_EYES])
        self.solver = dis_solver(full_resolution=True, refine=refined)

    def flow(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the flow with head motion subtracted, float32 [2, S, S]."""
        flow = dis_flow(self.solver, first, second)
        flow = flow - similarity_field(fit_similarity(flow, self.weights), MOTION_SIDE)
        # Skin moves together with its surroundings; the noise of a compressed video is finer.
        return np.stack([cv2.GaussianBlur(part, (0, 0), _SMOOTH_PX) for part in flow])

    def top(self, lengths: np.ndarray, mask: np.ndarray | None = None) -> float:
        """Return the mean of the top tenth inside a mask, in per cent of the inter-ocular distance."""
        inside = lengths[self.mask if mask is None else mask]
        count = max(1, int(len(inside) * _TOP))
        return float(np.partition(inside, -count)[-count:].mean()) * 100 / _INTEROCULAR_PX

    def __call__(self, before: np.ndarray, now: np.ndarray, after: np.ndarray) -> tuple[float, float]:
        """Return how far the face and the eyelids are from their positions before and after.

        The distance is measured along the direction that both flows share.
        """
        back, on = self.flow(now, before), self.flow(now, after)
        direction = back + on
        direction /= np.maximum(np.hypot(*direction), 1e-6)
        shared = np.minimum((back * direction).sum(axis=0), (on * direction).sum(axis=0))
        shared = np.maximum(shared, 0)
        return self.top(shared), self.top(shared, self.eyes)


class _Thumbnails:
    """A few equally spaced frames of a video of unknown length."""

    def __init__(self) -> None:
        self.kept: list[GreyFrame] = []
        self.every, self.count = 1, 0

    def offer(self, number: int, frame: np.ndarray) -> None:
        if self.count % self.every == 0:
            scale = min(1.0, _THUMBNAIL_PX / max(frame.shape))
            size = [max(1, round(side * scale)) for side in frame.shape[::-1]]
            self.kept.append((number, cv2.resize(frame, size, interpolation=cv2.INTER_AREA)))
            if len(self.kept) == 2 * _THUMBNAILS:
                self.kept, self.every = self.kept[::2], 2 * self.every
        self.count += 1


def _has_moved(position: FacePosition, face: Face) -> bool:
    """Return whether a face has moved or changed its size since the position's transform was estimated."""
    before, now = (map_points(position.transform, eyes) for eyes in (position.face.eyes, face.eyes))
    return bool(np.hypot(*(now - before).T).max() > _MAX_SHIFT * _INTEROCULAR_PX)


def smooth(motion: Sequence[float], reach: int) -> np.ndarray:
    """Return a curve without the noise of single times, float64 [n]; it stays NaN where there is no face."""
    values = np.asarray(motion, np.float64)
    valid = np.isfinite(values)
    sigma = max(0.5, reach / 6)
    weights = gaussian_filter1d(valid.astype(float), sigma, mode="nearest")
    filled = gaussian_filter1d(np.where(valid, values, 0.0), sigma, mode="nearest")
    return np.where(valid, filled / np.maximum(weights, 1e-9), np.nan)


def threshold(curve: np.ndarray, settings: SpottingSettings) -> float:
    """Return the least height of a peak of a curve [n]: ``least_motion``, or more if the video is restless."""
    valid = curve[np.isfinite(curve)]
    if not len(valid):
        return settings.least_motion
    middle = float(np.median(valid))
    # From the lower half only, which contains no expressions.
    deviation = 1.4826 * float(np.median(middle - valid[valid <= middle]))
    return max(settings.least_motion, middle + settings.deviations * deviation)


def peaks(curve: np.ndarray, least: float, apart: int) -> list[int]:
    """Return the indices of peaks of a curve [n] that reach ``least`` and are ``apart`` or more from a higher one."""
    values = np.where(np.isfinite(curve), curve, 0.0)
    indices, _ = find_peaks(np.concatenate([[0.0], values, [0.0]]), height=least, distance=max(1, apart))
    return [int(index) - 1 for index in indices]


def windows(track: MotionTrack, fps: float, settings: SpottingSettings) -> list[Window]:
    """Return the windows around all peaks in order of time, blinks included."""
    if not track.motion:
        return []
    reach = track.reach(fps, settings)
    curve, lids = smooth(track.motion, reach), smooth(track.lids, reach)
    around = round(LONGEST * 0.75 * fps)
    peak_windows = []
    for index in peaks(curve, threshold(curve, settings), reach):
        peak = track.centres[index]
        blink = bool(lids[index] >= settings.blink * curve[index])
        ends = max(track.first, peak - around), min(track.last, peak + around)
        peak_windows.append(Window(ends[0], peak, ends[1], float(curve[index]), blink))
    return peak_windows


def refine(numbers: Sequence[int], crops: np.ndarray, peak: int, fps: float) -> tuple[int, int]:
    """Return onset and offset of a candidate, frame numbers.

    On either side of the peak, find the nearest frame whose distance to the apex is 75 % of the greatest, and
    extrapolate from there at the speed of a raised cosine. ``crops`` are uint8 [n, 160, 160], of frames ``numbers``.
    """
    compare = _MotionComparison(refined=True)
    middle = int(np.argmin(np.abs(np.asarray(numbers) - peak)))
    every = max(1, round(fps / _REFINED_FPS))
    chosen = sorted({*range(middle % every, len(crops), every), 0, len(crops) - 1})
    distances = [0.0 if n == middle else compare.top(np.hypot(*compare.flow(crops[middle], crops[n]))) for n in chosen]
    distance = np.interp(np.arange(len(crops)), chosen, gaussian_filter1d(distances, 0.8, mode="nearest"))
    onset, offset = _resting_ends(distance, middle, max(1, round(LONGEST * fps)) // 2 + 1)
    return int(numbers[onset]), int(numbers[offset])


def _resting_ends(distance: np.ndarray, middle: int, reach: int) -> tuple[int, int]:
    """Return indices on both sides of ``middle``, up to ``reach`` from it, where the face rests (:func:`refine`)."""
    steps = []
    for side in (distance[max(0, middle - reach) : middle + 1][::-1], distance[middle : middle + reach + 1]):
        near = int(np.argmax(side >= (1 - _NEUTRAL) * side.max())) if len(side) > 1 else 0
        steps.append(min(round(near / _COSINE), len(side) - 1))
    return middle - steps[0], middle + steps[1]


def refine_windows(
    frames: Iterable[GreyFrame], track: MotionTrack, candidates: Sequence[Window], fps: float
) -> Iterator[Interval]:
    """Yield the candidate of each window, in order; only the frames of overlapping windows are in memory."""
    waiting = deque(candidates)
    open_windows: deque[tuple[Window, list[int], list[np.ndarray]]] = deque()
    for number, frame in frames:
        while waiting and waiting[0].first <= number:
            open_windows.append((waiting.popleft(), [], []))
        for window, numbers, crops in open_windows:
            numbers.append(number)
            crops.append(warp(frame, position_at(track, window.peak).transform, MOTION_SIDE))
        while open_windows and open_windows[0][0].last <= number:
            yield _refined(*open_windows.popleft(), fps)
        if not waiting and not open_windows:
            return
    for part in open_windows:
        yield _refined(*part, fps)


def position_at(track: MotionTrack, number: int) -> FacePosition:
    """Return the face position at a frame."""
    return next((position for position in reversed(track.positions) if position.frame <= number), track.positions[0])


def _refined(window: Window, numbers: list[int], crops: list[np.ndarray], fps: float) -> Interval:
    onset, offset = refine(numbers, np.stack(crops), window.peak, fps)
    return Interval(onset, window.peak, offset, window.strength)


def distinct(intervals: Iterable[Interval], fps: float) -> list[Interval]:
    """Return the intervals that are long enough; of two that overlap by half, only the stronger one."""
    kept: list[Interval] = []
    for interval in sorted(intervals, key=lambda interval: -interval.strength):
        if interval.offset - interval.onset < max(2.0, SHORTEST * fps):
            continue
        if all(overlap((interval.onset, interval.offset), (other.onset, other.offset)) < 0.5 for other in kept):
            kept.append(interval)
    return sorted(kept, key=lambda interval: interval.onset)


def spot(
    read: Callable[[], Iterable[GreyFrame]], fps: float, settings: SpottingSettings, track: MotionTrack | None = None
) -> SpottingResult:
    """Return the candidates of a long video, which is read twice, the second time as far as needed.

    ``read`` starts reading the frames, as of :func:`merflow.footage.frames.grey_frames`; ``track`` is the result of
    :func:`track_motion` if it was called before.
    """
    track = track_motion(read(), fps, settings) if track is None else track
    all_windows = windows(track, fps, settings)
    candidates = [window for window in all_windows if not window.blink]
    intervals = distinct(refine_windows(read(), track, candidates, fps), fps) if candidates else []
    return SpottingResult(track, intervals, [window.peak for window in all_windows if window.blink])
