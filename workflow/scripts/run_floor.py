"""Train and test a baseline on the same clips and folds as the experiments."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.runtime.script_context import script_context
from merflow.systems.linear import run

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    run(
        [Path(cache) for cache in snakemake.input.caches],
        snakemake.params.settings["system"],
        Path(snakemake.output.predictions),
        Path(snakemake.output.accuracy),
        snakemake.params.settings,
    )
