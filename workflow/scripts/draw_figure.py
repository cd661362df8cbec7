"""Make a figure of the study: its table, and its drawing."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.evaluation.figure_tables import tabulate_figure
from merflow.report.drawings import draw_file
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    table, drawing = Path(snakemake.output.table), Path(snakemake.output.drawing)
    tabulate_figure(snakemake.input, table, snakemake.params.settings)
    draw_file(table, drawing, snakemake.params.settings)
