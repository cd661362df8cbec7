"""The summary of a finished study: the paths of its pages and its main metrics.

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
    """Return the paths of a study's pages, and its main metrics with 95 % intervals over subjects.

    These are the pooled metrics of experiments on clips, and F1 of those in long videos.

    Args:
        study_folder: ``results/{study}``, with ``metrics.csv`` and ``report.html``, or ``spotting/``, or all.

    Raises:
        InputError: the study is not finished.
    """
    report, spotting = study_folder / "report.html", study_folder / "spotting" / "index.html"
    tables, pages = [], []
    if report.is_file() or not spotting.is_file():
        values = pooled_metrics(study_folder)
        shown = [metric for metric in METRICS if any(metric in rows for rows in values.values())]
        cells = [[name, *(cell(rows.get(metric)) for metric in shown)] for name, rows in values.items()]
        tables.append([["experiment", *(METRICS[metric] for metric in shown)], *cells])
        pages.append(report)
    if spotting.is_file():
        rows = spotting_f1(study_folder)
        cells = [[row["experiment"], row["dataset"], row["kind"], cell(row)] for row in rows]
        tables.append([["experiment", "long videos", "kind", "F1"], *cells])
        pages.append(spotting)
    lines = []
    for table in tables:
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += ["  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in table]
    synthetic = any(map(_is_synthetic, pages))
    kind = " (with synthetic demo data: a check of the machinery, no claim about people)" if synthetic else ""
    note = "[low, high]: 95 % interval over subjects"
    indented = "\n".join(f"  {line}" for line in [*lines, note])
    reports = "\n".join(f"Report: {page}" for page in pages)
    return f"Study {study_folder.resolve().name}{kind}\n\n{indented}\n\n{reports}"


def _is_synthetic(page: Path) -> bool:
    """Whether a page is on synthetic data."""
    try:
        with open(page, encoding="utf-8") as file:
            return SYNTHETIC_MARK in file.read(4096)
    except OSError as error:
        raise InputError(f"{page} does not exist; run the workflow first") from error


def spotting_f1(study_folder: Path) -> list[dict[str, str]]:
    """Return ``experiment, dataset, kind, value, ci_low, ci_high`` of F1 of the experiments in long videos.

    An experiment with one dataset has no row of all datasets.

    Raises:
        InputError: the study is not finished, or the file is of another version.
    """
    rows = [
        {key: row[key] for key in ("experiment", "dataset", "kind")}
        | {"value": row["f1"], "ci_low": row["f1_low"], "ci_high": row["f1_high"]}
        for row in _read(study_folder / "spotting" / "metrics.csv", ["experiment", "dataset", "kind", "f1"])
    ]
    datasets: dict[str, set[str]] = {}
    for row in rows:
        datasets.setdefault(row["experiment"], set()).add(row["dataset"])
    return [row for row in rows if row["dataset"] != "all" or len(datasets[row["experiment"]]) > 2]


def pooled_metrics(study_folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return the pooled rows of a study's ``metrics.csv`` by experiment and metric.

    Raises:
        InputError: the study is not finished, or the file is of another version.
    """
    values: dict[str, dict[str, dict[str, str]]] = {}
    for row in _read(study_folder / "metrics.csv", ["experiment", "scope", "metric"]):
        if row["scope"] == "pooled":
            values.setdefault(row["experiment"], {})[row["metric"]] = row
    return values


def _read(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a table of metrics, which must have some columns."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            missing = [name for name in columns if name not in (table.fieldnames or [])]
            if missing:
                raise InputError(f"{path}: column {missing[0]!r} is missing; remove the file and run again")
            return list(table)
    except OSError as error:
        raise InputError(f"{path} does not exist; run the workflow first") from error


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
