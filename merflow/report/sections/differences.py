"""Section "Differences between systems": every pair of systems on the same clips."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from merflow.evaluation.significance import smallest_corrected_p
from merflow.report import formats
from merflow.report.report_data import ReportData
from merflow.report.section import Drawing, Section, as_csv
from merflow.report.svg import FIRST, INK, MUTED, draw_estimates, make_axes, page_svg, short
from merflow.report.systems import Estimate, as_estimate, as_number
from merflow.storage.tables import DIFFERENCES, read_table

PAIRS = 40
"""Largest number of pairs in the drawing; the table has all."""


@dataclass(frozen=True)
class Difference:
    """A difference in one metric: first minus second, the corrected p value, and whether it is real."""

    estimate: Estimate
    p: float
    verdict: str

    @property
    def real(self) -> bool:
        """Whether the corrected p value is below 0.05."""
        return self.verdict != "unclear"


@dataclass(frozen=True)
class Pair:
    """Two systems on the same clips; ``floors``: whether both are floors."""

    first: str
    second: str
    floors: bool
    n_subjects: int
    metrics: Mapping[str, Difference]


def content(report: ReportData) -> dict[str, Any]:
    """Values of ``differences.html.j2``."""
    pairs = system_pairs(report)
    possible = smallest_corrected_p([pair.n_subjects for pair in pairs])
    return {"pairs": pairs, "possible": possible, "drawing": difference_drawing(pairs) if pairs else None}


def system_pairs(report: ReportData) -> list[Pair]:
    """The pairs of ``differences.csv``; those of two floors come last."""
    floors = {name for name, experiment in report.settings.experiments.items() if experiment.floor}
    table = read_table(report.tables["differences"], DIFFERENCES)
    pairs = []
    for (first, second), rows in table.groupby(["first", "second"], sort=False):
        metrics = {
            row["metric"]: Difference(as_estimate(row, "difference"), as_number(row["p_holm"]), row["verdict"])
            for row in rows.to_dict("records")
        }
        subjects = int(rows["n_subjects"].iloc[0])
        pairs.append(Pair(str(first), str(second), {first, second} <= floors, subjects, metrics))
    return sorted(pairs, key=lambda pair: pair.floors)


def difference_drawing(pairs: Sequence[Pair]) -> Drawing:
    """A drawing of the differences in UF1 with their intervals."""
    uf1 = [(pair, pair.metrics["uf1"]) for pair in pairs]
    rows = [[p.first, p.second, *vars(d.estimate).values(), d.p, d.verdict, p.n_subjects] for p, d in uf1]
    columns = ["first", "second", "difference", "ci_low", "ci_high", "p_holm", "verdict", "n_subjects"]
    fewer = f" The first {PAIRS} of {len(pairs)} pairs are drawn." if len(pairs) > PAIRS else ""
    return Drawing(
        "differences-uf1",
        _forest_svg(pairs[:PAIRS], "difference-forest"),
        as_csv(rows, columns),
        "Differences in UF1 between pairs of systems",
        "UF1 of the first system minus UF1 of the second, with 95 % intervals (not corrected for the number of pairs). "
        f"Filled diamond: a real difference, after correction. Hollow circle: not clearly different.{fewer}",
    )


def _forest_svg(pairs: Sequence[Pair], prefix: str) -> str:
    """Differences in UF1 with their intervals, one line per pair."""
    names = [f"{short(pair.first)} − {short(pair.second)}" for pair in pairs]
    differences = [pair.metrics["uf1"] for pair in pairs]
    figure, (axes,) = make_axes(2.9, 0.21 * len(pairs))
    axes.axvline(0, color=INK, linewidth=1.0)
    draw_estimates(
        axes, names, [(*vars(d.estimate).values(), FIRST if d.real else MUTED, d.real) for d in differences], "D"
    )
    ends = [abs(end) for d in differences for end in vars(d.estimate).values() if not math.isnan(end)]
    reach = 1.06 * max([0.1, *ends])
    axes.set_xlim(-reach, reach)
    axes.set_title("← second is better · first is better →", fontsize=8, color=MUTED)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:+.2f}".rstrip("0").rstrip(".") if abs(x) > 1e-9 else "0")
    description = []
    for pair, difference in zip(pairs, differences, strict=True):
        interval = formats.interval(difference.estimate)
        verdict = "real" if difference.real else "not clearly different"
        names_of_pair = f"{pair.first} minus {pair.second}"
        description.append(f"{names_of_pair} {difference.estimate.value:+.3f} {interval}, {verdict}")
    return page_svg(figure, f"Differences in UF1. {'; '.join(description)}", prefix)


SECTION = Section("differences", "Differences between systems", content)
