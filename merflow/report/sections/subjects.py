"""Section "Results by subject": which subjects are hard, and for which system."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from merflow.report.report_data import ReportData
from merflow.report.section import Section, sheet_id


@dataclass(frozen=True)
class Cell:
    """Correct predictions of one system on one subject, of ``n`` predictions."""

    correct: int
    n: int


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
    return {"subjects": subjects, "systems": report.systems, "several": several}


def subjects_by_difficulty(report: ReportData) -> list[Subject]:
    """Subjects with the correct predictions of each system, the hardest subject first.

    The difficulty of a subject is the mean accuracy of the systems that are no floors. Each repeat of a clip counts.
    """
    table = report.predictions
    table = table.assign(correct=(table["truth"] == table["predicted"]).astype(int))
    groups = table.groupby(["dataset", "subject", "experiment"])["correct"]
    systems = [system.name for system in report.systems]
    correct, counts = (column.unstack().reindex(columns=systems) for column in (groups.sum(), groups.size()))
    compared = [system.name for system in report.systems if not system.floor]
    difficulty = (correct / counts)[compared].mean(axis=1).sort_values(kind="stable")
    clips = table.groupby(["dataset", "subject"])["clip"].nunique()
    titles = {files.dataset: files.title for files in reversed(report.datasets)}
    subjects = []
    for person in difficulty.index:
        dataset, name = map(str, person)
        pairs = zip(correct.loc[person].fillna(0), counts.loc[person].fillna(0), strict=True)
        cells = [Cell(int(right), int(n)) for right, n in pairs]
        sheet = sheet_id(titles.get(dataset, dataset), name)
        subjects.append(Subject(dataset, name, sheet, int(clips[person]), cells))
    return subjects


SECTION = Section("subjects", "Results by subject", content)
