"""From one row per clip to the tables of metrics, per experiment and for the whole study."""

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from merflow.errors import InputError
from merflow.evaluation.metrics import OVERALL, PER_CLASS, bootstrap_subjects, mean_rates
from merflow.storage.files import atomic_write
from merflow.storage.tables import (
    ACCURACY_TRAIN,
    CLASS_SCOPE,
    CURVES,
    METRICS,
    PREDICTIONS,
    check_complete,
    cut_short_error,
    read_table,
    write_table,
)

log = logging.getLogger(__name__)

COLUMNS = {
    "predictions": PREDICTIONS,
    "validation": PREDICTIONS,
    "metrics": METRICS,
    "accuracy_train": ACCURACY_TRAIN,
    "curves": CURVES,
}
"""Columns of the study's tables, by the stem of their file."""


def evaluate(predictions: Path, metrics: Path, settings: Mapping[str, Any]) -> None:
    """Score one experiment and write its ``metrics.csv``.

    Scopes: ``pooled`` (all clips), ``dataset:<name>`` (the clips of one dataset), each with accuracy, UF1 and UAR; and
    ``class:<name>`` with F1, recall and precision, where ``n_clips`` counts the true clips of the class; of several
    datasets also each one's, ``dataset:<name>/class:<name>``. With several repeats a value is the mean over repeats of
    the pooled value; the interval is over subjects in every case.
    A value that is undefined (no true clip; never predicted) is an empty cell.

    Args:
        predictions: table ``predictions.csv`` of the experiment.
        metrics: output.
        settings: ``experiment`` and ``protocol`` (names), ``classes`` (names, in order).

    Raises:
        InputError: the predictions are not one row per clip and repeat, or hold a label that is no class.
    """
    table = read_table(predictions, PREDICTIONS)
    check_predictions(table, predictions, settings["classes"])
    classes = list(settings["classes"])
    rows = []

    def add(scope: str, part: pd.DataFrame, values: Mapping[str, Any], intervals: Mapping[str, Any]) -> None:
        common = {
            "experiment": settings["experiment"],
            "protocol": settings["protocol"],
            "scope": scope,
            "n_clips": part.groupby(["dataset", "clip"]).ngroups,
            "n_subjects": part.groupby(["dataset", "subject"]).ngroups,
            "repeats": table["repeat"].nunique(),
        }
        for name, value in values.items():
            low, high = intervals[name]
            rows.append(common | {"metric": name, "value": float(value), "ci_low": low, "ci_high": high})

    parts = {"pooled": table} | {f"dataset:{name}": part for name, part in table.groupby("dataset", sort=False)}
    found = {}
    for scope, part in parts.items():
        values, intervals = mean_rates(part, classes), bootstrap_subjects(part, classes)
        add(scope, part, {name: values[name] for name in OVERALL}, intervals)
        found[scope] = part, values, intervals
    log.info("%s", ", ".join(f"{name} {found['pooled'][1][name]:.3f}" for name in OVERALL))
    for scope, (part, values, intervals) in found.items() if len(parts) > 2 else [("pooled", found["pooled"])]:
        for place, label in enumerate(classes):
            own = {name: intervals[name][label] for name in PER_CLASS}
            of_class = {name: values[name][place] for name in PER_CLASS}
            where = f"class:{label}" if scope == "pooled" else f"{scope}{CLASS_SCOPE}{label}"
            add(where, part[part["truth"] == label], of_class, own)
    write_table(rows, metrics, METRICS)


def check_predictions(table: pd.DataFrame, path: Path | str, classes: Sequence[str]) -> None:
    """Raise InputError unless there are clips, one row per repeat and clip, one truth per clip, and known labels."""
    if table.empty:
        raise InputError(f"{path} has no prediction; every clip failed, or none has a label of the class set")
    for name in ("truth", "predicted"):
        strange = table.index[~table[name].isin(list(classes))]
        if len(strange):
            row = table.loc[strange[0]]
            raise InputError(
                f"{path}, row {strange[0] + 2} (clip {row['clip']}): {name} is {row[name]!r}; "
                f"expected one of {', '.join(classes)}"
            )
    clip = table[["repeat", "dataset", "clip"]]
    if clip.duplicated().any():
        row = clip.loc[clip.duplicated().idxmax()]
        raise InputError(
            f"{path}, row {row.name + 2}: clip {row['clip']} of {row['dataset']} is predicted twice in repeat "
            f"{row['repeat']}; expected one row per clip"
        )
    truths = table.groupby(["dataset", "clip"])["truth"].nunique()
    if (truths > 1).any():
        raise InputError(f"{path}: clip {truths.idxmax()[1]} has different true labels in different repeats")


def merge(paths: Sequence[Path], output: Path) -> None:
    """Write the rows of several tables into one, cell for cell; a column that a table lacks is left empty.

    Args:
        paths: tables of the experiments, in the order that the rows shall have; may be empty.
        output: the study's table. ``predictions.csv``, ``metrics.csv``, ``accuracy_train.csv`` and ``curves.csv`` have
            at least their contract's columns.

    Raises:
        InputError: a table is missing, cut short, or lacks a column of the contract.
    """
    columns = dict.fromkeys(COLUMNS.get(Path(output).stem, []))
    needed = list(columns)
    for path in paths:
        try:
            check_complete(path)
            with open(path, newline="", encoding="utf-8") as file:
                header = next(csv.reader(file), [])
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        missing = [name for name in needed if name not in header]
        if missing:
            raise InputError(f"{path}: column {', '.join(missing)} missing; found: {', '.join(header) or 'nothing'}")
        columns |= dict.fromkeys(header)
    with atomic_write(output) as temporary, open(temporary, "w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(target, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        for path in paths:
            with open(path, newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    if None in row.values():
                        raise cut_short_error(path, "a row has fewer cells than the header")
                    writer.writerow(row)
