"""Say what the trained networks of an experiment are, and measure their temperature on validation clips."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.inference.ensemble import gather_ensemble
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    gather_ensemble(
        snakemake.params.settings,
        Path(snakemake.input.validation),
        snakemake.params.models,
        [Path(cache) for cache in snakemake.input.caches],
        Path(snakemake.output[0]),
        Path(snakemake.params.results),
    )
