"""Which differences between systems are real: every pair on the same clips, with a correction for their number."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from merflow.evaluation.evaluate import check_predictions
from merflow.evaluation.metrics import LEVEL, OVERALL, holm, paired_differences
from merflow.storage.tables import DIFFERENCES, PREDICTIONS, read_table, write_table

log = logging.getLogger(__name__)

RESAMPLES = 10_000
RESAMPLES_PER_PAIR = 400
"""Holm multiplies the least p value by the number of pairs: resamples grow with it, or nothing could be found real."""


def compare(predictions: Path, output: Path, classes: Mapping[str, Sequence[str]]) -> None:
    """Compare all pairs of a study's systems that answered for the same clips, and write ``differences.csv``.

    The correction (Holm, at a level of 0.05) is over all pairs of the table, for each metric by itself.

    Args:
        predictions: table of the study.
        output: table: see :data:`merflow.storage.tables.DIFFERENCES`; a row per pair and metric. ``verdict`` names the
            better system by ``first`` or ``second``, or says ``unclear``.
        classes: classes of each experiment, in the order that the pairs shall have.

    Raises:
        InputError: the predictions are not one row per clip and repeat.
    """
    table = read_table(predictions, PREDICTIONS)
    groups: dict[tuple, dict[str, pd.DataFrame]] = {}
    for name, own in classes.items():
        rows = table[table["experiment"] == name]
        check_predictions(rows, predictions, own)
        groups.setdefault((tuple(own), _tested(rows)), {})[name] = rows
    pairs = sum(math.comb(len(group), 2) for group in groups.values())
    resamples = max(RESAMPLES, RESAMPLES_PER_PAIR * pairs)
    found = []
    for (own, _), group in groups.items():
        if len(group) < 2:
            continue
        subjects = next(iter(group.values())).groupby(["dataset", "subject"]).ngroups
        for (first, second), differences in paired_differences(group, own, resamples).items():
            for metric, difference in differences.items():
                value = {"difference": difference.value, "ci_low": difference.low, "ci_high": difference.high}
                names = {"first": first, "second": second, "metric": metric, "n_subjects": subjects}
                found.append(names | value | {"p": difference.p})
    for metric in OVERALL:
        mine = [row for row in found if row["metric"] == metric]
        for row, p in zip(mine, holm([row["p"] for row in mine]), strict=True):
            better = "first" if row["difference"] > 0 else "second"
            row |= {"p_holm": p, "verdict": better if p < 1 - LEVEL else "unclear"}
    write_table(found, output, DIFFERENCES)
    log.info("%d pairs, %d resamples of the subjects", pairs, resamples)


def _tested(rows: pd.DataFrame) -> frozenset:
    """What was answered for: clips with their truth; where repeats test different ones, those of each repeat."""
    clips = set(rows[["dataset", "subject", "clip", "truth"]].itertuples(index=False, name=None))
    if len(rows) == len(clips) * rows["repeat"].nunique():
        return frozenset(clips)
    return frozenset(rows[["repeat", "dataset", "subject", "clip", "truth"]].itertuples(index=False, name=None))
