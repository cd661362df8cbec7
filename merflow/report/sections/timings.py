"""Section "Computing time": jobs, time and memory of each rule, from Snakemake's benchmarks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from merflow.report.report_data import ReportData
from merflow.report.section import Section

RULES_OF_PEOPLE = ("make_demo", "align_faces", "score_frames", "select_keyframes", "compute_flow")
"""Rules with a job for each person of a dataset, whose benchmarks are ``DATASET/.../PERSON.tsv``."""


@dataclass(frozen=True)
class RuleTime:
    """Jobs of a rule: their number, the sum and the maximum of their times (s), and the largest memory (MB, or 0)."""

    rule: str
    jobs: int
    seconds: float
    longest: float
    memory: float


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``timings.html.j2``."""
    return {"rules": rule_times(report)}


def rule_times(report: ReportData) -> list[RuleTime]:
    """Time and memory of each rule, the longest time first.

    Studies share the folder, so a benchmark counts only if its path names this study, one of its datasets, the dataset
    of a key-frame scorer, or a graph of this study. People that a dataset no longer has do not count.
    """
    root = Path(report.settings.benchmarks)
    settings = report.settings
    names = {settings.name, *settings.layouts, *settings.scorer_datasets, *settings.graphs}
    people = {files.dataset: {file.stem for file in files.faces} for files in report.datasets}
    rows = []
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        files = [f for f in sorted(folder.rglob("*.tsv")) if names & {*f.relative_to(folder).parent.parts, f.stem}]
        if folder.name in RULES_OF_PEOPLE:
            files = [f for f in files if f.stem in people.get(f.relative_to(folder).parts[0], {f.stem})]
        tables = [pd.read_csv(file, sep="\t", na_values=["-", "NA"]) for file in files]
        tables = [table for table in tables if "s" in table]
        if tables:
            jobs = pd.concat(tables).reindex(columns=["s", "max_rss"]).apply(pd.to_numeric, errors="coerce").fillna(0)
            seconds, memory = jobs["s"], float(jobs["max_rss"].max())
            rows.append(RuleTime(folder.name, len(jobs), float(seconds.sum()), float(seconds.max()), memory))
    return sorted(rows, key=lambda row: (-row.seconds, row.rule))


SECTION = Section("timings", "Computing time", content, badge=False)
