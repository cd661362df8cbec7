"""Scores of spotted intervals, as the challenges of MEGC score long videos, with intervals over people.

Micro- and macro-expressions are matched apart and video by video (:mod:`merflow.evaluation.interval_matching`). True
positives, false positives and false negatives are summed over all videos, those without expressions included:
F1 = 2 TP / (2 TP + FP + FN). The counts of both kinds together are the sums of the two.

The F1 of the analysis is that of the labels of true positives: precision and recall of each class, their unweighted
means P and R, 2 P R / (P + R). The spot-then-recognise score STRS is the product of both F1s (Liong, See, Chan:
Spot-then-recognize, Signal Processing: Image Communication 2023).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from merflow.evaluation.interval_matching import LEAST_OVERLAP, adds_match, matches, overlaps
from merflow.evaluation.metrics import interval, subject_draws

KINDS = ("micro", "macro")
ALL = "all"
"""Name of all datasets together, and of both kinds together."""
RATES = ("f1", "precision", "recall", "false_alarms_per_minute", "apex_error_ms", "f1_analysis", "strs")
Counts = dict[str, np.ndarray]
"""``tp``, ``fp``, ``fn``, ``minutes``, ``apex_ms`` (sum of the errors) and ``apexes`` (their number), each [..., S] or
[...], and ``confusion`` [..., C, C + 1] of true positives: row = truth, column = prediction, the last is no class."""


def match_tables(truth: pd.DataFrame, spotted: pd.DataFrame) -> pd.DataFrame:
    """Match the intervals of each video and kind; return columns ``truth`` and ``spotted``, index labels of each pair.

    Both tables have the columns ``dataset, video, kind, onset, offset``.
    """
    pairs: list[tuple[Any, Any]] = []
    for true, detected in _by_video(truth, spotted):
        pairs += [(true.index[i], detected.index[j]) for i, j in matches(interval_ends(true), interval_ends(detected))]
    return pd.DataFrame(pairs, columns=["truth", "spotted"])


def spotting_metrics(
    videos: pd.DataFrame,
    truth: pd.DataFrame,
    spotted: pd.DataFrame,
    kinds: Sequence[str] = KINDS,
    classes: Sequence[str] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Score spotted intervals.

    Args:
        videos: all videos that were searched, with ``dataset, video, subject``, and ``first, last, fps`` (may be NaN).
        truth: ``dataset, video, onset, apex, offset, label, kind``.
        spotted: the same columns.
        kinds: kinds of expressions that count.
        classes: labels of the analysis; empty: nothing was recognised.
        resamples: of the bootstrap over people, 95 % percentile intervals.
        seed: of the bootstrap.

    Returns:
        A row for each dataset and ``all``, and each kind and (of two) ``all``: ``dataset, kind, tp, fp, fn, minutes``
        and, for each of :data:`RATES`, the value and ``_low`` and ``_high``. NaN where undefined: rates per minute and
        errors in ms without ``fps``, the analysis without ``classes``, intervals with fewer than two people.
    """
    videos = videos.assign(person=videos.groupby(["dataset", "subject"], sort=True).ngroup())
    pairs = match_tables(truth, spotted)
    places = videos[["dataset", "video", "person", "fps"]]
    truth, spotted = (
        table.rename_axis("index").reset_index().merge(places, on=["dataset", "video"]) for table in (truth, spotted)
    )
    hits = truth.merge(pairs, left_on="index", right_on="truth")
    answers = spotted[["index", "apex", "label"]]
    hits = hits.merge(answers, left_on="spotted", right_on="index", suffixes=("", "_detected"))
    rows = []
    for dataset in [*dict.fromkeys(videos["dataset"]), ALL]:
        for kind in [*kinds, ALL] if len(kinds) > 1 else kinds:
            counted = kinds if kind == ALL else [kind]
            counts = _person_counts(
                _part(videos, dataset, counted),
                _part(truth, dataset, counted),
                _part(spotted, dataset, counted),
                _part(hits, dataset, counted),
                classes,
            )
            draws = subject_draws(len(counts["tp"]), resamples, seed)
            values = interval_rates({name: array.sum(0) for name, array in counts.items()})
            drawn = interval_rates({name: np.tensordot(draws, array, 1) for name, array in counts.items()})
            row = {"dataset": dataset, "kind": kind, **{name: int(counts[name].sum()) for name in ("tp", "fp", "fn")}}
            row["minutes"] = counts["minutes"].sum()
            for name in RATES:
                low, high = interval(drawn[name]) if len(counts["tp"]) > 1 else (np.nan, np.nan)
                row |= {name: float(values[name]), f"{name}_low": low, f"{name}_high": high}
            rows.append(row)
    return rows


