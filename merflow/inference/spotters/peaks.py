"""The peak rule of published spotting systems, on the motion of the face.

Liong, See, Wong: Shallow optical flow three-stream CNN for macro- and micro-expression spotting from long videos (ICIP
2021; SOFTNet), and successors such as Liong, See, Chan: Spot-then-recognize (2023; MEAN) turn a score of each frame
into intervals by this rule: the score is averaged over 2k', where k' is half the mean length of the training
expressions; peaks at least k' apart that exceed ``mean + p (maximum - mean)`` of the video become intervals of k' on
either side. Their score is a network's answer to the flow over k = 0.1 s; here it is the length of the flow itself,
over 0.2 s. p is 0.55 there; here it is chosen on the training people. A video without a peak yields nothing (their code
then returns a false alarm).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks
from torch import Tensor

from merflow.inference.motion_track import FEATURES, MotionTrack
from merflow.inference.spotters.spotter import KINDS, Detection, LabelledVideo, accept, fit_threshold

_FLOOR = 0.05
_SIDE = "after"
_LEFT_OUT = ("eye", "head")


class PeakSpotter:
    """The published rule; ``half`` is k' in seconds, and ``thresholds`` holds p, by kind."""

    name: ClassVar[str] = "peaks"

    def __init__(self) -> None:
        self.half: dict[str, float] = {}
        self.thresholds: dict[str, float] = {}

    def fit(self, videos: Sequence[LabelledVideo]) -> None:
        """Take k' from the training expressions and choose p with the highest F1; a kind without any is left out."""
        self.half, self.thresholds = {}, {}
        for kind in KINDS:
            lengths = [
                (interval.offset - interval.onset + 1) / video.track.fps
                for video in videos
                for interval in video.intervals
                if interval.kind == kind
            ]
            if lengths:
                self.half[kind] = float(np.mean(lengths)) / 2
                detections = [self._scored(video.track, kind) for video in videos]
                self.thresholds[kind] = fit_threshold(videos, detections, kind).threshold

    def detections(self, track: MotionTrack) -> list[Detection]:
        """Return the peaks of the video; the score is p at which a peak is just accepted."""
        return accept((each for kind in self.half for each in self._scored(track, kind)), self.thresholds)

    def _scored(self, track: MotionTrack, kind: str) -> list[Detection]:
        curve = track.micro
        if len(curve.centres) < 2:
            return []
        half = self.half[kind] * track.fps
        apart = max(1.0, half / curve.spacing)
        averaged = uniform_filter1d(flow_length(track), max(1, round(2 * apart)), mode="nearest")
        mean, highest = float(averaged.mean()), float(averaged.max())
        places = find_peaks(np.pad(averaged, 1), height=mean + _FLOOR * (highest - mean), distance=apart)[0] - 1
        # Flow from one frame to a later one shows what happens between them.
        middle = curve.reference * track.fps / 2
        detections = []
        for place in places:
            apex = min(track.last, round(curve.centres[place] + middle))
            ends = max(track.first, round(apex - half)), min(track.last, round(apex + half))
            score = (averaged[place] - mean) / max(highest - mean, 1e-9)
            detections.append(Detection(ends[0], apex, ends[1], kind, float(score)))
        return detections

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return k' and p."""
        return {"half": self.half, "thresholds": self.thresholds}, {}

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take over k' and p."""
        self.half, self.thresholds = dict(state["half"]), dict(state["thresholds"])


def flow_length(track: MotionTrack) -> np.ndarray:
    """Return the mean length of the flow of all regions but the eyes to 0.2 s later, float64 [n]; 0 without a face."""
    features = np.nan_to_num(np.array(track.features, np.float64))
    axes = [
        [FEATURES.index(name) for name in FEATURES if name.endswith(f"{axis} {_SIDE}") and not _left_out(name)]
        for axis in ("right", "down")
    ]
    return np.asarray(np.hypot(features[:, axes[0]], features[:, axes[1]]).mean(axis=1))


def _left_out(name: str) -> bool:
    return any(part in name.split() for part in _LEFT_OUT)
