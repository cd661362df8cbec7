"""Train and test a baseline on the same clips and folds as the experiments."""

from pathlib import Path

from merflow.runtime.script_context import from_params, script_context
from merflow.systems.linear import run_linear
from merflow.systems.predictions import ResultFiles
from merflow.systems.settings import LinearSettings

with script_context(snakemake):
    run_linear(
        [Path(cache) for cache in snakemake.input.caches],
        ResultFiles.of(snakemake.output),
        from_params(LinearSettings, snakemake.params.settings),
    )
