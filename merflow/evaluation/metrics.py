"""Accuracy, UF1 and UAR from pooled predictions, with intervals over subjects.

UF1 (unweighted F1) is the mean of the classes' F1 scores and UAR (unweighted average recall) the mean of their recalls,
as in See et al.: MEGC 2019, the second facial micro-expressions grand challenge, FG 2019. Both are computed from
counts pooled over all folds, never as a mean of the folds' own scores.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from merflow.errors import InputError

OVERALL = ("accuracy", "uf1", "uar")
"""The metrics of a set of predictions."""
PER_CLASS = ("f1", "recall", "precision")
"""The metrics of one class."""
Scores = dict[str, Any]
LEVEL = 0.95
"""Coverage that the intervals aim at."""


def score(truth: Iterable[str], predicted: Iterable[str], classes: Iterable[str]) -> Scores:
    """Score predictions.

    A class without any true clip has no recall. It is left out of UF1 and UAR and listed under ``absent``; a clip that
    is wrongly given that class still counts against the clip's own class.

    Returns:
        ``accuracy``, ``uf1``, ``uar`` (floats); ``f1``, ``recall``, ``precision`` (dictionaries class to float; NaN
        where undefined: recall and F1 of an absent class, precision of a class that is never predicted); ``support``
        (true clips by class); ``confusion`` (counts as nested lists: row = truth, column = prediction, in the order of
        ``classes``); ``classes``; ``absent``; ``n``.

    Raises:
        InputError: there is nothing to score, or a label is not among ``classes``.
    """
    truth, predicted, classes = ([str(name) for name in names] for names in (truth, predicted, classes))
    if len(truth) != len(predicted):
        raise InputError(f"{len(truth)} true labels but {len(predicted)} predictions; every clip needs one of each")
    if not truth:
        raise InputError("there is no prediction to score")
    table = pd.DataFrame({"truth": truth, "predicted": predicted, "subject": ""})
    confusion = subject_counts(table, classes)[0, 0]
    values, support = rates(confusion), confusion.sum(axis=1)
    return {
        **{name: float(values[name]) for name in OVERALL},
        **{name: dict(zip(classes, values[name].tolist(), strict=True)) for name in PER_CLASS},
        "support": dict(zip(classes, support.tolist(), strict=True)),
        "confusion": confusion.tolist(),
        "classes": classes,
        "absent": [name for name, count in zip(classes, support, strict=True) if not count],
        "n": len(truth),
    }


def rates(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of confusion counts, for many matrices at once.

    Args:
        counts: [..., C, C], row = truth, column = prediction.

    Returns:
        ``accuracy``, ``uf1``, ``uar`` [...] and ``f1``, ``recall``, ``precision`` [..., C], NaN where undefined.
        Classes without a true clip are left out of ``uf1`` and ``uar``.
    """
    counts = np.asarray(counts, dtype=float)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    true, predicted = counts.sum(-1), counts.sum(-2)
    present = true > 0
    recall = np.divide(right, true, out=np.full(right.shape, np.nan), where=present)
    f1 = np.divide(2 * right, true + predicted, out=np.full(right.shape, np.nan), where=present)
    precision = np.divide(right, predicted, out=np.full(right.shape, np.nan), where=predicted > 0)
    total = counts.sum((-2, -1))
    accuracy = np.divide(right.sum(-1), total, out=np.full(total.shape, np.nan), where=total > 0)
    overall = {"accuracy": accuracy, "uf1": defined_mean(f1, axis=-1), "uar": defined_mean(recall, axis=-1)}
    return overall | {"f1": f1, "recall": recall, "precision": precision}