def interval_rates(counts: Counts) -> dict[str, np.ndarray]:
    """Return :data:`RATES` of counts, for many sets of counts at once; NaN where undefined, as in `spotting_metrics`.

    In the analysis, the precision or recall of a class that is never predicted or true is 0, as in the challenges.
    """
    tp, fp, fn = (np.asarray(counts[name], float) for name in ("tp", "fp", "fn"))
    f1, confusion = _ratio(2 * tp, 2 * tp + fp + fn), np.asarray(counts["confusion"], float)
    square = confusion[..., :-1]
    right = np.diagonal(square, axis1=-2, axis2=-1)
    analysis = np.full(tp.shape, np.nan)
    if right.shape[-1]:
        precision = np.nan_to_num(_ratio(right, square.sum(-2))).mean(-1)
        recall = np.nan_to_num(_ratio(right, confusion.sum(-1))).mean(-1)
        analysis = np.nan_to_num(_ratio(2 * precision * recall, precision + recall))
    return {
        "f1": f1,
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "false_alarms_per_minute": _ratio(fp, counts["minutes"]),
        "apex_error_ms": _ratio(counts["apex_ms"], counts["apexes"]),
        "f1_analysis": analysis,
        "strs": f1 * analysis,
    }


def spotting_curve(
    videos: pd.DataFrame, truth: pd.DataFrame, candidates: pd.DataFrame, kinds: Sequence[str] = KINDS
) -> list[dict[str, Any]]:
    """Return hits and false alarms of all candidates with at least a given score, for each such score.

    Args:
        videos: as in :func:`spotting_metrics`, with ``fps``.
        truth: as in :func:`spotting_metrics`.
        candidates: as ``truth``, with ``score``, higher is surer.
        kinds: kinds of expressions that count.

    Returns:
        For each dataset and ``all``, and each kind, rows ``dataset, kind, threshold, hits, false_alarms, recall,
        false_alarms_per_minute``, at the thresholds at which a hit is added, and at the lowest, in descending order.
    """
    candidates = candidates.sort_values("score", ascending=False, kind="stable").assign(hit=False)
    for true, detected in _by_video(truth, candidates):
        shared = overlaps(interval_ends(true), interval_ends(detected))
        candidates.loc[detected.index, "hit"] = adds_match(shared >= LEAST_OVERLAP)
    rows: list[dict[str, Any]] = []
    for dataset in [*dict.fromkeys(videos["dataset"]), ALL]:
        minutes = video_minutes(_part(videos, dataset, kinds)).sum()
        for kind in kinds:
            part, expressions = _part(candidates, dataset, [kind]), len(_part(truth, dataset, [kind]))
            counts = part.assign(false=~part["hit"]).groupby("score", sort=False)[["hit", "false"]].sum().cumsum()
            added = counts["hit"].diff().fillna(counts["hit"]) > 0
            added.iloc[-1:] = True
            for threshold, (hits, false) in counts[added].iterrows():
                row = {"dataset": dataset, "kind": kind, "threshold": threshold, "hits": hits, "false_alarms": false}
                row["recall"] = hits / expressions if expressions else np.nan
                rows.append(row | {"false_alarms_per_minute": false / minutes})
    return rows


def video_minutes(videos: pd.DataFrame) -> pd.Series:
    """Return the length of each video in minutes, from its first and last frame; NaN without frames per second."""
    return (videos["last"] - videos["first"] + 1) / videos["fps"] / 60


def _person_counts(
    videos: pd.DataFrame, truth: pd.DataFrame, spotted: pd.DataFrame, hits: pd.DataFrame, classes: Sequence[str]
) -> Counts:
    """The counts of each person of the videos, [S] and [S, C, C + 1]."""
    people = np.unique(videos["person"])

    def totals(table: pd.DataFrame, values: Any = None) -> np.ndarray:
        return np.bincount(np.searchsorted(people, table["person"]), weights=values, minlength=len(people))

    errors = 1000 * (hits["apex"] - hits["apex_detected"]).abs() / hits["fps"]
    timed = hits[errors.notna()]
    confusion = np.zeros((len(people), len(classes), len(classes) + 1))
    listed = hits[hits["label"].isin(list(classes))]
    # Labels outside the classes are -1, which is the last column.
    place = [pd.Index(classes).get_indexer(pd.Index(listed[name])) for name in ("label", "label_detected")]
    np.add.at(confusion, (np.searchsorted(people, listed["person"]), *place), 1)
    return {
        "tp": totals(hits),
        "fp": totals(spotted) - totals(hits),
        "fn": totals(truth) - totals(hits),
        "minutes": totals(videos, video_minutes(videos)),
        "apex_ms": totals(timed, errors[errors.notna()]),
        "apexes": totals(timed),
        "confusion": confusion,
    }


def _part(table: pd.DataFrame, dataset: str, kinds: Sequence[str]) -> pd.DataFrame:
    """The rows of one dataset (or ``all``) and of some kinds; videos have no kind."""
    table = table if dataset == ALL else table[table["dataset"] == dataset]
    return table[table["kind"].isin(kinds)] if "kind" in table else table


def _by_video(truth: pd.DataFrame, spotted: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield the true and spotted intervals of each video and kind that has both."""
    keys = ["dataset", "video", "kind"]
    groups: Mapping[Any, pd.DataFrame] = dict(list(spotted.groupby(keys, sort=False)))
    for key, true in truth.groupby(keys, sort=False):
        if key in groups:
            yield true, groups[key]


def interval_ends(table: pd.DataFrame) -> list[tuple[int, int]]:
    """Return onset and offset of each row."""
    return list(zip(table["onset"], table["offset"], strict=True))


def _ratio(numerator: Any, denominator: Any) -> np.ndarray:
    """Quotient; NaN where the denominator is zero."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.asarray(np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator != 0))
