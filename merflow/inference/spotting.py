"""Micro-expressions in long videos: where the face leaves its position and returns to it within half a second.

The video is read once, frame by frame, and memory does not grow with its length. At each time t the dense flow from t
back by k and on by k is compared, k being 0.2 s, less than half of the longest micro-expression. Where both lead the
same way the face was somewhere else before, and is again after: an expression that came and went. A drifting head, a
change of posture and an expression that stays lead opposite ways and cancel. This is the reference to frames on both
sides of Moilanen, Zhao, Pietikäinen: Spotting rapid facial movements from videos using appearance-based feature
difference analysis (ICPR 2014), on flow instead of appearance, with the direction of motion as in Wang, Wu, Fu: Main
directional maximal difference analysis for spotting facial movements from long-term videos (Neurocomputing 2017).

A micro-expression lasts 1/25 to 1/2 s (Yan et al.: How fast are the leaked facial expressions, Journal of Nonverbal
Behavior 2013; Ekman: Telling lies). Eyes are left out: a blink comes and goes as fast.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from merflow.preprocessing.faces import Face, find_face
from merflow.preprocessing.flow import fit_similarity, similarity_field
from merflow.preprocessing.geometry import crop_transform, face_weights, map_points, region_mask, warp
from merflow.preprocessing.settings import STANDARD_GEOMETRY

log = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {"whole": 1.0, "reference": 0.2, "least_motion": 0.28, "deviations": 4.0, "blink": 2.0}
"""Settings: ``whole``: seconds up to which a clip is taken as one candidate; ``reference``: seconds between the frames
that are compared; ``least_motion``: of a peak, per cent of the distance between the eyes; ``deviations``: of a peak
above the median of the video, in robust standard deviations; ``blink``: how much more than the rest of the face the
lids move in a blink, which is no candidate."""

SHORTEST, LONGEST = 1 / 25, 1 / 2
"""Least and most length of a micro-expression in seconds."""

_SIDE = 160  # Side of the crop on which motion is measured, as in merflow.preprocessing.keyframes.
_CROP = STANDARD_GEOMETRY.crop
_INTEROCULAR = _SIDE / _CROP
_BLOCKS = 6  # Of frames in k: what a slow camera sees anyway is enough to find where to look.
_LOOK_EVERY = 1.0  # Seconds after which the face is looked for again.
_MOVED = 0.12  # Distances between the eyes: so far a face moves before it is cut out anew.
_TOP = 0.1
_SMOOTH = 4.0  # Pixels of the square.
_EYE_REGION = (-0.85, 0.85, -0.15, 0.2)  # As merflow.preprocessing.keyframes.REGIONS.
_CLOSER = 60  # Frames a second that are looked at closer.
_NEUTRAL = 0.25  # Part of the greatest distance to the apex that onset and offset may be short of.
_COSINE = 2 / 3  # Part of its time in which a raised cosine goes the rest of the way.
_THUMBNAILS = 12


@dataclass
class Place:
    """Where the face is from a frame on."""

    frame: int
    transform: np.ndarray
    """float64 [2, 3], pixels of the video to those of a square of 160."""
    face: Face


@dataclass
class Watched:
    """What one look through a video gives."""

    frames: int = 0
    first: int = 0
    last: int = 0
    width: int = 0
    height: int = 0
    centres: list[int] = field(default_factory=list)
    """Frame numbers of the curve."""
    motion: list[float] = field(default_factory=list)
    """Motion there and back, per cent of the distance between the eyes; NaN where no face is."""
    lids: list[float] = field(default_factory=list)
    """The same between brows and cheeks, where lids move."""
    places: list[Place] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    """First and last frame of stretches without a face."""
    thumbnails: list[tuple[int, np.ndarray]] = field(default_factory=list)


@dataclass(frozen=True)
class Interval:
    """A candidate, in frame numbers of the video; ``strength`` is the height of its peak (as ``motion``)."""

    onset: int
    apex: int
    offset: int
    strength: float


@dataclass(frozen=True)
class Window:
    """Where to look closer: first frame, time of the peak, last frame; its height; whether it is a blink."""

    first: int
    peak: int
    last: int
    strength: float
    blink: bool


@dataclass(frozen=True)
class Spotted:
    """What a search gives: what was seen, the candidates, and the times of blinks."""

    seen: Watched
    intervals: list[Interval]
    blinks: list[int]


def watch(frames: Iterable[tuple[int, np.ndarray]], fps: float, settings: Mapping[str, Any] | None = None) -> Watched:
    """Look through a video: where the face is, and how far it moves there and back at each time.

    Args:
        frames: number and uint8 [H, W], as :func:`merflow.footage.frames.grey_frames` gives them.
        fps: frames per second.
        settings: see :data:`DEFAULTS`.
    """
    options = DEFAULTS | dict(settings or {})
    cv2.setNumThreads(1)
    reach = max(1, round(float(options["reference"]) * fps))
    step = max(1, reach // _BLOCKS)
    reach = max(1, round(reach / step))
    compare = _Comparison()
    seen = Watched()
    thumbnails = _Thumbnails()
    blocks: deque[tuple[int, dict[int, np.ndarray]]] = deque(maxlen=2 * reach + 1)
    sums: dict[int, np.ndarray] = {}
    members: list[int] = []
    active: dict[int, int] = {}  # Place, and the block after which it is needed no more.
    current, next_look, number = None, 0.0, -1
    done = 0
    for count, (number, frame) in enumerate(frames):
        if not count:
            seen.first, (seen.height, seen.width) = number, frame.shape
        thumbnails.offer(number, frame)
        if count >= next_look:
            found = find_face([frame], 5, 1 if current is None and not seen.places else 0)
            next_look = count + max(1.0, fps * (_LOOK_EVERY if found else 0.25))
            if found is None:
                if not seen.lost or seen.lost[-1][1] >= 0:
                    seen.lost.append((number, -1))
                current = None
            else:
                if seen.lost and seen.lost[-1][1] < 0:
                    seen.lost[-1] = (seen.lost[-1][0], number)
                face = found[1]
                if current is None or _has_moved(seen.places[current], face):
                    if current is not None:
                        active[current] = done + 2 * reach
                    seen.places.append(Place(number, crop_transform(face.eyes, _SIDE), face))
                    current = len(seen.places) - 1
        wanted = ([] if current is None else [current]) + [one for one, until in active.items() if done <= until]
        for one in wanted:
            crop = warp(frame, seen.places[one].transform, _SIDE)
            if not members:
                sums[one] = crop.astype(np.float32)
            elif one in sums:  # A face that was found amid a block begins with the next.
                cv2.accumulate(crop, sums[one])
        members.append(number)
        if len(members) == step:
            means = {one: np.round(total / step).astype(np.uint8) for one, total in sums.items() if one in wanted}
            blocks.append((members[len(members) // 2], means))
            sums, members, done = {}, [], done + 1
            active = {one: until for one, until in active.items() if done <= until}
            if len(blocks) == 2 * reach + 1:
                shared = set(blocks[0][1]) & set(blocks[reach][1]) & set(blocks[-1][1])
                best = max(shared, default=None)
                crops = None if best is None else [blocks[place][1][best] for place in (0, reach, -1)]
                face, lids = (np.nan, np.nan) if crops is None else compare(*crops)
                seen.centres.append(blocks[reach][0])
                seen.motion.append(face)
                seen.lids.append(lids)
        seen.frames = count + 1
    seen.last = max(number, 0)
    if seen.lost and seen.lost[-1][1] < 0:
        seen.lost[-1] = (seen.lost[-1][0], seen.last)
    seen.thumbnails = thumbnails.kept
    return seen


class _Comparison:
    """Motion there and back, of three crops."""

    def __init__(self, refined: bool = False) -> None:
        self.mask, self.weights = region_mask(_SIDE), face_weights(_SIDE)
        self.eyes = region_mask(_SIDE, boxes=[_EYE_REGION])
        self.solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self.solver.setFinestScale(0)
        if not refined:
            self.solver.setVariationalRefinementIterations(0)  # Half of the time, for a little more noise.

    def flow(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Flow less the head's, float32 [2, S, S]."""
        found = np.moveaxis(self.solver.calc(first, second, None), 2, 0)
        found = found - similarity_field(fit_similarity(found, self.weights), _SIDE)
        # Skin drags its surroundings along; the noise of a compressed video is finer than that.
        return np.stack([cv2.GaussianBlur(part, (0, 0), _SMOOTH) for part in found])

    def top(self, lengths: np.ndarray, mask: np.ndarray | None = None) -> float:
        """Mean of the top tenth inside the regions, per cent of the distance between the eyes."""
        inside = lengths[self.mask if mask is None else mask]
        top = max(1, int(len(inside) * _TOP))
        return float(np.partition(inside, -top)[-top:].mean()) * 100 / _INTEROCULAR

    def __call__(self, before: np.ndarray, now: np.ndarray, after: np.ndarray) -> tuple[float, float]:
        """How far the face, and how far the lids, are from where they were before and will be after.

        In the way that both agree on.
        """
        back, on = self.flow(now, before), self.flow(now, after)
        way = back + on
        way /= np.maximum(np.hypot(*way), 1e-6)
        agreed = np.minimum((back * way).sum(axis=0), (on * way).sum(axis=0))
        agreed = np.maximum(agreed, 0)
        return self.top(agreed), self.top(agreed, self.eyes)