def subject_counts(table: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Confusion counts of each repeat and subject, int64 [R, S, C, C].

    Args:
        table: columns ``truth``, ``predicted``, ``subject``; where there is a column ``dataset``, equal subject names
            of two datasets are two people; where there is a column ``repeat``, each of its values is one repeat.
        classes: names of the classes, in order.

    Raises:
        InputError: a label is not among ``classes``.
    """
    classes = [str(c) for c in classes]
    _check_labels(table["truth"].astype(str), "true label", classes)
    _check_labels(table["predicted"].astype(str), "prediction", classes)
    class_index = pd.Index(classes)
    truth, predicted = (class_index.get_indexer(pd.Index(table[name].astype(str))) for name in ("truth", "predicted"))
    person = ["dataset", "subject"] if "dataset" in table else ["subject"]
    subject = table.groupby(person, sort=True).ngroup().to_numpy()
    repeat = pd.factorize(table["repeat"], sort=True)[0] if "repeat" in table else np.zeros(len(table), int)
    shape = (repeat.max(initial=0) + 1, subject.max(initial=-1) + 1, len(classes), len(classes))
    flat = np.ravel_multi_index((repeat, subject, truth, predicted), shape)
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)


def mean_rates(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """The pooled metrics of each repeat, averaged over the repeats (undefined values left out)."""
    return {name: defined_mean(values) for name, values in rates(subject_counts(table, classes).sum(1)).items()}


def bootstrap_subjects(table: pd.DataFrame, classes: Sequence[str], resamples: int = 2000, seed: int = 0) -> Scores:
    """Percentile intervals (95 %) of the metrics, by resampling subjects with replacement.

    Clips of one person are similar, so persons are drawn, with all their clips in all repeats (Field and Welsh:
    Bootstrapping clustered data, JRSS B 2007). A class without a true clip in a resample is left out of that
    resample's macro averages. Where the table holds several repeats, a resample's value is the mean over the repeats.
    With few people the intervals are slightly too narrow: in simulations with people of very different difficulty they
    contained the true value in 89 % (6 people), 91 % (12) and 95 % (30) of the cases.

    Returns:
        ``accuracy``, ``uf1``, ``uar``: (low, high); ``f1``, ``recall``, ``precision``: a dictionary from class to
        (low, high). NaN where there are fewer than two subjects, or the metric is undefined in every resample.
    """
    counts = subject_counts(table, classes)
    draws = subject_draws(counts.shape[1], resamples, seed)
    values = {name: defined_mean(drawn, axis=1) for name, drawn in _resampled(counts, draws).items()}
    few = counts.shape[1] < 2
    intervals: Scores = {name: (np.nan, np.nan) if few else interval(values[name]) for name in OVERALL}
    for name in PER_CLASS:
        each = [(np.nan, np.nan) if few else interval(column) for column in values[name].T]
        intervals[name] = dict(zip(map(str, classes), each, strict=True))
    return intervals


class Difference(NamedTuple):
    """How much better one system is than another: pooled values, mean over repeats; 95 % interval; two-sided p."""

    value: float
    low: float
    high: float
    p: float


def paired_differences(
    tables: Mapping[str, pd.DataFrame], classes: Sequence[str], repeats: int = 10_000, seed: int = 0
) -> dict[tuple[str, str], dict[str, Difference]]:
    """Compare every pair of systems by paired bootstrap: all systems are scored on the same resampled subjects.

    The p value is twice the share of resamples in which the difference has the other sign or is zero, where the data
    themselves count as one resample. It is at least 2 / 2^subjects, the probability that all subjects favour the same
    system by chance; with 5 subjects no difference is real at a level of 0.05.

    Args:
        tables: predictions of each system, as in :func:`subject_counts`, of the same clips.
        classes: names of the classes, in order.
        repeats: number of resamples.
        seed: of the draws.

    Returns:
        For each pair (first, second), in the order of ``tables``, and each overall metric: first minus second. NaN if
        there are fewer than two subjects.

    Raises:
        InputError: the tables differ in their subjects, or a label is not among ``classes``.
    """
    counts = {name: subject_counts(table, classes) for name, table in tables.items()}
    subjects = {_people(table) for table in tables.values()}
    if len(subjects) > 1:
        raise InputError("systems can be compared on the same clips only, and these tables differ in their subjects")
    people = len(subjects.pop()) if subjects else 0
    draws = subject_draws(people, repeats, seed)
    values, drawn = {}, {}
    for name, system_counts in counts.items():
        pooled, resampled = rates(system_counts.sum(1)), _resampled(system_counts, draws)
        values[name] = {metric: float(defined_mean(pooled[metric])) for metric in OVERALL}
        drawn[name] = {metric: defined_mean(resampled[metric], axis=1) for metric in OVERALL}
    differences: dict[tuple[str, str], dict[str, Difference]] = {}
    for first, second in combinations(tables, 2):
        pair = differences[first, second] = {}
        for metric in OVERALL:
            value, apart = values[first][metric] - values[second][metric], drawn[first][metric] - drawn[second][metric]
            if people < 2:
                pair[metric] = Difference(value, np.nan, np.nan, np.nan)
                continue
            beyond = 1 + min((apart <= 0).sum(), (apart >= 0).sum())
            p = min(1.0, max(2 * beyond / (1 + len(apart)), smallest_p(people, len(apart))))
            pair[metric] = Difference(value, *interval(apart), float(p))
    return differences


def smallest_p(subjects: int, resamples: int) -> float:
    """The smallest p value that :func:`paired_differences` can give, for at least two subjects."""
    return max(2 / (1 + resamples), 2.0 ** (1 - subjects))


def holm(p: Sequence[float]) -> list[float]:
    """Correct p values for their number (Holm: A simple sequentially rejective multiple test procedure, 1979).

    NaN stays NaN and does not count.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)[: np.isfinite(values).sum()]
    corrected = np.full(len(values), np.nan)
    corrected[order] = np.maximum.accumulate(np.minimum(1, values[order] * np.arange(len(order), 0, -1)))
    return corrected.tolist()


