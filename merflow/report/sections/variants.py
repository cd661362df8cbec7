"""Section "Variants": tables in which some settings of an experiment vary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from merflow.report.published_comparison import Differences, published_differences
from merflow.report.report_data import ReportData
from merflow.report.section import Drawing, Section
from merflow.report.sections.figures import figure_drawing
from merflow.report.settings import VariantTableSettings
from merflow.report.systems import Estimate, as_estimate, as_number
from merflow.storage.tables import COMPARISON, GRID, read_table

METRICS = {
    "accuracy": "Accuracy on test clips",
    "uf1": "UF1 on test clips",
    "accuracy_finetune": "Accuracy on training clips",
    "accuracy_pretrain": "Pre-training: accuracy on the macro images of the training",
}


@dataclass(frozen=True)
class MetricTable:
    """One metric of a table of variants: rows of (name, cells), a cell has our value and the published one."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[Estimate, float]]]]


@dataclass(frozen=True)
class VariantTable:
    """A table of variants; ``tried`` counts its cells, ``has_alpha`` says whether the focal loss's alpha varies."""

    name: str
    settings: VariantTableSettings
    tried: int
    has_alpha: bool
    metrics: Sequence[MetricTable]
    drawing: Drawing
    differences: Differences


def content(report: ReportData) -> dict[str, Any] | None:
    """Values of ``variants.html.j2``; None if the study has no tables of variants."""
    tables = variant_tables(report)
    return {"tables": tables} if tables else None


def variant_tables(report: ReportData) -> list[VariantTable]:
    """Every table of variants."""
    tables = []
    for name, path in report.variants.items():
        table = read_table(path, GRID)
        rows, columns = (list(dict.fromkeys(table[side])) for side in ("row", "column"))
        metrics = []
        for metric, title in METRICS.items():
            cells = {
                (row["row"], row["column"]): (as_estimate(row), as_number(row["published"]))
                for row in table[table["metric"] == metric].to_dict("records")
            }
            metrics.append(MetricTable(title, columns, [(row, [cells[row, c] for c in columns]) for row in rows]))
        tables.append(
            VariantTable(
                name=name,
                settings=report.settings.tables[name],
                tried=len(rows) * len(columns),
                has_alpha=any(name.startswith("alpha ") for name in [*rows, *columns]),
                metrics=metrics,
                drawing=figure_drawing(name, report),
                differences=published_differences(read_table(report.figures[name], COMPARISON)),
            )
        )
    return tables


SECTION = Section("variants", "Variants", content)
