"""Our search as a spotting system: peaks of the motion there and back, with thresholds that are fitted."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from merflow.inference.curves import least_strengths
from merflow.inference.motion_track import LONGEST, SHORTEST, MotionTrack
from merflow.inference.settings import SpottingSettings
from merflow.inference.spotters.spotter import KINDS, Detection, LabelledVideo, accept, fit_threshold, suppress

MOST_FALSE_ALARMS = 3.0
"""Per minute of the training people, shared by the kinds that they show; not kept if no threshold with a hit does."""


class SearchSpotter:
    """Peaks of the motion there and back that are no blinks.

    The score is the height of a peak over what ``predict.spotting`` demands of it
    (:func:`merflow.inference.curves.least_strengths`), so that 1 is its default; the fit scales it. Micro- and
    macro-expressions are searched on separate curves.
    """

    name: ClassVar[str] = "search"

    def __init__(self, settings: SpottingSettings) -> None:
        self.settings = settings
        self.thresholds = dict.fromkeys(KINDS, 1.0)

    def fit(self, videos: Sequence[LabelledVideo]) -> None:
        """Choose the threshold of each kind with the highest F1, if possible within :data:`MOST_FALSE_ALARMS`."""
        self.thresholds = dict.fromkeys(KINDS, np.inf)
        shown = {interval.kind for video in videos for interval in video.intervals}
        for kind in shown:
            detections = [self._scored(video.track, kind) for video in videos]
            fitted = fit_threshold(videos, detections, kind, MOST_FALSE_ALARMS / len(shown))
            if not fitted.f1:
                fitted = fit_threshold(videos, detections, kind)
            self.thresholds[kind] = fitted.threshold

    def detections(self, track: MotionTrack) -> list[Detection]:
        """Return the peaks above the floor of the track."""
        return accept((each for kind in KINDS for each in self._scored(track, kind)), self.thresholds)

    def _scored(self, track: MotionTrack, kind: str) -> list[Detection]:
        if kind not in track.curves:
            return []
        curve, fps = track.curves[kind], track.fps
        shortest, longest = max(2.0, SHORTEST[kind] * fps), LONGEST[kind] * fps
        return suppress(
            Detection(each.onset, each.apex, each.offset, kind, each.strength / least)
            for each, least in zip(curve.candidates, least_strengths(curve, fps, self.settings), strict=True)
            if not each.blink and shortest <= each.offset - each.onset <= longest + 1
        )

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the thresholds."""
        return {"thresholds": self.thresholds}, {}

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take over the thresholds."""
        self.thresholds = state["thresholds"]
