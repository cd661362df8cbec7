"""Accuracy of spotting on long synthetic clips, whose expressions are known."""

import logging
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

from merflow.datasets.synthetic.long_clips import MEASURING, STANDARD, film_long, plan_long
from merflow.datasets.synthetic.long_people import compress
from merflow.evaluation.interval_matching import matches
from merflow.footage.frames import grey_frames
from merflow.inference.settings import SpottingSettings
from merflow.inference.spotting import spot
from merflow.storage.tables import SPOTTING, write_table

log = logging.getLogger(__name__)

PEOPLE, SECONDS, FPS = 4, 12.0, 100
"""The fixed test set. The default thresholds were chosen on other people."""


def figures(counts: pd.DataFrame, scope: str) -> dict[str, Any]:
    """Return a row of ``spotting.csv`` from the rows of :func:`measure_person` of some people."""
    seconds, expressions, spotted, hits = counts[["seconds", "expressions", "spotted", "hits"]].sum()
    minutes, false_alarms = seconds / 60, spotted - hits
    low, high = rate_interval(int(false_alarms), minutes)
    return {
        "scope": scope,
        "seconds": seconds,
        "expressions": int(expressions),
        "spotted": int(spotted),
        "hits": int(hits),
        "misses": int(expressions - hits),
        "false_alarms": int(false_alarms),
        "false_alarms_per_minute": false_alarms / minutes,
        "false_alarms_low": low,
        "false_alarms_high": high,
        "precision": hits / spotted if spotted else np.nan,
        "recall": hits / expressions if expressions else np.nan,
        "f1": 2 * hits / max(1, spotted + expressions),
        "apex_error_ms": counts["apex_errors_ms"].explode().astype(float).mean(),
    }


def rate_interval(count: int, minutes: float) -> tuple[float, float]:
    """Return the exact 95 % interval of the rate of a Poisson count per minute (Garwood 1936)."""
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low / minutes), float(chi2.ppf(0.975, 2 * count + 2) / 2 / minutes)


def measure_spotting(settings: SpottingSettings, output: Path) -> None:
    """Spot the synthetic expressions of the test set and write ``spotting.csv``.

    A row per person and one for all, with the columns :data:`merflow.storage.tables.SPOTTING`.
    """
    counts = pd.DataFrame([measure_person(person, settings) for person in range(MEASURING, MEASURING + PEOPLE)])
    rows = [figures(counts[n : n + 1], f"person {n + 1}") for n in range(PEOPLE)]
    write_table([*rows, figures(counts, "all")], output, SPOTTING)


def measure_person(person: int, settings: SpottingSettings) -> dict[str, Any]:
    """Spot the expressions of one synthetic person in a compressed video.

    Returns:
        ``seconds, expressions, spotted, hits`` and, for each hit, ``apex_errors_ms``.
    """
    clip = plan_long(person, replace(STANDARD, seconds=SECONDS, fps=FPS))
    with TemporaryDirectory() as folder:
        video = f"{folder}/video.mp4"
        compress(film_long(clip), clip.frames, clip.fps, clip.settings.frame_size, video)
        result = spot(grey_frames(video), clip.fps, settings)
    candidates = result.intervals
    truth = clip.expressions
    hits = matches(
        [(true.onset, true.offset) for true in truth], [(candidate.onset, candidate.offset) for candidate in candidates]
    )
    errors = [1000 * abs(truth[i].apex - candidates[j].apex) / clip.fps for i, j in hits]
    log.info("%d of %d, %d false alarms", len(hits), len(truth), len(candidates) - len(hits))
    counts = {"expressions": len(truth), "spotted": len(candidates), "hits": len(hits)}
    return {"seconds": clip.frames / clip.fps} | counts | {"apex_errors_ms": errors}
