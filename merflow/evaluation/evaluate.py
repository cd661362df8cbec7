"""Score the predictions of an experiment, and merge the tables of all experiments into those of the study."""

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from merflow.errors import InputError
from merflow.evaluation.action_units import check_units, unit_metrics
from merflow.evaluation.metrics import OVERALL, PER_CLASS, bootstrap_subjects, mean_rates
from merflow.evaluation.settings import EvaluationSettings
from merflow.storage import tables

log = logging.getLogger(__name__)

COLUMNS = {
    "predictions": tables.PREDICTIONS,
    "validation": tables.PREDICTIONS,
    "metrics": tables.METRICS,
    "accuracy_train": tables.ACCURACY_TRAIN,
    "curves": tables.CURVES,
    "test_epochs": tables.TEST_EPOCHS,
}
"""Columns of the study's tables, by the stem of their file."""
ROWS_AT_ONCE = 50_000
"""Rows of a table that are merged at a time."""
COUNTED = {"n_clips": "clip", "n_subjects": "subject"}


def evaluate(predictions: Path, metrics: Path, settings: EvaluationSettings) -> None:
    """Score one experiment and write its ``metrics.csv``.

    Scopes: ``pooled`` (all clips) and ``dataset:<name>`` (the clips of one dataset), each with accuracy, UF1 and UAR;
    ``class:<name>`` with F1, recall and precision, where ``n_clips`` counts the true clips of the class; if there are
    several datasets, also ``dataset:<name>/class:<name>``. The scopes of action units are those of
    :func:`merflow.evaluation.action_units.unit_metrics`. With several repeats a value is the mean over repeats of the
    pooled value; the interval is always over subjects. An undefined value (no true clip; never predicted) is an empty
    cell.

    Raises:
        InputError: the predictions are not one row per clip and repeat, or hold a label that is not a class.
    """
    classes = list(settings.classes)
    table = tables.read_table(predictions, tables.PREDICTIONS)
    check_predictions(table, predictions, classes, settings.units)
    rows: list[dict[str, Any]] = []

    def add(scope: str, part: pd.DataFrame, values: Mapping[str, Any], intervals: Mapping[str, Any]) -> None:
        counts = {name: part.groupby(["dataset", column]).ngroups for name, column in COUNTED.items()}
        common = {"experiment": settings.experiment, "protocol": settings.protocol, "scope": scope, **counts}
        for name, value in values.items():
            row = {"metric": name, "value": float(value), "repeats": table["repeat"].nunique()}
            rows.append(common | row | dict(zip(("ci_low", "ci_high"), intervals[name], strict=True)))

    if settings.units:
        for scope, part, estimates in unit_metrics(table, classes):
            add(scope, part, *({name: e[index] for name, e in estimates.items()} for index in (0, slice(1, 3))))
        return tables.write_table(rows, metrics, tables.METRICS)
    parts = {"pooled": table} | {f"dataset:{name}": part for name, part in table.groupby("dataset", sort=False)}
    scored = {
        scope: (part, mean_rates(part, classes), bootstrap_subjects(part, classes)) for scope, part in parts.items()
    }
    for scope, (part, values, intervals) in scored.items():
        add(scope, part, {name: values[name] for name in OVERALL}, intervals)
    log.info("%s", ", ".join(f"{name} {scored['pooled'][1][name]:.3f}" for name in OVERALL))
    if len(scored) == 2:  # A single dataset: its classes are those of all clips.
        scored = {"pooled": scored["pooled"]}
    for scope, (part, values, intervals) in scored.items():
        for index, label in enumerate(classes):
            class_scope = f"class:{label}" if scope == "pooled" else f"{scope}{tables.CLASS_SCOPE}{label}"
            class_values = {name: values[name][index] for name in PER_CLASS}
            class_intervals = {name: intervals[name][label] for name in PER_CLASS}
            add(class_scope, part[part["truth"] == label], class_values, class_intervals)
    tables.write_table(rows, metrics, tables.METRICS)


def check_predictions(table: pd.DataFrame, path: Path | str, classes: Sequence[str], units: bool = False) -> None:
    """Check that there is one row per repeat and clip, one true label per clip, and no unknown label.

    ``units``: whether the classes are action units.

    Raises:
        InputError: the table is empty or one of the checks fails.
    """
    if table.empty:
        raise InputError(f"{path} has no prediction; every clip failed, or none has a label of the class set")
    (check_units if units else check_labels)(table, path, classes)
    check_clips(table, path, ["dataset", "clip"])


def check_labels(table: pd.DataFrame, path: Path | str, classes: Sequence[str]) -> None:
    """Check that every label is one of the classes.

    Raises:
        InputError: names the first row whose label is not.
    """
    for name in ("truth", "predicted"):
        unknown = ~table[name].isin(list(classes))
        if unknown.any():
            row = table[unknown].iloc[0]
            where = f"row {int(table.index[unknown][0]) + 2}" + (f" (clip {row['clip']})" if "clip" in row else "")
            raise InputError(f"{path}, {where}: {name} is {row[name]!r}; expected one of {', '.join(classes)}")


def check_clips(table: pd.DataFrame, path: Path | str, key: list[str]) -> None:
    """Check that no repeat has two rows of one clip (a value of the columns ``key``), and that its true label is one.

    Raises:
        InputError: names the first row or clip at fault.
    """
    twice = table.duplicated([*key, "repeat"] if "repeat" in table else key)
    if twice.any():
        clip, number = table.loc[twice, "clip"].iloc[0], int(table.index[twice][0]) + 2
        remedy = "expected one row per clip, or a column repeat that numbers the runs"
        raise InputError(f"{path}, row {number}: clip {clip} occurs twice; {remedy}")
    differing = table.groupby(key, sort=False)["truth"].transform("nunique") > 1
    if differing.any():
        clip = table.loc[differing, "clip"].iloc[0]
        raise InputError(f"{path}: clip {clip} has different true labels in different repeats")


def merge(paths: Sequence[Path], output: Path) -> None:
    """Concatenate tables, cell for cell; a column that a table lacks is left empty.

    The file name of ``output`` decides which columns each table must have (:data:`COLUMNS`). There may be no table.

    Raises:
        InputError: a table is missing, cut short, or lacks a column of the contract.
    """
    required = COLUMNS.get(Path(output).stem, [])
    headers = [next(tables.read_table_in_parts(path, required, 1)).columns for path in paths]
    columns = list(dict.fromkeys(chain(required, *headers)))
    rows = (part for path in paths for part in tables.read_table_in_parts(path, required, ROWS_AT_ONCE))
    parts = (part.reindex(columns=columns, fill_value="") for part in chain([pd.DataFrame()], rows))
    tables.write_table_in_parts(parts, output, columns)
