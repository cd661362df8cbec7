"""Section "Wrong answers": the clips that each system classifies wrongly."""

from typing import Any

from merflow.report.report_data import ReportData
from merflow.report.section import Section
from merflow.report.systems import as_number

ROWS = 2000
"""Largest number of rows of all tables of the section; ``predictions.csv`` has every prediction."""


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``wrong.html.j2``: each system, with the number of its predictions and its wrong ones."""
    answers = []
    for system in report.systems:
        table = report.predictions[report.predictions["experiment"] == system.name]
        wrong = table[table["truth"] != table["predicted"]].to_dict("records")
        rows = [row | {"probability": as_number(row.get(f"p_{row['predicted']}"))} for row in wrong]
        answers.append((system, len(table), rows))
    return {"answers": answers, "rows_shown": ROWS // len(answers)}


SECTION = Section("wrong", "Wrong answers", content)
