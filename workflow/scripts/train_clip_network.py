"""Train the networks of some folds on clips, and predict their test clips."""

from pathlib import Path

from merflow.runtime.script_context import from_params, script_context
from merflow.systems.clip_networks import train_clip_networks
from merflow.systems.predictions import ResultFiles
from merflow.systems.settings import ClipNetworkSettings

with script_context(snakemake):
    train_clip_networks(
        [Path(cache) for cache in snakemake.input.caches],
        ResultFiles.of(snakemake.output),
        Path(snakemake.output.model),
        from_params(ClipNetworkSettings, snakemake.params.settings),
        folds=snakemake.params.folds,
        code=f"{snakemake.params.code} {snakemake.params.network}",
    )
