"""Write which trained networks an experiment has, and their temperature from validation clips."""

from pathlib import Path

from merflow.inference.ensemble import gather_ensemble
from merflow.inference.settings import EnsembleSettings
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    gather_ensemble(
        from_params(EnsembleSettings, snakemake.params.settings),
        Path(snakemake.input.validation),
        [Path(file) for file in snakemake.input.models],
        [Path(cache) for cache in snakemake.input.caches],
        Path(snakemake.output[0]),
        Path(snakemake.params.results),
    )
