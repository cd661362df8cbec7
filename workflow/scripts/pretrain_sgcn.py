"""Train one SGCN (Table I) on macro-expression images."""

from pathlib import Path

from merflow.runtime.script_context import from_params, script_context
from merflow.systems.settings import PretrainSettings
from merflow.systems.tsdgcn.pretrain import pretrain

with script_context(snakemake):
    pretrain(
        Path(snakemake.input.cache),
        Path(snakemake.input.graph),
        Path(snakemake.output.weights),
        Path(snakemake.output.curve),
        from_params(PretrainSettings, snakemake.params.settings),
        snakemake.params.seed,
        snakemake.params.code,
    )
