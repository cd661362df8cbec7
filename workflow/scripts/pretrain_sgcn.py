"""Train one SGCN (Table I), or two together, on macro-expression images."""

from pathlib import Path

from merflow.runtime.script_context import from_params, script_context
from merflow.systems.settings import PretrainSettings
from merflow.systems.tsdgcn.pretrain import pretrain

with script_context(snakemake):
    pretrain(
        Path(snakemake.input.cache),
        [Path(file) for file in snakemake.input.graphs],
        [Path(file) for file in snakemake.output.weights],
        [Path(file) for file in snakemake.output.curves],
        from_params(PretrainSettings, snakemake.params.settings),
        snakemake.params.seed,
        snakemake.params.code,
    )