class _Thumbnails:
    """A few frames at equal steps of a video whose length is not known before its end."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, np.ndarray]] = []
        self.every, self.count = 1, 0

    def offer(self, number: int, frame: np.ndarray) -> None:
        if self.count % self.every == 0:
            scale = min(1.0, 160 / max(frame.shape))
            size = [max(1, round(side * scale)) for side in frame.shape[::-1]]
            self.kept.append((number, cv2.resize(frame, size, interpolation=cv2.INTER_AREA)))
            if len(self.kept) == 2 * _THUMBNAILS:
                self.kept, self.every = self.kept[::2], 2 * self.every
        self.count += 1


def _has_moved(place: Place, face: Face) -> bool:
    """Whether a face lies elsewhere in the square, or has another size, than when it was cut out."""
    before, now = (map_points(place.transform, one.eyes) for one in (place.face, face))
    return bool(np.hypot(*(now - before).T).max() > _MOVED * _INTEROCULAR)


def smooth(motion: Sequence[float], reach: int) -> np.ndarray:
    """The curve less the noise of single times; where there is no face it stays NaN."""
    values = np.asarray(motion, np.float64)
    known = np.isfinite(values)
    sigma = max(0.5, reach / 6)
    weights = gaussian_filter1d(known.astype(float), sigma, mode="nearest")
    filled = gaussian_filter1d(np.where(known, values, 0.0), sigma, mode="nearest")
    return np.where(known, filled / np.maximum(weights, 1e-9), np.nan)


def threshold(curve: np.ndarray, settings: Mapping[str, Any] | None = None) -> float:
    """What a peak must exceed: the least motion that counts, or more where the video is restless.

    Args:
        curve: [n], of :func:`smooth`.
        settings: see :data:`DEFAULTS`.
    """
    options = DEFAULTS | dict(settings or {})
    known = curve[np.isfinite(curve)]
    if not len(known):
        return float(options["least_motion"])
    middle = float(np.median(known))
    # Of the lower half alone: expressions, which are above, have no say in what rest is.
    deviation = 1.4826 * float(np.median(middle - known[known <= middle]))
    return max(float(options["least_motion"]), middle + float(options["deviations"]) * deviation)


def peaks(curve: np.ndarray, least: float, apart: int) -> list[int]:
    """Places of the peaks of a curve [n] that reach ``least`` and lie ``apart`` or more from a higher one."""
    values = np.where(np.isfinite(curve), curve, 0.0)
    found, _ = find_peaks(np.concatenate([[0.0], values, [0.0]]), height=least, distance=max(1, apart))
    return [int(place) - 1 for place in found]


def windows(seen: Watched, fps: float, settings: Mapping[str, Any] | None = None) -> list[Window]:
    """Where to look closer, in order of time; blinks are among them, and told apart."""
    options = DEFAULTS | dict(settings or {})
    if not seen.motion:
        return []
    spacing = max(1, seen.centres[1] - seen.centres[0]) if len(seen.centres) > 1 else 1
    reach = max(1, round(float(options["reference"]) * fps / spacing))
    curve, lids = smooth(seen.motion, reach), smooth(seen.lids, reach)
    around = round(LONGEST * 0.75 * fps)
    found = []
    for place in peaks(curve, threshold(curve, options), reach):
        peak = seen.centres[place]
        blink = bool(lids[place] >= float(options["blink"]) * curve[place])
        ends = max(seen.first, peak - around), min(seen.last, peak + around)
        found.append(Window(ends[0], peak, ends[1], float(curve[place]), blink))
    return found


def refine(numbers: Sequence[int], crops: np.ndarray, peak: int, fps: float) -> tuple[int, int]:
    """Onset and offset of a candidate, frame numbers.

    On either side of the peak the nearest frame from which the face is as far from its apex as it gets, but for a
    quarter, and on from there as far as the rest takes at the speed of a raised cosine.

    Args:
        numbers: frame numbers [n], ascending, the peak among them.
        crops: uint8 [n, 160, 160].
        peak: time of the peak.
        fps: frames per second.
    """
    compare = _Comparison(refined=True)
    middle = int(np.argmin(np.abs(np.asarray(numbers) - peak)))
    every = max(1, round(fps / _CLOSER))
    chosen = sorted({*range(middle % every, len(crops), every), 0, len(crops) - 1})
    found = [0.0 if n == middle else compare.top(np.hypot(*compare.flow(crops[middle], crops[n]))) for n in chosen]
    away = np.interp(np.arange(len(crops)), chosen, gaussian_filter1d(found, 0.8, mode="nearest"))
    onset, offset = _ends(away, middle, max(1, round(LONGEST * fps)) // 2 + 1)
    return int(numbers[onset]), int(numbers[offset])


def _ends(away: np.ndarray, middle: int, most: int) -> tuple[int, int]:
    """Places on both sides of ``middle``, at most so many from it, where the face is at rest (:func:`refine`)."""
    ends = []
    for side in (away[max(0, middle - most) : middle + 1][::-1], away[middle : middle + most + 1]):
        near = int(np.argmax(side >= (1 - _NEUTRAL) * side.max())) if len(side) > 1 else 0
        ends.append(min(round(near / _COSINE), len(side) - 1))
    return middle - ends[0], middle + ends[1]


def closer(
    frames: Iterable[tuple[int, np.ndarray]], seen: Watched, wanted: Sequence[Window], fps: float
) -> Iterator[Interval]:
    """The candidates that the windows hold, in their order; the frames of one window or two are held at a time."""
    waiting = deque(wanted)
    at_work: deque[tuple[Window, list[int], list[np.ndarray]]] = deque()
    for number, frame in frames:
        while waiting and waiting[0].first <= number:
            at_work.append((waiting.popleft(), [], []))
        for window, numbers, crops in at_work:
            numbers.append(number)
            crops.append(warp(frame, place_at(seen, window.peak).transform, _SIDE))
        while at_work and at_work[0][0].last <= number:
            yield _interval(*at_work.popleft(), fps)
        if not waiting and not at_work:
            return
    for window, numbers, crops in at_work:
        yield _interval(window, numbers, crops, fps)


def place_at(seen: Watched, number: int) -> Place:
    """Where the face is at a frame."""
    return next((place for place in reversed(seen.places) if place.frame <= number), seen.places[0])


def _interval(window: Window, numbers: list[int], crops: list[np.ndarray], fps: float) -> Interval:
    onset, offset = refine(numbers, np.stack(crops), window.peak, fps)
    return Interval(onset, window.peak, offset, window.strength)


def distinct(intervals: Iterable[Interval], fps: float) -> list[Interval]:
    """The intervals that can be micro-expressions, each once: of two that overlap by half, the stronger."""
    kept: list[Interval] = []
    for one in sorted(intervals, key=lambda interval: -interval.strength):
        if one.offset - one.onset < max(2.0, SHORTEST * fps):
            continue
        if all(overlap((one.onset, one.offset), (other.onset, other.offset)) < 0.5 for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda interval: interval.onset)


def overlap(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Intersection over union of two intervals of frames, both ends in them."""
    shared = min(first[1], second[1]) - max(first[0], second[0]) + 1
    union = max(first[1], second[1]) - min(first[0], second[0]) + 1
    return max(0, shared) / union


def spot(
    read: Callable[[], Iterable[tuple[int, np.ndarray]]],
    fps: float,
    settings: Mapping[str, Any] | None = None,
    seen: Watched | None = None,
) -> Spotted:
    """Everything that is found in a long video, which is read twice, the second time as far as is needed.

    Args:
        read: gives its frames anew each time, as :func:`merflow.footage.frames.grey_frames`.
        fps: frames per second.
        settings: see :data:`DEFAULTS`.
        seen: what :func:`watch` gave, if it was looked through already.
    """
    seen = watch(read(), fps, settings) if seen is None else seen
    found = windows(seen, fps, settings)
    wanted = [window for window in found if not window.blink]
    intervals = distinct(closer(read(), seen, wanted, fps), fps) if wanted else []
    return Spotted(seen, intervals, [window.peak for window in found if window.blink])
