"""F1 of action units from pooled predictions, with intervals over people.

A unit is a yes-or-no question about a clip. Its binary F1 is that of the clips that show it, 0 if there is none. Its
macro F1 is the mean of that and of the F1 of all other clips; one of the two that neither occurs nor is predicted is
left out (Varanka, Li, Peng, Zhao: Data leakage and evaluation issues in micro-expression analysis, 2023).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from merflow.datasets.action_units import NONE
from merflow.errors import InputError
from merflow.evaluation.metrics import defined_mean, interval, subject_counts, subject_draws

UNIT_METRICS = ("f1", "macro_f1")
DATASETS, UNIT = "datasets", "unit:"
"""Scope of the mean over datasets, and start of the scope of a unit; after a dataset, ``dataset:<name>/unit:AU4``."""
RESAMPLES = 2000
Estimates = dict[str, tuple[float, float, float]]
"""Value, low and high of each of :data:`UNIT_METRICS`."""


def unit_f1(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The F1 scores ``[..., units]`` of counts ``[..., units, 2 (truth), 2 (predicted)]``; NaN without any clip."""
    counts = np.asarray(counts, dtype=float)
    either = counts.sum(-1) + counts.sum(-2)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    f1 = np.divide(2 * right, either, out=np.zeros(either.shape), where=either > 0)
    occur = (either > 0).sum(-1)
    macro = np.divide(f1.sum(-1), occur, out=np.full(occur.shape, np.nan), where=occur > 0)
    return {"f1": np.where(occur > 0, f1[..., 1], np.nan), "macro_f1": macro}


def unit_metrics(table: pd.DataFrame, units: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame, Estimates]]:
    """Yield each scope with its clips and its scores: means over repeats, and 95 % intervals over people.

    ``pooled`` and ``dataset:<name>`` are the means over the units of the F1 on all clips or on those of a dataset,
    ``datasets`` is the mean of the latter over datasets, and ``unit:<name>`` the F1 of one unit on all clips;
    the clips of a unit are those that show it. A unit that no clip of a resample shows is left out of that resample.

    ``table``: ``repeat, dataset, subject, truth, predicted``, such as ``AU1+AU4``.
    """
    counts = unit_counts(table, units)
    owner = table.groupby(["dataset", "subject"]).size().index.get_level_values("dataset")
    draws = subject_draws(len(owner), RESAMPLES, seed=0)
    weights = np.vstack([np.ones(len(owner)), draws])  # The first row is the study itself, the others are resamples.

    def scores(people: np.ndarray) -> dict[str, np.ndarray]:
        """The F1 of each unit in each row of ``weights``, by the clips of some people, ``[1 + resamples, units]``."""
        part = counts[:, people].swapaxes(0, 1)
        drawn = (weights[:, people] @ part.reshape(len(part), -1)).reshape(len(weights), *part.shape[1:])
        shown = drawn[..., 1, :].sum(-1) > 0
        lost = shown[:1] & ~shown
        return {name: defined_mean(np.where(lost, np.nan, v), axis=1) for name, v in unit_f1(drawn).items()}

    def estimates(values: Mapping[str, np.ndarray]) -> Estimates:
        few = len(owner) < 2
        return {name: (float(v[0]), *((np.nan, np.nan) if few else interval(v[1:]))) for name, v in values.items()}

    def of_units(prefix: str, part: pd.DataFrame, values: Mapping[str, np.ndarray]) -> Iterator:
        for index, unit in enumerate(units):
            clips = part[part["truth"].str.split("+").map(lambda names, unit=unit: unit in names)]
            yield prefix + unit, clips, estimates({name: v[:, index] for name, v in values.items()})

    pooled = scores(np.ones(len(owner), bool))
    yield "pooled", table, estimates({name: defined_mean(v, axis=1) for name, v in pooled.items()})
    yield from of_units(UNIT, table, pooled)
    parts = {str(name): part for name, part in table.groupby("dataset", sort=False)}
    if len(parts) < 2:
        return
    by_dataset = {name: scores(owner == name) for name in parts}
    means = {
        name: {metric: defined_mean(v, axis=1) for metric, v in values.items()} for name, values in by_dataset.items()
    }
    together = {
        metric: defined_mean(np.stack([values[metric] for values in means.values()])) for metric in UNIT_METRICS
    }
    yield DATASETS, table, estimates(together)
    for name, part in parts.items():
        yield f"dataset:{name}", part, estimates(means[name])
        yield from of_units(f"dataset:{name}/{UNIT}", part, by_dataset[name])


def unit_counts(table: pd.DataFrame, units: Sequence[str]) -> np.ndarray:
    """Clips of each repeat, person and unit by truth and prediction, int64 ``[R, S, units, 2, 2]``."""
    names = [name for name in ("dataset", "subject", "repeat") if name in table]
    shown = {column: table[column].str.get_dummies("+") for column in ("truth", "predicted")}
    counts = []
    for unit in units:
        flags = {column: dummies.get(unit, 0) for column, dummies in shown.items()}
        counts.append(subject_counts(table[names].assign(**flags), ["0", "1"]))
    return np.stack(counts, axis=2)


def check_units(table: pd.DataFrame, path: Path | str, units: Sequence[str]) -> None:
    """Check that every label is ``none`` or some of the units.

    Raises:
        InputError: names the first row whose label is not.
    """
    for column in ("truth", "predicted"):
        names = table[column].str.split("+").explode()
        unknown = names[~names.isin([*units, NONE])]
        if len(unknown):
            row = int(unknown.index[0]) + 2
            raise InputError(
                f"{path}, row {row}: {column} has {unknown.iloc[0]!r}; expected {NONE} or some of {', '.join(units)}"
            )
