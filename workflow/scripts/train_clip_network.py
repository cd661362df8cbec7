"""Train the network of one fold on clips, and predict the clips that the fold leaves out."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.runtime.script_context import script_context
from merflow.systems.clip_networks import train_fold

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    train_fold(
        [Path(cache) for cache in snakemake.input.caches],
        predictions=Path(snakemake.output.predictions),
        accuracy_train=Path(snakemake.output.accuracy),
        curves=Path(snakemake.output.curves),
        validation=Path(snakemake.output.validation),
        model=Path(snakemake.output.model),
        settings=snakemake.params.settings,
        seed=int(snakemake.wildcards.seed),
        fold=snakemake.params.fold,
        code=f"{snakemake.params.code} {snakemake.params.network}",
    )
