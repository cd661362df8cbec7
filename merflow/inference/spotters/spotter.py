"""What every spotting system has in common: labelled videos, detections, and the threshold that separates them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from merflow.evaluation.interval_matching import LEAST_OVERLAP, adds_match, overlaps
from merflow.inference.motion_track import LONGEST, MotionTrack

KINDS = tuple(LONGEST)
"""Kinds of expressions: ``micro`` and ``macro``."""


class Expression(NamedTuple):
    """An annotated expression, in frame numbers of its video, both ends included."""

    onset: int
    offset: int
    kind: str


@dataclass(frozen=True)
class LabelledVideo:
    """A video to learn from: its motion, who is in it, and all expressions that were annotated."""

    track: MotionTrack
    subject: str
    intervals: Sequence[Expression]


@dataclass(frozen=True)
class Detection:
    """An interval that may be an expression, in frame numbers; ``accepted`` if its score reaches the threshold."""

    onset: int
    apex: int
    offset: int
    kind: str
    score: float
    accepted: bool = False


class Spotter(Protocol):
    """A spotting system."""

    name: ClassVar[str]

    def fit(self, videos: Sequence[LabelledVideo]) -> None:
        """Fit everything that is fitted, thresholds too, on the videos of the training people."""

    def detections(self, track: MotionTrack) -> list[Detection]:
        """Return all candidates of a video in order of their onsets; those that count are accepted."""

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what was fitted: numbers and text for Python's JSON, which may be infinite, and tensors."""

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take over a :meth:`state`."""


def minutes(track: MotionTrack) -> float:
    """Return the length of a video."""
    return track.frames / track.fps / 60


def accept(detections: Iterable[Detection], thresholds: dict[str, float]) -> list[Detection]:
    """Return detections in order of their onsets, accepted if they reach the threshold of their kind."""
    judged = [replace(each, accepted=each.score >= thresholds[each.kind]) for each in detections]
    return sorted(judged, key=lambda each: (each.onset, each.offset, each.kind))


def suppress(detections: Iterable[Detection], most_overlap: float = 0.5) -> list[Detection]:
    """Return detections of one kind without those that overlap a higher-scored one by ``most_overlap`` or more."""
    ordered = sorted(detections, key=lambda each: (-each.score, each.onset))
    spans = [(each.onset, each.offset) for each in ordered]
    rivals = overlaps(spans, spans) >= most_overlap
    kept: list[int] = []
    for number in range(len(ordered)):
        if not rivals[number, kept].any():
            kept.append(number)
    return [ordered[number] for number in kept]


@dataclass(frozen=True)
class Fitted:
    """A threshold and what it gives on the training videos."""

    threshold: float
    f1: float
    false_alarms: float
    """Per minute."""


def fit_threshold(
    videos: Sequence[LabelledVideo],
    detections: Sequence[Sequence[Detection]],
    kind: str,
    most_false_alarms: float = np.inf,
) -> Fitted:
    """Return the score that, as threshold, gives the highest F1 on labelled videos.

    Thresholds with more than ``most_false_alarms`` a minute are left out; of several with the same F1, the highest is
    kept. If the videos have no expression of this kind, or nothing was hit, no score reaches the threshold.

    Args:
        videos: the training videos.
        detections: of each video, of one kind.
        kind: the kind of expression.
        most_false_alarms: limit per minute of video.
    """
    labels, scored = 0, []
    for video, of_video in zip(videos, detections, strict=True):
        true = [(i.onset, i.offset) for i in video.intervals if i.kind == kind]
        ordered = sorted(of_video, key=lambda each: -each.score)
        hits = adds_match(overlaps(true, [(each.onset, each.offset) for each in ordered]) >= LEAST_OVERLAP)
        labels += len(true)
        scored += [(each.score, hit) for each, hit in zip(ordered, hits, strict=True)]
    if not scored:
        return Fitted(np.inf, 0.0, 0.0)
    scores, added = np.array(sorted(scored, key=lambda each: -each[0])).T
    hit, count = np.cumsum(added), np.arange(1, len(scores) + 1)
    rate = (count - hit) / max(sum(minutes(video.track) for video in videos), 1e-9)
    # Equal scores are accepted together.
    allowed = np.append(scores[1:] < scores[:-1], True) & (rate <= most_false_alarms)
    f1 = np.where(allowed, 2 * hit / np.maximum(1, labels + count), 0.0)
    best = int(f1.argmax())
    return Fitted(float(scores[best]), float(f1[best]), float(rate[best])) if f1[best] else Fitted(np.inf, 0.0, 0.0)
