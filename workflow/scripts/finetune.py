"""Train the fused head of one experiment in each fold, and predict the clips that the fold leaves out."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.runtime.script_context import script_context
from merflow.systems.tsdgcn.finetune import finetune

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    finetune(
        snakemake.params.features,
        Path(snakemake.output.predictions),
        Path(snakemake.output.accuracy),
        Path(snakemake.output.curves),
        snakemake.params.settings,
        processes=snakemake.threads,
        validation=Path(snakemake.output.validation),
        heads=Path(snakemake.output.heads),
    )
