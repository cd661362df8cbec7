"""Test every pair of systems for a difference, with a correction for the number of pairs.

The paired bootstrap, and the intervals of a single system (``bootstrap_subjects``), are in ``metrics.py``.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from merflow.evaluation.evaluate import check_predictions
from merflow.evaluation.metrics import LEVEL, OVERALL, holm, paired_differences, smallest_p
from merflow.storage.tables import DIFFERENCES, PREDICTIONS, read_table, write_table

log = logging.getLogger(__name__)

RESAMPLES = 10_000
RESAMPLES_PER_PAIR = 400
"""Holm multiplies the smallest p value by the number of pairs, so more pairs need more resamples to reach a low p."""


def compare(predictions: Path, output: Path, classes: Mapping[str, Sequence[str]]) -> None:
    """Compare all pairs of systems that predicted the same clips, and write ``differences.csv``.

    The correction (Holm, at a level of 0.05) is over all pairs of the table, separately for each metric.

    There is a row per pair and metric; ``verdict`` is ``first`` or ``second`` (the better system) or ``unclear``.

    Args:
        predictions: table of the study.
        output: CSV.
        classes: classes of each experiment; its order is that of the pairs.

    Raises:
        InputError: the predictions are not one row per clip and repeat.
    """
    table = read_table(predictions, PREDICTIONS)
    groups: dict[tuple[tuple[str, ...], frozenset[Any]], dict[str, pd.DataFrame]] = {}
    for name, names in classes.items():
        experiment = table[table["experiment"] == name]
        check_predictions(experiment, predictions, names)
        groups.setdefault((tuple(names), _tested_clips(experiment)), {})[name] = experiment
    pairs = sum(math.comb(len(group), 2) for group in groups.values())
    resamples = max(RESAMPLES, RESAMPLES_PER_PAIR * pairs)
    rows: list[dict[str, Any]] = []
    for (names, _), group in groups.items():
        if len(group) < 2:
            continue
        subjects = next(iter(group.values())).groupby(["dataset", "subject"]).ngroups
        for (first, second), differences in paired_differences(group, names, resamples).items():
            for metric, difference in differences.items():
                row: dict[str, Any] = {"first": first, "second": second, "metric": metric}
                row |= {"difference": difference.value, "ci_low": difference.low, "ci_high": difference.high}
                rows.append(row | {"p": difference.p, "n_subjects": subjects})
    for metric in OVERALL:
        metric_rows = [row for row in rows if row["metric"] == metric]
        for row, p in zip(metric_rows, holm([row["p"] for row in metric_rows]), strict=True):
            better = "first" if row["difference"] > 0 else "second"
            row |= {"p_holm": p, "verdict": better if p < 1 - LEVEL else "unclear"}
    write_table(rows, output, DIFFERENCES)
    log.info("%d pairs, %d resamples of the subjects", pairs, resamples)


def smallest_corrected_p(subjects: Sequence[int]) -> dict[int, float]:
    """The smallest corrected p value that a pair of systems can have, by its number of subjects.

    ``subjects``: number of subjects of each pair. Pairs with more subjects can precede it in Holm's correction.
    """
    resamples = max(RESAMPLES, RESAMPLES_PER_PAIR * len(subjects))
    counts = {n: sum(2 <= other <= n for other in subjects) for n in sorted(set(subjects)) if n > 1}
    return {n: min(1.0, count * smallest_p(n, resamples)) for n, count in counts.items()}


def _tested_clips(rows: pd.DataFrame) -> frozenset[Any]:
    """The tested clips with their true labels; for each repeat, if repeats test different clips."""
    clips = set(rows[["dataset", "subject", "clip", "truth"]].itertuples(index=False, name=None))
    if len(rows) == len(clips) * rows["repeat"].nunique():
        return frozenset(clips)
    return frozenset(rows[["repeat", "dataset", "subject", "clip", "truth"]].itertuples(index=False, name=None))
