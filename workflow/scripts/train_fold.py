"""Train the networks of one fold of TSDGCN, and predict its test clips."""

from pathlib import Path

from merflow.runtime.script_context import from_params, script_context
from merflow.systems.predictions import ResultFiles
from merflow.systems.settings import FoldTrainingSettings
from merflow.systems.tsdgcn.fold_training import train_graph_fold

with script_context(snakemake):
    caches, graphs, weights, macro = (
        [Path(file) for file in snakemake.input.get(name)] for name in ("caches", "graphs", "weights", "macro")
    )
    train_graph_fold(
        caches,
        graphs,
        weights,
        macro[0] if macro else None,
        ResultFiles.of(snakemake.output),
        Path(snakemake.output.model),
        from_params(FoldTrainingSettings, snakemake.params.settings),
        seed=int(snakemake.wildcards.seed),
        fold=snakemake.params.fold,
        code=snakemake.params.code,
    )
