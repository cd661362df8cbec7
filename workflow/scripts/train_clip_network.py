"""Train the network of one fold on clips, and predict its test clips."""

from pathlib import Path

from merflow.runtime.script_context import from_params, script_context
from merflow.systems.clip_networks import train_clip_network
from merflow.systems.predictions import ResultFiles
from merflow.systems.settings import ClipNetworkSettings

with script_context(snakemake):
    train_clip_network(
        [Path(cache) for cache in snakemake.input.caches],
        ResultFiles.of(snakemake.output),
        Path(snakemake.output.model),
        from_params(ClipNetworkSettings, snakemake.params.settings),
        seed=int(snakemake.wildcards.seed),
        fold=snakemake.params.fold,
        code=f"{snakemake.params.code} {snakemake.params.network}",
    )
