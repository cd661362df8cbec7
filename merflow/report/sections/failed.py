"""Section "Clips that could not be processed": those clips, and problems in the tables of the datasets."""

from typing import Any

from merflow.preprocessing.cache import cut_off
from merflow.report.report_data import ReportData
from merflow.report.section import Section
from merflow.report.sections.data import dataset_clips

ROWS_SHOWN = 200
"""Largest number of rows of a table; the files beside the report have all."""


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``failed.html.j2``."""
    datasets = [dataset_clips(files) for files in report.datasets]
    shown = [d for d in datasets if d.failed or d.noted or d.problems]
    return {"datasets": shown, "rows_shown": ROWS_SHOWN, "cut_off": cut_off}


SECTION = Section("failed", "Clips that could not be processed", content, badge=False)
