"""The tables of a study's spotting experiments: ``metrics.csv`` and ``curve.csv``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from merflow.evaluation.interval_metrics import spotting_curve, spotting_metrics
from merflow.evaluation.settings import SpottedExperiment
from merflow.storage.tables import (
    CANDIDATES,
    DETECTIONS,
    LONG_VIDEOS,
    SPOTTING_CURVE,
    SPOTTING_METRICS,
    TRUE_INTERVALS,
    read_table,
    write_table,
)


def score_experiments(
    videos: Path,
    truth: Path,
    detections: Sequence[Path],
    candidates: Sequence[Path],
    experiments: Mapping[str, SpottedExperiment],
    metrics: Path,
    curve: Path,
) -> None:
    """Score the detections of all experiments, and the candidates of those that spot.

    Args:
        videos: ``videos.csv``.
        truth: ``truth.csv``.
        detections: ``detections.csv`` of each experiment, in the order of ``experiments``.
        candidates: ``candidates.csv`` of some of them.
        experiments: what counts in each experiment.
        metrics: output, rows of :func:`merflow.evaluation.interval_metrics.spotting_metrics`.
        curve: output, rows of :func:`merflow.evaluation.interval_metrics.spotting_curve`.
    """
    every, true = read_table(videos, LONG_VIDEOS), _numbers(read_table(truth, TRUE_INTERVALS))
    scores, points = [], []
    for (name, experiment), file in zip(experiments.items(), detections, strict=True):
        listed, labelled = (table[table["dataset"].isin(experiment.datasets)] for table in (every, true))
        spotted = _numbers(read_table(file, DETECTIONS))
        rows = spotting_metrics(listed, labelled, spotted, experiment.kinds, experiment.classes)
        scores += [{"experiment": name, **row} for row in rows]
    for file in candidates:
        scored = _numbers(read_table(file, CANDIDATES))
        for name in dict.fromkeys(scored["experiment"]):
            experiment = experiments[name]
            listed, labelled = (table[table["dataset"].isin(experiment.datasets)] for table in (every, true))
            of_experiment = scored[scored["experiment"] == name]
            rows = spotting_curve(listed, labelled, of_experiment, experiment.kinds)
            points += [{"experiment": name, **row} for row in rows]
    write_table(scores, metrics, SPOTTING_METRICS)
    write_table(points, curve, SPOTTING_CURVE)


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose columns of frame numbers are numbers, also if it has no row or no apex."""
    for name in ("onset", "apex", "offset"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table
