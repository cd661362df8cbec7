"""The index of a dataset: its clips, its classes, and everything that is wrong with it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from filecmp import cmp
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from tabulate import tabulate

from merflow.datasets.known_errors import KnownError
from merflow.datasets.raw_clip import ClipImages
from merflow.datasets.registry import LAYOUTS
from merflow.datasets.settings import AnyDatasetSettings, DatasetSettings
from merflow.errors import InputError, shorten
from merflow.footage.clip import Clip
from merflow.storage.tables import CLASSES, CLIPS, PROBLEMS, write_table

EFFECTS = ("left out", "apex spotted", "corrected", "renumbered", "noted")
"""The gravest first."""
LEFT_OUT, SPOTTED, CORRECTED, RENUMBERED, NOTED = EFFECTS
MAX_ROWS = 2000
"""Problems that a message lists."""


@dataclass(frozen=True)
class Problem:
    """Something about a dataset that the user should know, with its file and row (as a spreadsheet counts).

    ``effect``: ``left out`` (the clip cannot be used), ``apex spotted`` (the apex is missing or cannot be right),
    ``corrected`` (by the user's corrections), ``renumbered`` (absolute frame numbers were moved) or ``noted``.
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
    """Number of clips of a class: published (None if it was not), found in the dataset, and usable."""

    label: str
    expected: int | None
    found: int
    usable: int
    source: str = ""


@dataclass
class Index:
    """All clips of a dataset, further columns of each (``action_units*`` and ``source_*``), its classes and problems.

    ``class_set`` names the set of classes and ``counts`` holds the clips of each; ``grave`` is the number of problems
    at which ``on_problem: stop`` stops: clips that are left out, annotated apexes that cannot be right, and
    corrections that fit no clip. ``images`` are the files of each clip of ready-made flow images, by its name, and
    ``overlaps`` the pairs of clips that share frames of a video. ``errors`` are the known ones that it still has.
    """

    clips: list[Clip]
    classes: list[str]
    problems: list[Problem] = field(default_factory=list)
    source: list[dict[str, str]] = field(default_factory=list)
    class_set: str = ""
    counts: list[ClassCount] = field(default_factory=list)
    grave: int = 0
    images: dict[str, ClipImages] = field(default_factory=dict)
    overlaps: list[tuple[str, str]] = field(default_factory=list)
    errors: list[KnownError] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The name of each clip."""
        return [clip.clip for clip in self.clips]

    @property
    def unit_cells(self) -> list[str]:
        """The cell ``action_units`` of each clip; empty if it was not coded."""
        return [row.get("action_units", "") for row in self.source] or [""] * len(self.clips)


class DatasetError(InputError):
    """A dataset cannot be used; ``index`` holds all its problems."""

    def __init__(self, message: str, index: Index) -> None:
        """Keep the index, so that its problems can be written."""
        super().__init__(message)
        self.index = index


def index_dataset(name: str, settings: AnyDatasetSettings) -> Index:
    """Index dataset ``name`` with the function of its layout. It lists folders and reads tables; it opens no frame.

    Raises:
        DatasetError: no clip can be used, or one cannot be used and ``on_problem`` is ``stop``; the message lists
            everything that is wrong.
        InputError: the folder or its table cannot be read, or lacks what the layout needs.
        ConfigError: the settings do not fit the dataset.
    """
    index = index_layout(name, settings)
    if isinstance(settings, DatasetSettings) and settings.on_problem == "stop" and index.grave:
        raise DatasetError(f"dataset {name} has problems and `on_problem: stop`:\n{listing(index.problems)}", index)
    if not any(clip.problem == "" for clip in index.clips):
        message = f"dataset {name} has no clip that can be used\n{listing(index.problems)}".rstrip()
        raise DatasetError(message, index)
    return index


def index_layout(name: str, settings: AnyDatasetSettings) -> Index:
    """Index a dataset as :func:`index_dataset` does, also if no clip can be used."""
    module, function = LAYOUTS[settings.layout].index.split(":")
    index: Index = getattr(import_module(f"{__package__}.{module}"), function)(name, settings)
    return index


def report_problems(name: str, index: Index, table: Path) -> None:
    """Print the problems of a dataset to stderr, unless a run has written them to ``table`` already."""
    with TemporaryDirectory() as folder:
        write_problems(index.problems, Path(folder, table.name))
        if not index.problems or (table.is_file() and cmp(Path(folder, table.name), table, shallow=False)):
            return
    print(f"merflow: {problem_report(name, index, f' (after a run also in {table})')}", file=sys.stderr)


def problem_report(name: str, index: Index, where: str = "") -> str:
    """Return how many clips of a dataset cannot be used, and all its problems, as text."""
    bad = sum(clip.problem != "" for clip in index.clips)
    lost = {clip.subject for clip in index.clips} - {clip.subject for clip in index.clips if not clip.problem}
    people = f", all clips of {', '.join(sorted(lost))} among them" if lost else ""
    left_out = (
        f"{bad} of {len(index.clips)} clips cannot be used and are left out{people}" if bad else "no clip is left out"
    )
    return f"dataset {name}: {left_out}; all problems{where}:\n{listing(index.problems)}"


def listing(problems: Sequence[Problem]) -> str:
    """The problems as a table, the gravest first; at most :data:`MAX_ROWS` of them."""
    ordered = sorted(problems, key=lambda p: EFFECTS.index(p.effect))
    shown = [
        [f"{_short_place(p.file)}{f', row {p.row}' if p.row else ''}", p.clip, p.field, p.effect, shorten(p.problem)]
        for p in ordered[:MAX_ROWS]
    ]
    headers = ["where", "clip", "field", "effect", "problem"]
    table: str = tabulate(shown, headers=headers, tablefmt="plain", disable_numparse=True)
    more = len(problems) - len(shown)
    return table + (f"\n... and {more} more" if more else "")


def _short_place(file: str) -> str:
    """File name of a table; last two parts of a folder."""
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


def write_problems(problems: Sequence[Problem], path: Path) -> None:
    """Write ``problems.csv``."""
    rows = pd.DataFrame([vars(p) for p in problems], columns=PROBLEMS).astype({"row": "Int64"})
    write_table(rows, path, PROBLEMS)
