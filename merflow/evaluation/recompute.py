"""Compute the tables of a finished study again from its predictions, and compare them with those that it has."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile

import numpy as np
import pandas as pd

from merflow.errors import InputError
from merflow.evaluation.action_units import UNIT
from merflow.evaluation.calibration import calibrate
from merflow.evaluation.evaluate import evaluate, merge
from merflow.evaluation.settings import EvaluationSettings
from merflow.evaluation.significance import compare
from merflow.storage.files import safe_filename
from merflow.storage.tables import (
    CALIBRATION,
    COVERAGE,
    DIFFERENCES,
    METRICS,
    PREDICTIONS,
    RELIABILITY,
    read_table,
    write_table,
)

KEYS = {
    "metrics": (METRICS, ["experiment", "scope", "metric"]),
    "differences": (DIFFERENCES, ["first", "second", "metric"]),
    "calibration": (CALIBRATION, ["experiment", "metric"]),
    "reliability": (RELIABILITY, ["experiment", "kind", "bin_low"]),
    "coverage": (COVERAGE, ["experiment", "threshold"]),
}
"""Tables that follow from predictions: their columns, and those that name a row."""
CLASS = "class:"
TOLERANCE = 1e-6
"""Greatest relative difference of numbers that count as equal; tables have nine digits."""


@dataclass(frozen=True)
class Recomputed:
    """A table that was computed again.

    Attributes:
        name: of the table.
        numbers: how many numbers were compared.
        different: the rows that differ, each as one line of text.
        table: the table as it was computed again.
    """

    name: str
    numbers: int
    different: Sequence[str]
    table: pd.DataFrame


def recompute(study: Path) -> list[Recomputed]:
    """Compute the tables :data:`KEYS` of a study again, from ``predictions.csv`` and the answers for validation clips.

    Args:
        study: ``results/{study}``, an archive of ``snakemake bundle``, or the folder that it was unpacked in.

    Raises:
        InputError: a table is missing or damaged.
    """
    with _folder(study) as folder, TemporaryDirectory() as temporary:
        metrics = read_table(folder / "metrics.csv", METRICS)
        settings = [_settings(str(name), rows) for name, rows in metrics.groupby("experiment", sort=False)]
        again = Path(temporary)
        _evaluate(folder, settings, again)
        return [_compared(name, folder / f"{name}.csv", again / f"{name}.csv") for name in KEYS]


@contextmanager
def _folder(study: Path) -> Iterator[Path]:
    """Yield the folder of a study; that of an archive is temporary."""
    if study.is_dir():
        yield study
        return
    try:
        with TemporaryDirectory() as temporary, ZipFile(study) as archive:
            archive.extractall(temporary, [name for name in archive.namelist() if name.endswith(".csv")])
            yield Path(temporary)
    except (OSError, BadZipFile) as error:
        raise InputError(f"{study} is neither a folder of a study nor its archive ({error})") from error


def _settings(experiment: str, rows: pd.DataFrame) -> EvaluationSettings:
    """Return how an experiment was scored, from its rows in ``metrics.csv``."""
    scopes = rows["scope"].drop_duplicates()
    units = bool(scopes.str.startswith(UNIT).any())
    prefix = UNIT if units else CLASS
    classes = scopes[scopes.str.startswith(prefix)].str.removeprefix(prefix).to_list()
    return EvaluationSettings(experiment, str(rows["protocol"].iloc[0]), classes, units)


def _evaluate(folder: Path, settings: Sequence[EvaluationSettings], output: Path) -> None:
    """Write the tables again into the folder ``output``."""
    predictions = read_table(folder / "predictions.csv", PREDICTIONS)
    parts = {}
    for number, experiment in enumerate(settings):
        parts[experiment.experiment] = part = output / f"{number}.csv"
        rows = predictions[predictions["experiment"] == experiment.experiment]
        write_table(rows.dropna(axis="columns", how="all"), part, PREDICTIONS)
        evaluate(part, output / f"metrics{number}.csv", experiment)
    merge([output / f"metrics{number}.csv" for number in range(len(settings))], output / "metrics.csv")
    classes = {experiment.experiment: experiment.classes for experiment in settings if not experiment.units}
    compare(folder / "predictions.csv", output / "differences.csv", classes)
    calibrated = list(read_table(folder / "calibration.csv", CALIBRATION)["experiment"].drop_duplicates())
    calibrate(
        {name: classes[name] for name in calibrated},
        [parts[name] for name in calibrated],
        [folder / "experiments" / safe_filename(name) / "validation.csv" for name in calibrated],
        calibration=output / "calibration.csv",
        reliability_table=output / "reliability.csv",
        coverage_table=output / "coverage.csv",
    )


def _compared(name: str, stored: Path, again: Path) -> Recomputed:
    """Compare a table of the study with the same table computed again."""
    columns, key = KEYS[name]
    values = [column for column in columns if column not in key]
    old, new = (read_table(path, columns).set_index(key)[values] for path in (stored, again))
    rows = [" ".join(map(str, row)) for row in old.index.symmetric_difference(new.index)]
    if not rows:
        new = new.loc[old.index]
        rows = [
            f"{' '.join(map(str, row))}: {column} is {number}, computed again {again_number}"
            for column in values
            for row, number, again_number, equal in zip(
                old.index, old[column], new[column], _equal(old[column], new[column]), strict=True
            )
            if not equal
        ]
    return Recomputed(name, int(new.notna().to_numpy().sum()), rows, new.reset_index())


def _equal(first: pd.Series, second: pd.Series) -> np.ndarray:
    """Return which cells are equal, of numbers within :data:`TOLERANCE`."""
    if pd.api.types.is_numeric_dtype(first) and pd.api.types.is_numeric_dtype(second):
        return np.isclose(first, second, TOLERANCE, TOLERANCE, equal_nan=True)
    return np.asarray(first.astype(str) == second.astype(str))
