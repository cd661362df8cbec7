"""Micro-expressions in long videos: search for times at which the face leaves its position and soon returns to it.

:mod:`merflow.inference.motion` measures the motion in one pass; here, its peaks become candidates. A micro-expression
lasts 1/25 to 1/2 s (Yan et al.: How fast are the leaked facial expressions, Journal of Nonverbal Behavior 2013; Ekman:
Telling lies). The eyes are left out, because a blink is as short.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from merflow.evaluation.interval_matching import overlap
from merflow.inference.curves import least_strengths, smooth, threshold
from merflow.inference.motion_track import MICRO, SHORTEST, Candidate, MotionTrack
from merflow.inference.settings import SpottingSettings


@dataclass(frozen=True)
class SpottingResult:
    """The motion of a video, its candidates, and the frame numbers of blinks."""

    track: MotionTrack
    intervals: list[Candidate]
    blinks: list[int]


def select_candidates(track: MotionTrack, settings: SpottingSettings) -> SpottingResult:
    """Return the micro-expressions among the peaks of a video: those above its threshold that are no blinks."""
    curve, fps = track.micro, track.fps
    least = threshold(smooth(curve.motion, curve.reach(fps)), settings)
    pairs = zip(curve.candidates, least_strengths(curve, fps, settings), strict=True)
    strong = [candidate for candidate, needed in pairs if candidate.strength >= needed and not candidate.blink]
    blinks = [candidate.apex for candidate in curve.candidates if candidate.blink and candidate.strength >= least]
    return SpottingResult(track, distinct(strong, SHORTEST[MICRO] * fps), blinks)


def distinct(intervals: Iterable[Candidate], shortest: float) -> list[Candidate]:
    """Return the intervals of ``shortest`` frames or more; of two that overlap by half, only the stronger one."""
    kept: list[Candidate] = []
    for interval in sorted(intervals, key=lambda interval: -interval.strength):
        if interval.offset - interval.onset < max(2.0, shortest):
            continue
        if all(overlap((interval.onset, interval.offset), (other.onset, other.offset)) < 0.5 for other in kept):
            kept.append(interval)
    return sorted(kept, key=lambda interval: interval.onset)