def spread(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, float]:
    """Standard deviation of each overall metric's pooled value over the repeats; NaN for a single repeat.

    It shows how much a seed matters. It is not the error of the value, because all repeats have the same people.
    """
    values = rates(subject_counts(table, classes).sum(1))
    return {name: float(values[name].std(ddof=1)) if len(values[name]) > 1 else np.nan for name in OVERALL}


def fold_mean_f1(table: pd.DataFrame) -> float:
    """Mean over folds (and repeats) of each fold's macro F1, over its true and predicted classes.

    Some papers report it. A fold with a single class has a macro F1 of 1 or of at most 1/2, so the mean depends on how
    clips are distributed over the folds and cannot be compared with pooled values. It serves to explain such numbers.
    """
    folds = table.groupby([name for name in ("repeat", "fold") if name in table])
    # Without `labels`, scikit-learn uses the classes that occur, as those papers do.
    scores = [f1_score(rows["truth"], rows["predicted"], average="macro", zero_division=0) for _, rows in folds]
    return float(np.mean(scores)) if scores else np.nan


def _people(table: pd.DataFrame) -> frozenset[Any]:
    names = [name for name in ("dataset", "subject") if name in table]
    return frozenset(table[names].itertuples(index=False, name=None))


def subject_draws(subjects: int, repeats: int, seed: int) -> np.ndarray:
    """How often each subject is drawn in each resample, [B, S]; a row sums to S."""
    if subjects == 0:
        return np.zeros((repeats, 0))
    shares = np.full(subjects, 1 / subjects)
    return np.random.default_rng(seed).multinomial(subjects, shares, size=repeats).astype(float)


def _resampled(counts: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of each resample and repeat, [B, R] and [B, R, C]."""
    repeats, subjects, classes, _ = counts.shape
    drawn = draws @ counts.transpose(1, 0, 2, 3).reshape(subjects, -1).astype(float)
    return rates(drawn.reshape(len(draws), repeats, classes, classes))


def defined_mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean of the defined values; NaN where there is none."""
    defined = np.isfinite(values)
    number = defined.sum(axis)
    sums = np.where(defined, values, 0).sum(axis)
    return np.asarray(np.divide(sums, number, out=np.full(np.shape(sums), np.nan), where=number > 0))


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of resampled values; NaN where none is finite."""
    values = values[np.isfinite(values)]
    if not values.size:
        return np.nan, np.nan
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _check_labels(labels: Iterable[str], what: str, classes: Sequence[str]) -> None:
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise InputError(f"{what} {unknown[0]!r} is not among the classes; allowed: {', '.join(classes)}")
