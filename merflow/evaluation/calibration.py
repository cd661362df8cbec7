"""Calibration: probabilities that mean what they say, by one number, the temperature.

A network that is right in 60 of 100 clips should say 0.6 on average. Networks of few clips seldom do. Dividing the
logarithms of their probabilities by a temperature T, which is measured on clips that did not train, mends most of it
and never changes which class comes first (Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML
2017).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from merflow.errors import InputError
from merflow.evaluation.metrics import interval, subject_draws
from merflow.storage.tables import (
    CALIBRATION,
    COVERAGE,
    PREDICTIONS,
    RELIABILITY,
    parse_numbers,
    read_table,
    read_table_in_parts,
    write_table,
)

log = logging.getLogger(__name__)

LEAST, MOST = 0.1, 10.0
"""Bounds of a temperature: few validation clips that are all answered right would ask for 0."""
TINY = 1e-12
"""Least probability that a logarithm is taken of."""
BINS = 10
"""Bins of equal width of the reliability diagram and of the expected calibration error."""
THRESHOLDS = 101
"""Thresholds of the table of coverage: 0.00, 0.01, ..., 1.00."""
RESAMPLES = 2000
ROWS_AT_ONCE = 5_000
"""Rows of validation clips that are read, or tempered, together: they are one for each fold and clip."""


def temper(chances: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at a temperature: proportional to ``p ** (1 / T)``, float64 ``[..., classes]``."""
    if temperature == 1:
        return np.array(chances, float)
    scores = np.log(np.maximum(np.asarray(chances, float), TINY)) / temperature
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def negative_log_likelihood(chances: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative logarithm of what was given to the true class; NaN of no clip."""
    if not len(labels):
        return float("nan")
    return float(_surprise(chances, labels).mean())


def fit_temperature(chances: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least negative log likelihood, between :data:`LEAST` and :data:`MOST`; 1 of no clip.

    Args:
        chances: ``[clips, classes]``, of clips that did not train.
        labels: int64 ``[clips]``.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return 1.0

    lost = np.empty(len(labels))

    def loss(logarithm: float) -> float:
        temperature = float(np.exp(logarithm))
        for part in _portions(len(labels)):
            lost[part] = _surprise(temper(chances[part], temperature), labels[part])
        return float(lost.mean())

    # In the logarithm of T: half as much and twice as much are equally far. The loss is convex in 1 / T.
    found = minimize_scalar(loss, bounds=(np.log(LEAST), np.log(MOST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def _portions(count: int) -> Iterator[slice]:
    """So many rows in parts of about the same size, :data:`ROWS_AT_ONCE` at most."""
    edges = np.linspace(0, count, -(-count // ROWS_AT_ONCE) + 1).astype(int).tolist()
    return map(slice, edges, edges[1:])


def brier(chances: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance between the probabilities and the truth, 0 to 2 (Brier 1950, over all classes)."""
    return float(_squares(chances, labels).mean()) if len(labels) else float("nan")


def _squares(chances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return ((chances - np.eye(chances.shape[1])[labels]) ** 2).sum(axis=1)


def reliability(chances: np.ndarray, labels: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """What answers of like confidence come to: a row per bin of equal width, ``(low, high]``; the first one has 0, too.

    Args:
        chances: ``[clips, classes]``.
        labels: int64 ``[clips]``.
        bins: their number.

    Returns:
        ``bin_low, bin_high, n, confidence`` (mean of the top probability) and ``accuracy``; both NaN of an empty bin.
    """
    top, right = chances.max(axis=1), chances.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, bins - 1)
    rows = []
    for number in range(bins):
        own = place == number
        n = int(own.sum())
        mean, share = (float(top[own].mean()), float(right[own].mean())) if n else (float("nan"), float("nan"))
        row = {"bin_low": float(edges[number]), "bin_high": float(edges[number + 1]), "n": n}
        rows.append(row | {"confidence": mean, "accuracy": share})
    return rows


def expected_calibration_error(chances: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy over the bins of :func:`reliability`, by their clips.

    Naeini, Cooper, Hauskrecht: Obtaining Well Calibrated Probabilities Using Bayesian Binning (AAAI 2015).
    """
    rows = [row for row in reliability(chances, labels, bins) if row["n"]]
    if not rows:
        return float("nan")
    return sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / len(labels)


def coverage(chances: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    """What is left where answers below a threshold count as "uncertain": ``threshold, answered, accuracy``."""
    top, right = chances.max(axis=1), chances.argmax(axis=1) == labels
    rows = []
    for threshold in np.linspace(0, 1, THRESHOLDS).round(2):
        kept = top >= threshold
        share = float(right[kept].mean()) if kept.any() else float("nan")
        rows.append({"threshold": float(threshold), "answered": float(kept.mean()), "accuracy": share})
    return rows


def chances_of(rows: pd.DataFrame, classes: Sequence[str], source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities ``[rows, classes]`` and numbers of the true classes, of a table with the columns of predictions.

    Raises:
        InputError: a column or a class is missing, or a probability is none.
    """
    if not len(rows):
        return np.zeros((0, len(classes))), np.zeros(0, np.int64)
    columns = [f"p_{name}" for name in classes]
    if missing := [name for name in columns if name not in rows]:
        raise InputError(f"{source}: column {', '.join(missing)} missing; delete the file and run again")
    if unknown := sorted(set(rows["truth"]) - set(classes)):
        raise InputError(f"{source}: truth {unknown[0]!r} is not among the classes {', '.join(classes)}")
    chances = rows[columns].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    if not (finite := np.isfinite(chances).all(axis=1)).all():
        clip = rows["clip"].iloc[int(finite.argmin())]
        raise InputError(f"{source} is damaged (a probability of clip {clip} is no number); remove it and run again")
    return chances, pd.Index(classes).get_indexer(rows["truth"]).astype(np.int64)


class Held(NamedTuple):
    """What was answered for validation clips, without the rest of the table.

    Attributes:
        chances: float64 ``[rows, classes]``.
        labels: int16 ``[rows]``, numbers of the true classes.
        folds: where the rows of each repeat and fold are.
        clips: number of different clips.
    """

    chances: np.ndarray
    labels: np.ndarray
    folds: dict[tuple[Any, str], list[slice]]
    clips: int

    @classmethod
    def of(cls, parts: Iterable[pd.DataFrame], most: int, classes: Sequence[str], source: Path) -> "Held":
        """Of a table with the columns of predictions in parts, ``most`` rows in all; raises as :func:`chances_of`."""
        # By class, as pandas has columns: sums over classes then have the same bits, however many rows there are.
        chances, labels = np.empty((len(classes), most)), np.empty(most, np.int16)
        folds: dict[tuple[Any, str], list[slice]] = {}
        clips: set[tuple[str, str, str]] = set()
        count = 0
        for rows in parts:
            own = slice(count, count + len(rows))
            found, labels[own] = chances_of(rows, classes, source)
            chances[:, own] = found.T
            names = pd.MultiIndex.from_arrays([parse_numbers(rows["repeat"]), rows["fold"]])
            codes, known = names.factorize()
            edges = np.flatnonzero(np.diff(codes, prepend=-1)).tolist()
            for first, last in zip(edges, [*edges, len(rows)][1:], strict=True):
                folds.setdefault(known[codes[first]], []).append(slice(count + first, count + last))
            clips.update(rows[["dataset", "subject", "clip"]].itertuples(index=False, name=None))
            count = own.stop
        return cls(chances[:, :count].T, labels[:count], folds, len(clips))

    @classmethod
    def read(cls, path: Path, classes: Sequence[str]) -> "Held":
        """Of a file, :data:`ROWS_AT_ONCE` of its rows at a time.

        Raises:
            InputError: as :func:`merflow.storage.tables.read_table_in_parts` and :func:`chances_of`.
        """
        try:
            with open(path, "rb") as file:
                blocks = iter(lambda: file.read(2**16), b"")
                lines = sum(block.count(b"\n") + block.count(b"\r") for block in blocks)
        except OSError:
            lines = 0  # The reading says what there is to say of it.
        return cls.of(read_table_in_parts(path, PREDICTIONS, ROWS_AT_ONCE), lines, classes, path)

    def of_fold(self, name: tuple[Any, str]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and classes of the rows of a repeat and fold."""
        places = self.folds[name]
        chances = np.concatenate([self.chances.T[:, own] for own in places], axis=1).T
        return chances, np.concatenate([self.labels[own] for own in places])


def calibrated(predictions: pd.DataFrame, validation: Held, classes: Sequence[str], source: Path) -> np.ndarray:
    """Probabilities of test clips, each at the temperature of its own fold and repeat.

    That temperature is measured on the validation clips of the same fold, which are neither trained on nor tested
    there, so no label of a test clip has a say. A fold without validation clips stays at 1.

    Raises:
        InputError: the predictions, of the file ``source``, are as :func:`chances_of` says.
    """
    chances, _ = chances_of(predictions, classes, source)
    found = chances.copy()
    for name, places in predictions.reset_index(drop=True).groupby(["repeat", "fold"]).groups.items():
        if name in validation.folds:
            temperature = fit_temperature(*validation.of_fold(name))
            found[np.asarray(places)] = temper(chances[np.asarray(places)], temperature)
    return found


def calibrate(
    experiments: Mapping[str, Sequence[str]],
    predictions: Sequence[Path],
    validation: Sequence[Path],
    *,
    calibration: Path,
    reliability_table: Path,
    coverage_table: Path,
) -> None:
    """Judge the probabilities of test clips, as they are and calibrated inside each fold.

    Args:
        experiments: the classes of each experiment with a network.
        predictions: table of each, in the same order.
        validation: answers for validation clips of each.
        calibration: output. ``temperature`` is that of all validation clips, which Predict and exports use; the others
            (``ece, nll, brier``, and ``_raw`` without calibration) are of test clips, with 95 % intervals over subjects
            for the means. An expected calibration error has none: resamples of few clips are less smooth than the
            clips themselves, so theirs is larger, and such an interval would often miss the value.
        reliability_table: output, a row per bin.
        coverage_table: output, a row per threshold.

    Raises:
        InputError: a table is wrong.
    """
    tables: tuple[list, list, list] = ([], [], [])
    for (name, classes), tested, held in zip(experiments.items(), predictions, validation, strict=True):
        rows = read_table(tested, PREDICTIONS)
        raw, labels = chances_of(rows, classes, tested)
        if not len(rows):
            continue
        known = Held.read(held, classes)
        chances = calibrated(rows, known, classes, tested)
        temperature = fit_temperature(known.chances, known.labels)
        count = rows[["dataset", "subject", "clip"]].drop_duplicates().shape[0]
        figures = [{"metric": "temperature", "value": temperature}]
        for metric, measure in (("ece", expected_calibration_error), ("nll", None), ("brier", None)):
            for kind, own in ((f"{metric}_raw", raw), (metric, chances)):
                if measure:
                    figures.append({"metric": kind, "value": measure(own, labels)})
                    continue
                losses = _squares(own, labels) if metric == "brier" else _surprise(own, labels)
                figures.append({"metric": kind, **_mean_over_subjects(rows, losses)})
        tables[0].extend({"experiment": name, **row, "n_clips": count} for row in figures)
        for kind, own in (("raw", raw), ("calibrated", chances)):
            tables[1].extend({"experiment": name, "kind": kind, **row} for row in reliability(own, labels))
        tables[2].extend({"experiment": name, **row, "n_clips": count} for row in coverage(chances, labels))
        log.info("%s: temperature %.3f, %s", name, temperature, _told(figures))
    write_table(tables[0], calibration, CALIBRATION)
    write_table(tables[1], reliability_table, RELIABILITY)
    write_table(tables[2], coverage_table, COVERAGE)


def _told(figures: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{row['metric']} {row['value']:.3f}" for row in figures[1:])


def _surprise(chances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(chances[np.arange(len(labels)), labels], TINY))


def _mean_over_subjects(rows: pd.DataFrame, values: np.ndarray) -> dict[str, float]:
    """``value, ci_low, ci_high``: the mean over rows, and its percentile interval over resampled subjects."""
    person = rows.groupby(["dataset", "subject"], sort=True).ngroup().to_numpy()
    sums, counts = np.bincount(person, values), np.bincount(person).astype(float)
    draws = subject_draws(len(sums), RESAMPLES, seed=0)
    low, high = interval(draws @ sums / (draws @ counts)) if len(sums) > 1 else (float("nan"), float("nan"))
    return {"value": float(values.mean()), "ci_low": low, "ci_high": high}
