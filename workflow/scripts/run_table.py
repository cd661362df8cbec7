"""Train and test every cell of a table of variants."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.grid import run_table
from merflow.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    run_table(
        snakemake.params.cells,
        Path(snakemake.output.table),
        Path(snakemake.output.predictions),
        paper=snakemake.params.paper,
    )
