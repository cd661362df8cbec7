"""The motion of a face in a long video, measured in one pass over its frames.

At each time t, the dense flow from t to k earlier and to k later is compared. If both point the same way, the face was
elsewhere before and is elsewhere after: an expression came and went. A drifting head, a change of posture and a lasting
expression point opposite ways and cancel. This is the reference to frames on both sides of Moilanen, Zhao, Pietikäinen:
Spotting rapid facial movements from videos using appearance-based feature difference analysis (ICPR 2014), computed on
flow instead of appearance, with the direction of motion as in Wang, Wu, Fu: Main directional maximal difference
analysis for spotting facial movements from long-term videos (Neurocomputing 2017).

k is 0.2 s for micro-expressions, less than half of the longest, and 1 s for macro-expressions. The frames of a sixth of
k are averaged to a block. Blocks of the last few k are kept, so that onset and offset of a peak are searched as soon as
the frames around it have passed: memory grows with the length of the video only by its curves.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import local

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from merflow.inference.curves import is_peak, smooth, smoothing_radius
from merflow.inference.motion_track import (
    FEATURES,
    LONGEST,
    MACRO,
    MICRO,
    REGIONS,
    Candidate,
    FacePosition,
    GreyFrame,
    MotionCurve,
    MotionTrack,
)
from merflow.inference.settings import SpottingSettings
from merflow.preprocessing.detection import Face, find_face
from merflow.preprocessing.flow import dis_flow, dis_solver, fit_similarity, similarity_field
from merflow.preprocessing.geometry import Box, crop_transform, face_weights, map_points, region_mask, warp
from merflow.preprocessing.keyframes import MOTION_SIDE
from merflow.preprocessing.settings import STANDARD_GEOMETRY

LEAST_PEAK = 0.5
"""Height of the peaks that fitted systems choose from, as a fraction of ``least_motion``."""
MACRO_REFERENCE = 5.0
"""Times that macro-expressions are compared over, in multiples of ``reference``."""

_INTEROCULAR_PX = MOTION_SIDE / STANDARD_GEOMETRY.crop
_PER_CENT = 100 / _INTEROCULAR_PX
_BLOCKS = 6  # Number of blocks in k.
_MACRO_FPS = 25.0  # Frames per second that are read for the curve of macro-expressions.
_DETECTION_INTERVAL = 1.0  # Seconds after which the face is detected again.
_CNN_INTERVAL = 4.0  # Seconds after which the slow detector is tried again, if it found nothing.
_MAX_SHIFT = 0.12  # Inter-ocular distances that a face may move before it is cropped with a new transform.
_TOP = 0.1
_SMOOTH_PX = 4.0
_EYES: Box = (-0.85, 0.85, -0.15, 0.2)
_REGION_STEP = 4  # Flow is as smooth as _SMOOTH_PX, so every fourth pixel is enough for the mean of a region.
_NEUTRAL = 0.25  # Onset and offset may fall short of the greatest distance to the apex by this fraction.
_COSINE = 2 / 3  # Fraction of its duration in which a raised cosine covers the rest of the way.
_THUMBNAILS = 12
_THUMBNAIL_PX = 160


def track_motion(
    frames: Iterable[GreyFrame],
    fps: float,
    settings: SpottingSettings,
    kinds: Sequence[str] = (MICRO,),
    floor: float | None = None,
) -> MotionTrack:
    """Return where the face is in a video, how far it moves there and back at each time, and the peaks of that motion.

    Args:
        frames: read once, in order.
        fps: frames per second.
        settings: how to search.
        kinds: the curves that are measured: ``micro``, and ``macro`` if it is needed.
        floor: height from which peaks are candidates; ``least_motion`` if None.
    """
    cv2.setNumThreads(1)
    track, thumbnails, compare = MotionTrack(fps), _Thumbnails(), MotionComparison()
    follower = _FaceFollower(track, settings)
    builders = [
        _CurveBuilder(track, kind, settings, settings.least_motion if floor is None else floor, compare)
        for kind in kinds
    ]
    number = 0
    for count, (number, frame) in enumerate(frames):
        if not count:
            track.first, (track.height, track.width) = number, frame.shape
        thumbnails.offer(number, frame)
        position = follower.find(count, number, frame)
        crops = _Crops(frame, track.positions)
        for builder in builders:
            builder.add(count, number, position, crops)
        track.frames = count + 1
    track.last = number
    follower.end()
    for builder in builders:
        builder.end()
    track.thumbnails = thumbnails.kept
    return track


class _FaceFollower:
    """Detects the face from time to time and keeps its positions."""

    def __init__(self, track: MotionTrack, settings: SpottingSettings) -> None:
        self.track, self.settings = track, settings
        self.current: int | None = None
        self.next_detection, self.next_cnn = 0.0, 0.0

    def find(self, count: int, number: int, frame: np.ndarray) -> int | None:
        """Return the index of the face's position in a frame, the ``count``-th; None if there is no face."""
        if count < self.next_detection:
            return self.current
        track, detector, fps = self.track, self.settings.detector, self.track.fps
        upsample = 1 if not track.positions else 0
        detection = find_face([frame], 5, upsample, detector if count >= self.next_cnn else "hog")
        if detection is None and count >= self.next_cnn:
            self.next_cnn = count + fps * _CNN_INTERVAL
        wait = _DETECTION_INTERVAL if detection else _CNN_INTERVAL if detector == "cnn" else 0.25
        self.next_detection = count + max(1.0, fps * wait)
        if detection is None:
            if not self._is_lost():
                track.lost.append((number, -1))
            self.current = None
            return None
        self._regain(number)
        face = detection[1]
        if self.current is None or _has_moved(track.positions[self.current], face):
            track.positions.append(FacePosition(number, crop_transform(face.eyes, MOTION_SIDE), face))
            self.current = len(track.positions) - 1
        return self.current

    def end(self) -> None:
        """End the last stretch without a face with the video."""
        self._regain(self.track.last)

    def _is_lost(self) -> bool:
        return bool(self.track.lost) and self.track.lost[-1][1] < 0

    def _regain(self, number: int) -> None:
        if self._is_lost():
            self.track.lost[-1] = (self.track.lost[-1][0], number)


