"""Write the report of the study: one HTML file that needs nothing else, and its figures as files."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.report.page import study_files, write_report
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    study = study_files(snakemake.params.study, snakemake.input)
    write_report(study, Path(snakemake.output.page), Path(snakemake.output.figures))
