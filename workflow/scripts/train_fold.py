"""Train the networks of one fold, and predict the clips that it leaves out."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.runtime.script_context import script_context
from merflow.systems.tsdgcn.fold_training import train_fold

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    given = {name: [Path(file) for file in snakemake.input.get(name)] for name in ("caches", "graphs", "weights")}
    train_fold(
        **given,
        macro=next(map(Path, snakemake.input.macro), None),
        predictions=Path(snakemake.output.predictions),
        accuracy_train=Path(snakemake.output.accuracy),
        curves=Path(snakemake.output.curves),
        validation=Path(snakemake.output.validation),
        model=Path(snakemake.output.model),
        settings=snakemake.params.settings,
        seed=int(snakemake.wildcards.seed),
        fold=snakemake.params.fold,
        code=snakemake.params.code,
    )