class _Crops:
    """The crops of one frame, made when they are asked for."""

    def __init__(self, frame: np.ndarray, positions: Sequence[FacePosition]) -> None:
        self.frame, self.positions = frame, positions
        self.made: dict[int, np.ndarray] = {}

    def __getitem__(self, position: int) -> np.ndarray:
        if position not in self.made:
            self.made[position] = warp(self.frame, self.positions[position].transform, MOTION_SIDE)
        return self.made[position]


_Block = tuple[int, dict[int, np.ndarray]]
"""Frame number of its middle, and the mean crop by position of the face."""


class _CurveBuilder:
    """Measures the curve of one kind of expression and refines its peaks.

    A value of the curve belongs to the block that is ``reach`` blocks old, because it is compared to the newest one.
    Whether it is a peak is known ``delay`` values later.
    """

    def __init__(
        self, track: MotionTrack, kind: str, settings: SpottingSettings, floor: float, compare: "MotionComparison"
    ) -> None:
        reference = settings.reference * (1.0 if kind == MICRO else MACRO_REFERENCE)
        self.every = max(1, int(track.fps / _MACRO_FPS)) if kind == MACRO else 1
        frames = max(1, round(reference * track.fps / self.every))
        self.block_size = max(1, frames // _BLOCKS)
        self.curve = track.curves[kind] = MotionCurve(reference, self.block_size * self.every)
        self.track, self.kind, self.compare = track, kind, compare
        self.floor, self.blink, self.longest = floor, settings.blink, LONGEST[kind]
        self.reach = self.curve.reach(track.fps)
        self.delay = self.reach + smoothing_radius(self.reach)
        self.half = math.ceil(self.longest / 2 * track.fps / self.curve.spacing) + 1
        # A peak is delay + reach blocks old when it is known; its onset may be half the longest duration older.
        self.blocks: deque[_Block] = deque(maxlen=self.delay + self.reach + 1 + max(self.half, self.reach))
        self.done = 0
        self.sums: dict[int, np.ndarray] = {}
        self.members: list[int] = []
        self.active: dict[int, int] = {}  # Positions, and the block after which each is no longer needed.

    def add(self, count: int, number: int, position: int | None, crops: _Crops) -> None:
        """Take the ``count``-th frame, in which the face is at ``position``."""
        if count % self.every:
            return
        self.active = {place: until for place, until in self.active.items() if self.done <= until}
        if position is None:
            self.active = {}
        else:
            # Frames before and after a change of position are compared in one crop.
            self.active[position] = self.done + self.reach + max(self.half, self.reach)
        for place in self.active:
            if not self.members:
                self.sums[place] = crops[place].astype(np.float32)
            elif place in self.sums:  # A face that is found within a block starts with the next block.
                cv2.accumulate(crops[place], self.sums[place])
        self.members.append(number)
        if len(self.members) == self.block_size:
            whole = {place: total / self.block_size for place, total in self.sums.items() if place in self.active}
            means = {place: np.round(mean).astype(np.uint8) for place, mean in whole.items()}
            self.blocks.append((self.members[len(self.members) // 2], means))
            self.sums, self.members, self.done = {}, [], self.done + 1
            if self.done > 2 * self.reach:
                self._measure()
                self._refine_peak(len(self.curve.motion) - 1 - self.delay)

    def end(self) -> None:
        """Refine the peaks near the end of the video."""
        count = len(self.curve.motion)
        for index in range(max(0, count - self.delay), count):
            self._refine_peak(index)

    def _compared(self, index: int) -> tuple[list[_Block], int | None]:
        """Return the blocks before, at and after a value of the curve, and the latest position that they share."""
        start = index + self.reach - (self.done - len(self.blocks))
        blocks = [self.blocks[start + step] for step in (-self.reach, 0, self.reach)]
        shared = set.intersection(*(set(means) for _, means in blocks))
        return blocks, max(shared, default=None)

    def _measure(self) -> None:
        """Append the newest value of the curve."""
        blocks, position = self._compared(len(self.curve.motion))
        motion = lids = np.nan
        features = np.full(len(FEATURES), np.nan, np.float32)
        if position is not None:
            motion, lids, features = self.compare(*(means[position] for _, means in blocks))
        self.curve.centres.append(blocks[1][0])
        self.curve.motion.append(motion)
        self.curve.lids.append(lids)
        if self.kind == MICRO:
            self.track.features.append(features)

    def _refine_peak(self, index: int) -> None:
        """Append a candidate if a value of the curve is a peak; the ``delay`` values around it must be known."""
        if index < 0:
            return
        start = max(0, index - self.delay)
        motion, lids = (
            smooth(values[start : index + self.delay + 1], self.reach)
            for values in (self.curve.motion, self.curve.lids)
        )
        place = index - start
        if not motion[place] >= self.floor or not is_peak(motion, place, self.reach):
            return
        apex, strength = self.curve.centres[index], float(motion[place])
        blink = bool(lids[place] >= self.blink * strength)
        onset, offset = (apex, apex) if blink else self._refine(index)
        self.curve.candidates.append(Candidate(onset, apex, offset, strength, blink))

    def _refine(self, index: int) -> tuple[int, int]:
        """Return onset and offset of a peak."""
        _, position = self._compared(index)
        middle = index + self.reach - (self.done - len(self.blocks))
        around = range(max(0, middle - self.half), min(len(self.blocks), middle + self.half + 1))
        # Blocks in the position that is shared around the peak are next to each other.
        kept = [self.blocks[place] for place in around if position in self.blocks[place][1]]
        numbers = [number for number, _ in kept]
        assert position is not None
        crops = [means[position] for _, means in kept]
        return refine(numbers, crops, self.curve.centres[index], round(self.longest * self.track.fps), self.compare)


class MotionComparison:
    """Measures motion between crops of one face position, by two threads."""

    def __init__(self) -> None:
        self.mask, self.weights = region_mask(MOTION_SIDE), face_weights(MOTION_SIDE)
        self.eyes = region_mask(MOTION_SIDE, boxes=[_EYES])
        self.solvers = local()  # A solver has buffers of its own, so each thread needs one.
        self.threads = ThreadPoolExecutor(2)
        masks = [region_mask(MOTION_SIDE, boxes=[box])[::_REGION_STEP, ::_REGION_STEP] for box in REGIONS.values()]
        self.regions = np.stack([mask.ravel() / mask.sum() for mask in masks], axis=1).astype(np.float32)

    def flow(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the flow without head motion, float32 [2, S, S], and the head motion, float64 [4]."""
        if not hasattr(self.solvers, "dis"):
            self.solvers.dis = dis_solver(full_resolution=True, refine=False)
        flow = dis_flow(self.solvers.dis, first, second)
        head = fit_similarity(flow, self.weights)
        flow = flow - similarity_field(head, MOTION_SIDE)
        # Skin moves together with its surroundings; the noise of a compressed video is finer.
        return np.stack([cv2.GaussianBlur(part, (0, 0), _SMOOTH_PX) for part in flow]), np.array(head)

    def flows(self, first: np.ndarray, others: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the flow from one crop to each of the others, as :meth:`flow` does."""
        return self.threads.map(partial(self.flow, first), others)

    def top(self, lengths: np.ndarray, mask: np.ndarray | None = None) -> float:
        """Return the mean of the top tenth inside a mask, in per cent of the inter-ocular distance."""
        inside = lengths[self.mask if mask is None else mask]
        count = max(1, int(len(inside) * _TOP))
        return float(np.partition(inside, -count)[-count:].mean()) * _PER_CENT

    def __call__(self, before: np.ndarray, now: np.ndarray, after: np.ndarray) -> tuple[float, float, np.ndarray]:
        """Return how far the face and the eyelids are from their positions before and after, and the features.

        The distance is measured along the direction that both flows share.
        """
        (back, back_head), (on, on_head) = self.flows(now, [before, after])
        direction = back + on
        direction /= np.maximum(np.hypot(*direction), 1e-6)
        shared = np.minimum((back * direction).sum(axis=0), (on * direction).sum(axis=0))
        shared = np.maximum(shared, 0)
        parts = [part for flow, head in ((back, back_head), (on, on_head)) for part in self._features(flow, head)]
        return self.top(shared), self.top(shared, self.eyes), np.concatenate(parts).astype(np.float32) * _PER_CENT

    def _features(self, flow: np.ndarray, head: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the mean flow of each region and the head motion, all in pixels of the crop."""
        yield (flow[:, ::_REGION_STEP, ::_REGION_STEP].reshape(2, -1) @ self.regions).ravel()
        yield head * [_INTEROCULAR_PX, _INTEROCULAR_PX, 1, 1]  # Scale and turn as motion at the distance of the eyes.


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


def refine(
    numbers: Sequence[int], crops: Sequence[np.ndarray], peak: int, longest: int, compare: MotionComparison
) -> tuple[int, int]:
    """Return onset and offset of a candidate, frame numbers, at most ``longest`` apart.

    On either side of the peak, find the nearest frame whose distance to the apex is 75 % of the greatest, and
    extrapolate from there at the speed of a raised cosine. ``crops`` are uint8 [160, 160], of frames ``numbers``.
    """
    middle = int(np.argmin(np.abs(np.asarray(numbers) - peak)))
    distances = [compare.top(np.hypot(*flow)) for flow, _ in compare.flows(crops[middle], crops)]
    distances[middle] = 0.0
    frames = np.arange(numbers[0], numbers[-1] + 1)
    distance = np.interp(frames, numbers, gaussian_filter1d(distances, 0.8, mode="nearest"))
    onset, offset = _resting_ends(distance, numbers[middle] - numbers[0], longest // 2 + 1)
    return int(frames[onset]), int(frames[offset])


def _resting_ends(distance: np.ndarray, middle: int, reach: int) -> tuple[int, int]:
    """Return indices on both sides of ``middle``, up to ``reach`` from it, where the face rests (:func:`refine`)."""
    steps = []
    for side in (distance[max(0, middle - reach) : middle + 1][::-1], distance[middle : middle + reach + 1]):
        near = int(np.argmax(side >= (1 - _NEUTRAL) * side.max())) if len(side) > 1 else 0
        steps.append(min(round(near / _COSINE), len(side) - 1))
    return middle - steps[0], middle + steps[1]
