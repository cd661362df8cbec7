"""Calibration of probabilities by temperature scaling.

A network that is right in 60 of 100 clips should give 0.6 on average; networks that were trained on few clips seldom
do. Dividing the logarithms of their probabilities by a temperature T, which is fitted on clips that did not train,
corrects most of the error and never changes which class comes first (Guo, Pleiss, Sun, Weinberger: On Calibration of
Modern Neural Networks, ICML 2017).
"""

import logging
import math
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from merflow.errors import InputError
from merflow.evaluation.metrics import interval, subject_draws
from merflow.storage import tables

log = logging.getLogger(__name__)

LEAST, MOST = 0.1, 10.0
"""Bounds of a temperature; on few validation clips that are all predicted correctly the fit would go to 0."""
TINY = 1e-12
"""Probabilities are clipped at this value before the logarithm."""
BINS = 10
"""Bins of equal width of the reliability diagram and of the expected calibration error."""
THRESHOLDS = 101
"""Thresholds of the table of coverage: 0.00, 0.01, ..., 1.00."""
RESAMPLES = 2000
ROWS_AT_ONCE = 5_000
"""Rows of validation clips that are read at a time."""


def temper(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at a temperature T, proportional to ``p ** (1 / T)``, float64 ``[..., classes]``."""
    if temperature == 1:
        return np.array(probs, float)
    scores = np.log(np.maximum(np.asarray(probs, float), TINY)) / temperature
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def log_losses(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log of the probability of the true class, float64 [clips]; arguments as of :func:`reliability`."""
    return np.asarray(-np.log(np.maximum(probs[np.arange(len(labels)), labels], TINY)))


def brier_scores(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared distance between probabilities and truth, 0 to 2 (Brier 1950, over all classes).

    Arguments as of :func:`reliability`; float64 [clips].
    """
    return np.asarray(((probs - np.eye(probs.shape[1])[labels]) ** 2).sum(axis=1))


def fit_temperature(probs: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the lowest negative log likelihood in [:data:`LEAST`, :data:`MOST`]; 1 without clips.

    ``probs`` [clips, classes] are of clips that did not train, ``labels`` int64 [clips].
    """
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return 1.0

    def mean_loss(log_temperature: float) -> float:
        return float(log_losses(temper(probs, float(np.exp(log_temperature))), labels).mean())

    # Over log T, so that half and double are equally far; the loss is convex in 1 / T.
    bounds = (np.log(LEAST), np.log(MOST))
    best = minimize_scalar(mean_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x)) if best.fun < mean_loss(0.0) else 1.0


def reliability(probs: np.ndarray, labels: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """Confidence and accuracy in bins ``(low, high]`` of equal width; the first bin includes 0.

    ``probs`` float [clips, classes] are calibrated or not, ``labels`` int64 [clips] are indices of the true classes.

    Returns:
        rows ``bin_low, bin_high, n, confidence`` (mean of the top probability) and ``accuracy``; NaN in an empty bin.
    """
    top, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    bin_index = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, bins - 1)
    rows = []
    for number, (low, high) in enumerate(pairwise(edges.tolist())):
        inside = bin_index == number
        n = int(inside.sum())
        confidence, accuracy = (float(top[inside].mean()), float(right[inside].mean())) if n else (math.nan, math.nan)
        rows.append({"bin_low": low, "bin_high": high, "n": n, "confidence": confidence, "accuracy": accuracy})
    return rows


def expected_calibration_error(probs: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy over the bins of :func:`reliability`, weighted by clips.

    Arguments as there; NaN without clips.

    Naeini, Cooper, Hauskrecht: Obtaining Well Calibrated Probabilities Using Bayesian Binning (AAAI 2015).
    """
    rows = [row for row in reliability(probs, labels, bins) if row["n"]]
    if not rows:
        return math.nan
    return sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / len(labels)


def coverage(probs: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    """Share of clips with a top probability of at least a threshold, and the accuracy on them.

    Arguments as of :func:`reliability`. Without an answered clip, the accuracy is NaN.

    Returns:
        rows ``threshold, answered, accuracy``, for :data:`THRESHOLDS` thresholds from 0 to 1.
    """
    top, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    rows = []
    for threshold in np.linspace(0, 1, THRESHOLDS).round(2):
        kept = top >= threshold
        accuracy = float(right[kept].mean()) if kept.any() else math.nan
        rows.append({"threshold": float(threshold), "answered": float(kept.mean()), "accuracy": accuracy})
    return rows


def read_probs(rows: pd.DataFrame, classes: Sequence[str], source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities ``[rows, classes]`` and indices of the true classes, from a table of predictions.

    Raises:
        InputError: a column is missing, a true label is not a class, or a probability is not a number.
    """
    if not len(rows):
        return np.zeros((0, len(classes))), np.zeros(0, np.int64)
    columns = [f"p_{name}" for name in classes]
    if missing := [name for name in columns if name not in rows]:
        raise InputError(f"{source}: column {', '.join(missing)} missing; delete the file and run again")
    if unknown := sorted(set(rows["truth"]) - set(classes)):
        raise InputError(f"{source}: truth {unknown[0]!r} is not among the classes {', '.join(classes)}")
    probs = rows[columns].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    if not (finite := np.isfinite(probs).all(axis=1)).all():
        clip = rows["clip"].iloc[int(finite.argmin())]
        raise InputError(f"{source} is damaged (a probability of clip {clip} is not a number); remove it and run again")
    return probs, pd.Index(classes).get_indexer(pd.Index(rows["truth"])).astype(np.int64)


class ValidationProbs(NamedTuple):
    """Predicted probabilities of validation clips, without the other columns of their table."""

    probs: np.ndarray  # float64 [rows, classes]
    labels: np.ndarray  # int64 [rows], indices of the true classes
    folds: Mapping[Any, np.ndarray]  # indices of the rows of each (repeat, fold)
    clips: int  # number of different clips

    @classmethod
    def read(cls, path: Path, classes: Sequence[str]) -> "ValidationProbs":
        """Read a table of predictions, :data:`ROWS_AT_ONCE` rows at a time, because it has a row per fold and clip.

        Raises:
            InputError: as :func:`merflow.storage.tables.read_table_in_parts` and :func:`read_probs`.
        """
        probs, labels, folds = [], [], []
        clips: set[Any] = set()
        for rows in tables.read_table_in_parts(path, tables.PREDICTIONS, ROWS_AT_ONCE):
            part_probs, part_labels = read_probs(rows, classes, path)
            probs.append(part_probs)
            labels.append(part_labels)
            repeats = tables.parse_numbers(rows["repeat"])
            folds.append(pd.DataFrame({"repeat": repeats, "fold": rows["fold"].map(sys.intern).astype(object)}))
            clips.update(rows[["dataset", "subject", "clip"]].itertuples(index=False, name=None))
        of_folds: dict[Any, Any] = pd.concat(folds, ignore_index=True).groupby(["repeat", "fold"]).indices
        return cls(np.concatenate(probs), np.concatenate(labels), of_folds, len(clips))


def calibrated_probs(
    predictions: pd.DataFrame, validation: ValidationProbs, classes: Sequence[str], source: Path
) -> np.ndarray:
    """Probabilities of test clips, each at the temperature of its own fold and repeat.

    The temperature is fitted on the validation clips of the same fold, so no label of a test clip is used. A fold
    without validation clips keeps the temperature 1.

    Raises:
        InputError: the predictions are damaged (:func:`read_probs`; ``source`` names their file).
    """
    probs = read_probs(predictions, classes, source)[0].copy()
    for name, indices in predictions.groupby(["repeat", "fold"]).indices.items():
        rows = validation.folds.get(name)
        if rows is not None:
            temperature = fit_temperature(validation.probs[rows], validation.labels[rows])
            probs[indices] = temper(probs[indices], temperature)
    return probs


def calibrate(
    experiments: Mapping[str, Sequence[str]],
    predictions: Sequence[Path],
    validation: Sequence[Path],
    *,
    calibration: Path,
    reliability_table: Path,
    coverage_table: Path,
) -> None:
    """Measure the calibration of the probabilities of test clips, before and after temperature scaling.

    Args:
        experiments: the classes of each experiment with a network.
        predictions: test predictions of each, in the same order.
        validation: validation predictions of each.
        calibration: output. ``temperature`` is that of all validation clips, which Predict and exports use. The other
            metrics (``ece, nll, brier``, and ``_raw`` before calibration) are of test clips. All but the expected
            calibration error, which is larger on resamples than on the clips, have 95 % intervals over subjects.
        reliability_table: output, a row per bin.
        coverage_table: output, a row per threshold.

    Raises:
        InputError: a table is damaged or does not fit the classes.
    """
    calibration_rows: list[dict[str, Any]] = []
    reliability_rows: list[dict[str, Any]] = []
    coverage_rows: list[dict[str, Any]] = []
    for (name, classes), test_file, validation_file in zip(experiments.items(), predictions, validation, strict=True):
        rows = tables.read_table(test_file, tables.PREDICTIONS)
        raw, labels = read_probs(rows, classes, test_file)
        if not len(rows):
            continue
        val_probs = ValidationProbs.read(validation_file, classes)
        probs = calibrated_probs(rows, val_probs, classes, test_file)
        count = rows[["dataset", "subject", "clip"]].drop_duplicates().shape[0]
        metrics: dict[str, dict[str, float]] = {
            "temperature": {"value": fit_temperature(val_probs.probs, val_probs.labels)},
            "ece_raw": {"value": expected_calibration_error(raw, labels)},
            "ece": {"value": expected_calibration_error(probs, labels)},
        }
        for metric, losses in (("nll", log_losses), ("brier", brier_scores)):
            metrics[f"{metric}_raw"] = _mean_over_subjects(rows, losses(raw, labels))
            metrics[metric] = _mean_over_subjects(rows, losses(probs, labels))
        for metric, estimate in metrics.items():
            calibration_rows.append({"experiment": name, "metric": metric, **estimate, "n_clips": count})
        for kind, values in (("raw", raw), ("calibrated", probs)):
            reliability_rows += [{"experiment": name, "kind": kind, **row} for row in reliability(values, labels)]
        coverage_rows += [{"experiment": name, **row, "n_clips": count} for row in coverage(probs, labels)]
        shown = ", ".join(f"{metric} {estimate['value']:.3f}" for metric, estimate in metrics.items())
        log.info("%s: %s", name, shown)
    tables.write_table(calibration_rows, calibration, tables.CALIBRATION)
    tables.write_table(reliability_rows, reliability_table, tables.RELIABILITY)
    tables.write_table(coverage_rows, coverage_table, tables.COVERAGE)


def _mean_over_subjects(rows: pd.DataFrame, values: np.ndarray) -> dict[str, float]:
    """``value, ci_low, ci_high``: the mean over rows and its percentile interval over resampled subjects."""
    person = rows.groupby(["dataset", "subject"], sort=True).ngroup().to_numpy()
    sums, counts = np.bincount(person, values), np.bincount(person).astype(float)
    draws = subject_draws(len(sums), RESAMPLES, seed=0)
    low, high = interval(draws @ sums / (draws @ counts)) if len(sums) > 1 else (math.nan, math.nan)
    return {"value": float(values.mean()), "ci_low": low, "ci_high": high}
