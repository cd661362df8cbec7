"""What indexing a dataset gives: its clips, its classes, and everything that was noticed about it."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from merflow.footage.clip import Clip
from merflow.storage.tables import CLASSES, CLIPS, PROBLEMS, write_table

LEFT_OUT = "left out"
SPOTTED = "apex spotted"
CORRECTED = "corrected"
RENUMBERED = "renumbered"
NOTED = "noted"

EFFECTS = (LEFT_OUT, SPOTTED, CORRECTED, RENUMBERED, NOTED)
"""In the order of their weight."""
ROWS_SHOWN = 2000


@dataclass(frozen=True)
class Problem:
    """Something noticed about a dataset: the file and row (as a spreadsheet counts them), what, and its effect.

    ``effect``: ``left out`` (the clip cannot be used), ``apex spotted`` (no apex, or one that cannot be right),
    ``corrected`` (by the user's corrections), ``renumbered`` (absolute frame numbers were rebased) or ``noted``.
    """

    dataset: str
    file: str
    row: int | None
    clip: str
    field: str
    problem: str
    effect: str = LEFT_OUT


@dataclass(frozen=True)
class ClassCount:
    """Clips of a class: published (None where nothing was), found in the dataset, and usable."""

    label: str
    expected: int | None
    found: int
    usable: int
    source: str = ""


@dataclass
class Index:
    """All clips of a dataset, further columns of each (``source_*``), its class names and its problems.

    ``class_set`` and ``counts`` say which classes were asked for and how many clips each has; ``grave`` counts what
    ``on_problem: stop`` stops at: clips that are left out, and annotated apexes that cannot be right.
    """

    clips: list[Clip]
    classes: list[str]
    problems: list[Problem] = field(default_factory=list)
    source: list[dict[str, str]] = field(default_factory=list)
    class_set: str = ""
    counts: list[ClassCount] = field(default_factory=list)
    grave: int = 0


def listing(problems: list[Problem], rows: int | None = ROWS_SHOWN) -> str:
    """The problems as a table, the gravest first; at most ``rows`` of them. The long column is the last."""
    ordered = sorted(problems, key=lambda p: EFFECTS.index(p.effect))
    shown = [
        [f"{_place(p.file)}{f', row {p.row}' if p.row else ''}", p.clip, p.field, p.effect, p.problem]
        for p in ordered[:rows]
    ]
    table = tabulate(
        shown, headers=["where", "clip", "field", "effect", "problem"], tablefmt="plain", disable_numparse=True
    )
    more = len(problems) - len(shown)
    return table + (f"\n... and {more} more" if more else "")


def _place(file: str) -> str:
    """A table by its name; a folder by its last two parts."""
    path = Path(file)
    return path.name if path.suffix else "/".join(path.parts[-2:])


def write_index(index: Index, clips: Path, problems: Path, classes: Path | None = None) -> None:
    """Write ``clips.csv``, ``problems.csv`` and ``classes.csv`` of an index."""
    rows = pd.DataFrame([clip.row() for clip in index.clips], columns=CLIPS)
    for name in ("onset", "apex", "offset"):
        rows[name] = rows[name].astype("Int64")
    if any(index.source):
        rows = rows.join(pd.DataFrame(index.source))
    write_table(rows, clips, CLIPS)
    write_problems(index.problems, problems)
    if classes is not None:
        counts = pd.DataFrame([vars(count) | {"class_set": index.class_set} for count in index.counts], columns=CLASSES)
        write_table(counts.astype({"expected": "Int64"}), classes, CLASSES)


def write_problems(problems: list[Problem], path: Path) -> None:
    """Write ``problems.csv``."""
    rows = pd.DataFrame([vars(p) for p in problems], columns=PROBLEMS).astype({"row": "Int64"})
    write_table(rows, path, PROBLEMS)
