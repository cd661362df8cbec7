"""Datasets as they lie on disk: every clip in one table, everything wrong with the folder in another.

A layout is a function ``index(name, settings) -> Index``. It lists folders and reads tables; it opens no frame.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from merflow.clips import Clip
from merflow.errors import InputError
from merflow.tables import CLIPS, write_table

LAYOUTS = {
    "demo": "merflow.datasets.demo:index",
    "manifest": "merflow.datasets.manifest:index",
}

PROBLEMS = ["dataset", "file", "row", "clip", "field", "problem"]


@dataclass(frozen=True)
class Problem:
    """Something wrong with a dataset: the file and row (as a spreadsheet counts them) and what was expected."""

    dataset: str
    file: str
    row: int | None
    clip: str
    field: str
    problem: str


@dataclass
class Index:
    """All clips of a dataset, further columns of each (``source_*``), its class names and its problems."""

    clips: list[Clip]
    classes: list[str]
    problems: list[Problem] = field(default_factory=list)
    source: list[dict[str, str]] = field(default_factory=list)


def index_dataset(name: str, settings: Mapping[str, Any]) -> Index:
    """Index dataset ``name`` as its layout says.

    Raises:
        InputError: the dataset as a whole cannot be used, or a clip cannot and ``on_problem`` is ``stop``; the message
            lists everything that is wrong.
    """
    module, function = LAYOUTS[settings["layout"]].split(":")
    index: Index = getattr(import_module(module), function)(name, settings)
    if settings.get("on_problem") == "stop" and any(clip.problem for clip in index.clips):
        raise InputError(f"dataset {name} has problems and `on_problem: stop`:\n{listing(index.problems)}")
    if not any(clip.problem == "" for clip in index.clips):
        raise InputError(f"dataset {name} has no clip that can be used\n{listing(index.problems)}".rstrip())
    return index


def listing(problems: list[Problem]) -> str:
    """The problems as text, one a line, in the order of the table."""
    return "\n".join(
        f"  - {p.file}{f', row {p.row}' if p.row else ''}, clip {p.clip or '(unnamed)'}, {p.field}: {p.problem}"
        for p in problems
    )


def write_index(index: Index, clips: Path, problems: Path) -> None:
    """Write ``clips.csv`` and ``problems.csv`` of an index."""
    rows = pd.DataFrame([clip.row() for clip in index.clips], columns=CLIPS)
    for name in ("onset", "apex", "offset"):
        rows[name] = rows[name].astype("Int64")
    if any(index.source):
        rows = rows.join(pd.DataFrame(index.source))
    write_table(rows, clips, CLIPS)
    write_table(
        pd.DataFrame([vars(p) for p in index.problems], columns=PROBLEMS).astype({"row": "Int64"}), problems, PROBLEMS
    )


def report_problems(name: str, index: Index, table: str) -> None:
    """Say on stderr, once, what is wrong with a dataset whose bad clips are left out."""
    if index.problems:
        bad = sum(clip.problem != "" for clip in index.clips)
        print(
            f"merflow: dataset {name}: {bad} of {len(index.clips)} clips cannot be used and are left out; "
            f"all that was noticed (also in {table}):\n{listing(index.problems)}",
            file=sys.stderr,
        )
