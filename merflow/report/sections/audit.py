"""Section "Leakage audit": what each experiment's training shares with its test clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from merflow.evaluation.leakage import CHECKS, ELSEWHERE
from merflow.report.report_data import ReportData
from merflow.report.section import Section
from merflow.storage.tables import AUDIT, read_table


@dataclass(frozen=True)
class Leak:
    """A leak that the settings request: what its size counts, its folds, and its smallest and largest size in them."""

    about: str
    folds: int
    smallest: int
    largest: int


@dataclass(frozen=True)
class AuditedExperiment:
    """An experiment: the number of its folds (over all repeats) and checks, and its leaks.

    Of networks of another study, ``elsewhere`` says where they were trained.
    """

    name: str
    folds: int
    checks: int
    leaks: Sequence[Leak]
    elsewhere: str = ""


def audited_experiments(report: ReportData) -> list[AuditedExperiment]:
    """What the leakage audit counted, by experiment."""
    experiments = []
    for name, rows in read_table(report.tables["audit"], AUDIT).groupby("experiment", sort=False):
        if rows["check"].iloc[0] == ELSEWHERE:
            experiments.append(AuditedExperiment(str(name), 0, 0, [], str(rows["note"].iloc[0])))
            continue
        leaks = []
        for check, leaking in rows[rows["size"] > 0].groupby("check", sort=False):
            sizes = leaking["size"].astype(int)
            count = len(leaking[["repeat", "fold"]].drop_duplicates())
            leaks.append(Leak(CHECKS.get(str(check), str(check)), count, int(sizes.min()), int(sizes.max())))
        folds = len(rows[["repeat", "fold"]].drop_duplicates())
        experiments.append(AuditedExperiment(str(name), folds, rows["check"].nunique(), leaks))
    return experiments


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``audit.html.j2``."""
    return {"experiments": audited_experiments(report)}


SECTION = Section("audit", "Leakage audit", content)
