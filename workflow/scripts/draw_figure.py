"""Make a figure of the study: its table and its drawing."""

from pathlib import Path

from merflow.evaluation.figure_tables import tabulate_figure
from merflow.evaluation.settings import FigureSettings
from merflow.report.figure_drawings import draw_file
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    settings = from_params(FigureSettings, snakemake.params.settings)
    table, drawing = Path(snakemake.output.table), Path(snakemake.output.drawing)
    tabulate_figure(snakemake.input, table, settings)
    draw_file(table, drawing, settings)
