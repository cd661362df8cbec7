"""Train and test every cell of a table of variants."""

from pathlib import Path

from merflow.runtime.script_context import from_params, script_context
from merflow.systems.settings import CellSettings
from merflow.systems.tsdgcn.variant_tables import run_table

with script_context(snakemake):
    run_table(
        [from_params(CellSettings, cell) for cell in snakemake.params.cells],
        Path(snakemake.output.table),
        Path(snakemake.output.predictions),
        paper=snakemake.params.paper,
    )
