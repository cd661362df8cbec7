"""Section "Why is mine lower?": what an epoch chosen on the test clips would have scored, which is no result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from merflow.report.report_data import ReportData
from merflow.report.section import Section
from merflow.storage.tables import CHOSEN_ON_TEST, read_table

SHOWN = ("uf1", "uar")


@dataclass(frozen=True)
class ChosenOnTest:
    """A system: its result, and the values of each choice of the epoch on the test clips, by metric."""

    name: str
    result: Mapping[str, float]
    chosen: Mapping[str, Mapping[str, float]]


def content(report: ReportData) -> dict[str, Any] | None:
    """Values of ``chosen_on_test.html.j2``; None if no network was trained."""
    table = read_table(report.tables["chosen_on_test"], CHOSEN_ON_TEST)
    table = table[table["metric"].isin(SHOWN)]
    systems = []
    for name, rows in table.groupby("experiment", sort=False):
        result = dict(zip(rows["metric"], rows["result"], strict=True))
        chosen = {
            str(choice): dict(zip(of_choice["metric"], of_choice["chosen_on_test"], strict=True))
            for choice, of_choice in rows.groupby("choice", sort=False)
        }
        systems.append(ChosenOnTest(str(name), result, chosen))
    return {"systems": systems, "shown": SHOWN, "choices": table["choice"].unique()} if systems else None


SECTION = Section("chosen_on_test", "Why is mine lower?", content)
