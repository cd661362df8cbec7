"""Score any table of predictions: ``python -m merflow.score predictions.csv``.

Given a finished study, its folder or its archive, compute all its scores again.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from merflow.datasets.workbook import read_workbook
from merflow.errors import InputError, MerflowError
from merflow.evaluation.evaluate import check_clips, check_labels
from merflow.evaluation.metrics import OVERALL, PER_CLASS, Scores, bootstrap_subjects, fold_mean_f1, mean_rates, score
from merflow.evaluation.recompute import Recomputed, recompute
from merflow.storage.files import json_value
from merflow.storage.tables import unescape_formula

TITLES = {"accuracy": "accuracy", "uf1": "UF1", "uar": "UAR"}
KNOWN = ("truth", "predicted", "experiment", "repeat", "fold", "dataset", "subject", "clip")
"""Columns that are used; all others are ignored."""
DIFFERENT_SHOWN = 10
"""Rows of a table that are shown if they differ when they are computed again."""


def score_file(path: Path, classes: Sequence[str] | None = None, resamples: int = 2000, seed: int = 0) -> list[Scores]:
    """Score a table with the columns ``truth`` and ``predicted``.

    With a column ``subject``, the metrics have 95 % intervals over subjects; with ``dataset``, each dataset is scored
    too; with ``experiment`` or ``repeat``, each experiment is scored separately and values are means over repeats. With
    ``fold``, the mean macro F1 of the folds is reported too, which some papers use in place of UF1. Spaces around names
    and labels are removed, and whole numbers lose their decimal point: ``1.0`` is the class ``1``.

    Args:
        path: CSV file with commas, semicolons or tabs, or workbook.
        classes: names of the classes, in order; None: all that occur, in alphabetical order.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        One dictionary per experiment and scope (``pooled``, ``dataset:<name>``): ``experiment`` (None where the table
        has no such column), ``scope``, ``accuracy``, ``uf1``, ``uar``, ``intervals`` ({metric: (low, high)}, empty
        without subjects), ``f1``, ``recall``, ``precision``, ``support``, ``confusion`` (summed over repeats),
        ``classes``, ``absent``, ``fold_f1`` (None without folds), ``n_clips``, ``n_subjects``, ``repeats``.

    Raises:
        InputError: the file cannot be scored; the message says where and why.
    """
    table = _read(path)
    for name in (name for name in KNOWN if name in table):
        empty = table.index[table[name] == ""]
        if len(empty):
            raise InputError(f"{path}, row {empty[0] + 2}: column {name} is empty")
    if "clip" in table:
        check_clips(table, path, [name for name in ("experiment", "dataset", "subject", "clip") if name in table])
    parts = dict(list(table.groupby("experiment", sort=False))) if "experiment" in table else {None: table}
    results = []
    for experiment, part in parts.items():
        names = list(classes) if classes else sorted(set(part["truth"]) | set(part["predicted"]))
        check_labels(part, path, names)
        scopes = {"pooled": part}
        if "dataset" in part:
            scopes |= {f"dataset:{name}": rows for name, rows in part.groupby("dataset", sort=False)}
        for scope, rows in scopes.items():
            results.append({"experiment": experiment, "scope": scope, **_score(rows, names, resamples, seed)})
    return results


def _read(path: Path) -> pd.DataFrame:
    """The table with every cell as text, without spaces around it; its index is the number of the row, less 2.

    Raises:
        InputError: not a table of predictions.
    """
    required, optional = KNOWN[:2], KNOWN[2:]
    rows = read_workbook(path, {name: [name] for name in required}, optional={name: [name] for name in optional})
    if not rows:
        raise InputError(f"{path} has no row below its header; one row per clip is expected")
    names = [name for name in KNOWN if name in rows[0].typed]
    cells = [[unescape_formula(row.cells[name]) for name in names] for row in rows]
    table = pd.DataFrame(cells, [row.number - 2 for row in rows], names)
    for name in required:
        table[name] = table[name].str.replace(r"^(-?\d+)\.0*$", r"\1", regex=True)
    return table


def _score(table: pd.DataFrame, classes: list[str], resamples: int, seed: int) -> Scores:
    result = score(table["truth"], table["predicted"], classes)
    repeats = table["repeat"].nunique() if "repeat" in table else 1
    if repeats > 1:
        values = mean_rates(table if "subject" in table else table.assign(subject=""), classes)
        result |= {name: float(values[name]) for name in OVERALL}
        result |= {name: dict(zip(classes, values[name].tolist(), strict=True)) for name in PER_CLASS}
    intervals = bootstrap_subjects(table, classes, resamples, seed) if "subject" in table else {}
    person = [name for name in ("dataset", "subject") if name in table]
    clip = [name for name in ("dataset", "subject", "clip") if name in table]
    del result["n"]
    return result | {
        "intervals": {name: intervals[name] for name in OVERALL if name in intervals},
        "fold_f1": fold_mean_f1(table) if "fold" in table else None,
        "n_clips": table.groupby(clip).ngroups if "clip" in table else len(table) // repeats,
        "n_subjects": table.groupby(person).ngroups if "subject" in table else None,
        "repeats": repeats,
    }


def text(results: Sequence[Scores]) -> str:
    """The results as a table for people, with notes on what was left out."""
    header = ["experiment", "scope", *TITLES.values(), "clips", "subjects", "repeats"]
    rows = []
    for r in results:
        values = [_with_interval(r[name], r["intervals"].get(name)) for name in TITLES]
        subjects = "-" if r["n_subjects"] is None else str(r["n_subjects"])
        rows.append([r["experiment"] or "-", r["scope"], *values, str(r["n_clips"]), subjects, str(r["repeats"])])
    first = 0 if any(r["experiment"] for r in results) else 1
    table = tabulate([row[first:] for row in rows], header[first:], "plain", disable_numparse=True)
    lines = [line.rstrip() for line in table.splitlines()]
    if any(r["intervals"] for r in results):
        lines.append("[low, high]: 95 % interval over subjects (bootstrap)")
    for r in results:
        if r["fold_f1"] is not None and r["scope"] == "pooled":
            of = f"{r['experiment']}: " if r["experiment"] else ""
            lines.append(f"{of}mean F1 of the folds: {r['fold_f1']:.4f}; not a result, but some papers report it")
    for r in results:
        if r["absent"]:
            where = " ".join(filter(None, [r["experiment"], r["scope"]]))
            lines.append(f"{where}: no true clip of {', '.join(r['absent'])}; left out of UF1 and UAR")
    return "\n".join(lines)


def _with_interval(value: float, interval: tuple[float, float] | None) -> str:
    if interval is None or math.isnan(interval[0]):
        return f"{value:.4f}"
    return f"{value:.4f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def recomputed_text(tables: Sequence[Recomputed]) -> str:
    """The scores of a study that were computed again, and whether each of its tables has the same numbers."""
    metrics = next(table.table for table in tables if table.name == "metrics")
    pooled = metrics[metrics["scope"] == "pooled"]
    rows = [
        [name, *(_with_interval(r["value"], (r["ci_low"], r["ci_high"])) for r in part.to_dict("records"))]
        for name, part in pooled.groupby("experiment", sort=False)
    ]
    titles = [TITLES.get(name, name) for name in pooled["metric"].drop_duplicates()]
    lines = [line.rstrip() for line in tabulate(rows, ["experiment", *titles], "plain").splitlines()]
    for table in tables:
        outcome = f"{len(table.different)} differ" if table.different else "all equal"
        lines.append(f"{table.name}.csv: {table.numbers} numbers computed again, {outcome}")
        lines += [f"  {row}" for row in table.different[:DIFFERENT_SHOWN]]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m merflow.score", description="Accuracy, UF1, UAR of predictions.")
    parser.add_argument(
        "predictions",
        type=Path,
        help="table: truth, predicted; optional dataset, subject, clip, fold. Or the folder of a study, or its "
        "bundle.zip: its tables of scores are computed again and compared",
    )
    parser.add_argument("--classes", help="names of the classes, separated by commas; all that occur if left out")
    parser.add_argument("--resamples", type=int, default=2000, help="resamples of the bootstrap over subjects")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print JSON with per-class values and confusion counts")
    options = parser.parse_args(arguments)
    if options.resamples < 1:
        parser.error("--resamples must be at least 1")
    classes = [name.strip() for name in options.classes.split(",")] if options.classes else None
    if classes and ("" in classes or len(set(classes)) < len(classes)):
        parser.error("--classes must be different names, separated by commas")
    try:
        if options.predictions.is_dir() or options.predictions.suffix == ".zip":
            tables = recompute(options.predictions)
            print(recomputed_text(tables))
            return 1 if any(table.different for table in tables) else 0
        results = score_file(options.predictions, classes, options.resamples, options.seed)
    except MerflowError as error:
        print(f"merflow.score: {error}", file=sys.stderr)
        return 1
    print(json.dumps(json_value(results), indent=2, allow_nan=False) if options.json else text(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
