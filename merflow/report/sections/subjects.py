"""Section "Results by subject": which subjects are hard, and for which system."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from merflow.report.report_data import ReportData
from merflow.report.section import Drawing, Section, as_csv, sheet_id
from merflow.report.svg import FIRST, INK, LETTER, MUTED, STYLE, page_svg, short
from merflow.report.systems import SystemResult

DRAWN = 60
"""Largest number of subjects in the drawing, the hardest ones; the table has all."""
COLUMNS = ["dataset", "subject", "experiment", "right", "n", "accuracy"]


@dataclass(frozen=True)
class Cell:
    """Correct predictions of one system on one subject, of ``n`` predictions; ``n`` is 0 if there is none."""

    correct: int
    n: int

    @property
    def accuracy(self) -> float:
        """Share of correct predictions; NaN without predictions."""
        return self.correct / self.n if self.n else math.nan


@dataclass(frozen=True)
class Subject:
    """A subject: the id of its contact sheet, its clips, and a cell for each system."""

    dataset: str
    name: str
    sheet: str
    clips: int
    cells: Sequence[Cell]


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``subjects.html.j2``."""
    subjects = subjects_by_difficulty(report)
    several = len({subject.dataset for subject in subjects}) > 1
    return {
        "subjects": subjects, "systems": report.systems, "several": several,
        "drawing": subject_drawing(subjects, report.systems),
    }  # fmt: skip


def subjects_by_difficulty(report: ReportData) -> list[Subject]:
    """Subjects with the correct predictions of each system, the hardest subject first.

    The difficulty of a subject is the mean accuracy of the trained systems (of the floors if nothing was trained). Each
    repeat of a clip counts.
    """
    table = report.predictions
    table = table.assign(correct=(table["truth"] == table["predicted"]).astype(int))
    groups = table.groupby(["dataset", "subject", "experiment"], sort=False)["correct"].agg(["sum", "size"])
    counts = {name: Cell(int(row["sum"]), int(row["size"])) for name, row in groups.iterrows()}
    clips = table.groupby(["dataset", "subject"])["clip"].nunique()
    titles = {files.dataset: files.title for files in reversed(report.datasets)}
    judges = [s.name for s in report.systems if not s.floor] or [s.name for s in report.systems]
    subjects = []
    for dataset, name in groups.index.droplevel("experiment").unique():
        cells = [counts.get((dataset, name, system.name), Cell(0, 0)) for system in report.systems]
        sheet = sheet_id(titles.get(dataset, dataset), name)
        subjects.append(Subject(dataset, name, sheet, int(clips[dataset, name]), cells))

    def difficulty(subject: Subject) -> tuple[float, str, str]:
        cells = [counts.get((subject.dataset, subject.name, judge)) for judge in judges]
        accuracies = [cell.accuracy for cell in cells if cell]
        mean = sum(accuracies) / len(accuracies) if accuracies else math.inf
        return mean, subject.dataset, subject.name

    return sorted(subjects, key=difficulty)


def subject_drawing(subjects: Sequence[Subject], systems: Sequence[SystemResult]) -> Drawing:
    """A drawing of the correct predictions by subject and system."""
    rows = [
        {"dataset": subject.dataset, "subject": subject.name, "experiment": system.name}
        | {"right": cell.correct, "n": cell.n, "accuracy": cell.accuracy}
        for subject in subjects
        for system, cell in zip(systems, subject.cells, strict=True)
        if cell.n
    ]
    fewer = f" The {DRAWN} hardest of {len(subjects)} subjects are drawn." if len(subjects) > DRAWN else ""
    return Drawing(
        "subjects",
        _heat_svg(subjects[:DRAWN], systems, "subjects"),
        as_csv(rows, COLUMNS),
        "Correctly classified clips, by subject and system",
        "Correctly classified clips of all clips of a subject; the hardest subject is at the top. A stronger colour "
        f"means a higher share.{fewer}",
    )


def _heat_svg(subjects: Sequence[Subject], systems: Sequence[SystemResult], prefix: str) -> str:
    """A cell per subject and system, with its count."""
    names = [short(system.name) for system in systems]
    people = [short(subject.name) for subject in subjects]
    with matplotlib.rc_context(STYLE):
        left = 0.15 + LETTER * max(map(len, people), default=0)
        above = 0.2 + LETTER * 0.75 * max(map(len, names), default=0)
        width, height = left + 0.52 * len(names) + 0.55, above + 0.21 * len(people) + 0.08
        width = max(width, 3.4)
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((left / width, 0.08 / height, 0.52 * len(names) / width, 0.21 * len(people) / height))
        for y, subject in enumerate(subjects):
            for x, cell in enumerate(subject.cells):
                if not cell.n:
                    axes.text(x, y, "–", ha="center", va="center", color=MUTED, fontsize=7)
                    continue
                strength = 0.55 * cell.accuracy
                axes.add_patch(
                    Rectangle((x - 0.46, y - 0.43), 0.92, 0.86, facecolor=to_rgba(FIRST), alpha=strength, linewidth=0)
                )
                text = f"{cell.correct}/{cell.n}"
                axes.text(x, y, text, ha="center", va="center", color=INK, fontsize=7)
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(people) - 0.5, -0.5), yticks=range(len(people)))
        axes.set_yticklabels(people)
        axes.set_xticks(range(len(names)), names, rotation=40, ha="left", rotation_mode="anchor")
        axes.xaxis.tick_top()
        axes.tick_params(length=0, pad=3, labelcolor=INK)
        for system, label in zip(systems, axes.get_xticklabels(), strict=True):
            label.set_color(MUTED if system.floor else INK)
        axes.spines[:].set_visible(False)
        hardest = "; ".join(
            f"{subject.name}: "
            + ", ".join(
                f"{system.name} {cell.correct} of {cell.n}"
                for system, cell in zip(systems, subject.cells, strict=True)
                if cell.n
            )
            for subject in subjects[:5]
        )
        few = "The hardest: " if len(subjects) > 5 else ""
        return page_svg(figure, f"Correctly classified clips by subject and system. {few}{hardest}", prefix)


SECTION = Section("subjects", "Results by subject", content)
