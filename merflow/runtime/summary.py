"""The summary of a finished study: the path of its report and its main metrics.

``python -m merflow.runtime.summary FOLDER`` or ``mine.yaml`` prints it again.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from merflow.errors import InputError, MerflowError
from merflow.storage.yaml_files import read_yaml

SYNTHETIC_MARK = '<meta name="merflow:data" content="synthetic">'
"""Element in the head of a report on synthetic data."""
METRICS = {"accuracy": "accuracy", "uf1": "UF1", "uar": "UAR", "f1": "unit F1", "macro_f1": "unit macro F1"}


def summary(study_folder: Path) -> str:
    """Return the path of a study's report, and its pooled metrics with 95 % intervals over subjects.

    Args:
        study_folder: ``results/{study}``, with ``metrics.csv`` and ``report.html``.

    Raises:
        InputError: the study is not finished.
    """
    report = study_folder / "report.html"
    values = pooled_metrics(study_folder)
    try:
        with open(report, encoding="utf-8") as file:
            synthetic = SYNTHETIC_MARK in file.read(4096)
    except OSError as error:
        raise InputError(f"{error.filename} does not exist; run the workflow first") from error
    metrics_shown = [metric for metric in METRICS if any(metric in rows for rows in values.values())]
    table = [["experiment", *(METRICS[metric] for metric in metrics_shown)]]
    table += [[name, *(cell(rows.get(metric)) for metric in metrics_shown)] for name, rows in values.items()]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
    kind = " (with synthetic demo data: a check of the machinery, no claim about people)" if synthetic else ""
    note = "[low, high]: 95 % interval over subjects"
    indented = "\n".join(f"  {line}" for line in [*lines, note])
    return f"Study {study_folder.resolve().name}{kind}\n\n{indented}\n\nReport: {report}"


def pooled_metrics(study_folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return the pooled rows of a study's ``metrics.csv`` by experiment and metric.

    Raises:
        InputError: the study is not finished, or the file is of another version.
    """
    path = study_folder / "metrics.csv"
    values: dict[str, dict[str, dict[str, str]]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["scope"] == "pooled":
                    values.setdefault(row["experiment"], {})[row["metric"]] = row
    except OSError as error:
        raise InputError(f"{path} does not exist; run the workflow first") from error
    except KeyError as error:
        raise InputError(f"{path}: column {error} is missing; remove the file and run again") from error
    return values


def cell(row: dict[str, str] | None, digits: int = 3) -> str:
    """Return a value of ``metrics.csv`` with its interval, as text; ``-`` if there is none."""
    if row is None or not row["value"]:
        return "-"
    if not row["ci_low"]:
        return f"{float(row['value']):.{digits}f}"
    value, low, high = (f"{float(row[column]):.{digits}f}" for column in ("value", "ci_low", "ci_high"))
    return f"{value} [{low}, {high}]"


def main(arguments: Sequence[str]) -> int:
    """Print the summary of a study's folder or configuration file, by default ``config.yaml``; returns the status."""
    source = arguments[0] if arguments else "config.yaml"
    try:
        if source.endswith((".yaml", ".yml")):
            config = read_yaml("config.yaml") | read_yaml(source)
            source = f"{config['results']}/{config['study']}"
        print(summary(Path(source)))
    except MerflowError as error:
        print(f"merflow.runtime.summary: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
