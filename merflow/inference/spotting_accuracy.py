"""Accuracy of spotting on long synthetic clips, whose expressions are known."""

import errno
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from merflow.datasets.synthetic.long_clips import MEASURING, STANDARD, LongClip, film_long, plan_long
from merflow.footage.frames import grey_frames
from merflow.inference.settings import SpottingSettings
from merflow.inference.spotting import overlap, spot
from merflow.storage.tables import SPOTTING, write_table

log = logging.getLogger(__name__)

PEOPLE, SECONDS, FPS = 4, 12.0, 100
"""The fixed test set. The default thresholds were chosen on other people."""
LEAST_OVERLAP = 0.5
"""Least intersection over union of a hit, as in the spotting challenges of MEGC (Li, Yap, See, Hong, Wang: MEGC
2022)."""


@dataclass(frozen=True)
class SpottingCounts:
    """Counts of one person, or of all (scope ``all``); ``apex_errors_ms`` of the hits."""

    scope: str
    seconds: float
    expressions: int
    spotted: int
    hits: int
    apex_errors_ms: list[float]

    def row(self) -> dict[str, Any]:
        """Return the row of ``spotting.csv``."""
        minutes, false_alarms = self.seconds / 60, self.spotted - self.hits
        low, high = rate_interval(false_alarms, minutes)
        return {
            "scope": self.scope,
            "seconds": self.seconds,
            "expressions": self.expressions,
            "spotted": self.spotted,
            "hits": self.hits,
            "misses": self.expressions - self.hits,
            "false_alarms": false_alarms,
            "false_alarms_per_minute": false_alarms / minutes,
            "false_alarms_low": low,
            "false_alarms_high": high,
            "precision": self.hits / self.spotted if self.spotted else np.nan,
            "recall": self.hits / self.expressions if self.expressions else np.nan,
            "f1": 2 * self.hits / max(1, self.spotted + self.expressions),
            "apex_error_ms": float(np.mean(self.apex_errors_ms)) if self.apex_errors_ms else np.nan,
        }


def matches(truth: Sequence[tuple[int, int]], candidates: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Match true intervals and candidates, best overlaps first, each at most once; return pairs of indices."""
    pairs = sorted(
        ((overlap(true, candidate), i, j) for i, true in enumerate(truth) for j, candidate in enumerate(candidates)),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    hits: list[tuple[int, int]] = []
    for shared, i, j in pairs:
        if shared >= LEAST_OVERLAP and all(i != a and j != b for a, b in hits):
            hits.append((i, j))
    return sorted(hits)


def rate_interval(count: int, minutes: float) -> tuple[float, float]:
    """Return the exact 95 % interval of the rate of a Poisson count per minute (Garwood 1936)."""
    from scipy.stats import chi2

    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low / minutes), float(chi2.ppf(0.975, 2 * count + 2) / 2 / minutes)


def measure_spotting(settings: SpottingSettings, output: Path) -> None:
    """Spot the synthetic expressions of the test set and write ``spotting.csv``.

    A row per person and one for all, with the columns :data:`merflow.storage.tables.SPOTTING`.

    Args:
        settings: settings of the search.
        output: CSV file, written atomically.
    """
    people = [measure_person(person, settings) for person in range(MEASURING, MEASURING + PEOPLE)]
    together = SpottingCounts(
        "all",
        sum(counts.seconds for counts in people),
        sum(counts.expressions for counts in people),
        sum(counts.spotted for counts in people),
        sum(counts.hits for counts in people),
        [error for counts in people for error in counts.apex_errors_ms],
    )
    write_table([counts.row() for counts in [*people, together]], output, SPOTTING)


def measure_person(person: int, settings: SpottingSettings) -> SpottingCounts:
    """Spot the expressions of one synthetic person in a compressed video."""
    clip = plan_long(person, replace(STANDARD, seconds=SECONDS, fps=FPS))
    with TemporaryDirectory() as folder:
        video = f"{folder}/video.mp4"
        _compress(clip, video)
        candidates = spot(lambda: grey_frames(video), clip.fps, settings).intervals
    truth = clip.expressions
    hits = matches(
        [(true.onset, true.offset) for true in truth], [(candidate.onset, candidate.offset) for candidate in candidates]
    )
    errors = [1000 * abs(truth[i].apex - candidates[j].apex) / clip.fps for i, j in hits]
    scope = f"person {person - MEASURING + 1}"
    log.info("%s: %d of %d, %d false alarms", scope, len(hits), len(truth), len(candidates) - len(hits))
    return SpottingCounts(scope, clip.frames / clip.fps, len(truth), len(candidates), len(hits), errors)


def _compress(clip: LongClip, video: str) -> None:
    """Write a clip as MPEG-4, whose lossy compression hides small motions, as in most videos."""
    size = clip.settings.frame_size
    writer = cv2.VideoWriter(video, cv2.VideoWriter.fourcc(*"mp4v"), clip.fps, (size, size))
    for frame in film_long(clip):
        writer.write(frame)
    writer.release()
    if cv2.VideoCapture(video).get(cv2.CAP_PROP_FRAME_COUNT) != clip.frames:
        # OpenCV reports no error itself.
        raise OSError(errno.ENOSPC, "a video could not be written completely", video)
