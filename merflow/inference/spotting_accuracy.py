"""How well spotting does on long clips of drawn people, where everything that happens is known."""

import errno
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from merflow.datasets.synthetic.long_clips import MEASURING, LongClip, film_long, plan_long
from merflow.footage.frames import grey_frames
from merflow.inference.spotting import overlap, spot
from merflow.storage.tables import SPOTTING, write_table

log = logging.getLogger(__name__)

CLIPS = {"people": 4, "seconds": 12.0, "fps": 100}
"""The fixed set: as long as the rule may take. Nobody in it had a say in the default thresholds."""
LEAST_OVERLAP = 0.5
"""Intersection over union from which an interval counts as found, as in the spotting challenges of MEGC (Li, Yap, See,
Hong, Wang: MEGC 2022)."""


def matches(truth: Sequence[tuple[int, int]], found: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Which true interval each found one hits: pairs (truth, found), the best overlaps first, each interval once."""
    pairs = sorted(
        ((overlap(one, other), i, j) for i, one in enumerate(truth) for j, other in enumerate(found)),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    hits: list[tuple[int, int]] = []
    for shared, i, j in pairs:
        if shared >= LEAST_OVERLAP and all(i != a and j != b for a, b in hits):
            hits.append((i, j))
    return sorted(hits)


def rate_interval(count: int, minutes: float) -> tuple[float, float]:
    """Exact 95 % interval of the rate of a Poisson count per minute."""
    from scipy.stats import chi2

    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low / minutes), float(chi2.ppf(0.975, 2 * count + 2) / 2 / minutes)


def measure_spotting(settings: Mapping[str, Any], output: Path, first: int = MEASURING, people: int = 0) -> None:
    """Spot the drawn expressions of some people and write ``spotting.csv`` (:data:`merflow.storage.tables.SPOTTING`).

    A row for each person, and one for all (scope ``all``). The bounds of the rate of false alarms are the exact 95 %
    interval of a Poisson count (Garwood 1936).

    Args:
        settings: of :mod:`merflow.inference.spotting`.
        output: CSV.
        first: number of the first person.
        people: how many; 0: those of :data:`CLIPS`.
    """
    rows = [_measured(person, settings) for person in range(first, first + (people or CLIPS["people"]))]
    together = {name: sum(row[name] for row in rows) for name in rows[0] if name not in ("scope", "apex_errors")}
    together |= {"scope": "all", "apex_errors": [error for row in rows for error in row["apex_errors"]]}
    write_table([_rates(row) for row in [*rows, together]], output, SPOTTING)


def _measured(person: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    clip = plan_long(person, {"seconds": CLIPS["seconds"], "fps": CLIPS["fps"]})
    with TemporaryDirectory() as folder:
        video = f"{folder}/video.mp4"
        _compress(clip, video)
        found = spot(lambda: grey_frames(video), clip.fps, settings).intervals
    truth = clip.expressions
    hits = matches([(one.onset, one.offset) for one in truth], [(one.onset, one.offset) for one in found])
    errors = [1000 * abs(truth[i].apex - found[j].apex) / clip.fps for i, j in hits]
    row = {"scope": f"person {person - MEASURING + 1}", "seconds": clip.frames / clip.fps, "expressions": len(truth)}
    row |= {"spotted": len(found), "hits": len(hits), "misses": len(truth) - len(hits)}
    log.info("%s: %d of %d, %d false alarms", row["scope"], len(hits), len(truth), len(found) - len(hits))
    return row | {"false_alarms": len(found) - len(hits), "apex_errors": errors}


def _compress(clip: LongClip, video: str) -> None:
    """Write a clip as most videos come: compressed with loss (MPEG-4), which hides small motions."""
    size = (clip.settings["frame_size"],) * 2
    writer = cv2.VideoWriter(video, cv2.VideoWriter_fourcc(*"mp4v"), clip.fps, size)
    for frame in film_long(clip):
        writer.write(frame)
    writer.release()
    if cv2.VideoCapture(video).get(cv2.CAP_PROP_FRAME_COUNT) != clip.frames:
        # OpenCV says nothing of it, and what it has closed it cannot write again.
        raise OSError(errno.ENOSPC, "a video could not be written whole", video)


def _rates(row: Mapping[str, Any]) -> dict[str, Any]:
    minutes = row["seconds"] / 60
    low, high = rate_interval(row["false_alarms"], minutes)
    precision = row["hits"] / row["spotted"] if row["spotted"] else np.nan
    recall = row["hits"] / row["expressions"] if row["expressions"] else np.nan
    return {name: value for name, value in row.items() if name != "apex_errors"} | {
        "false_alarms_per_minute": row["false_alarms"] / minutes,
        "false_alarms_low": low,
        "false_alarms_high": high,
        "precision": precision,
        "recall": recall,
        "f1": 2 * row["hits"] / max(1, row["spotted"] + row["expressions"]),
        "apex_error_ms": float(np.mean(row["apex_errors"])) if row["apex_errors"] else np.nan,
    }
