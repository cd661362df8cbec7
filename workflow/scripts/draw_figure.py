"""Make a figure of the study: its table, and its drawing."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.figure_tables import tabulate_figure
from merflow.job import job
from merflow.report.drawings import draw_file

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    table, drawing = Path(snakemake.output.table), Path(snakemake.output.drawing)
    tabulate_figure(snakemake.input, table, snakemake.params.settings)
    draw_file(table, drawing, snakemake.params.settings)
