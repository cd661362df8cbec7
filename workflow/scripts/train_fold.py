"""Train the networks of TSDGCN of some folds, and predict their test clips."""

from pathlib import Path

from merflow.runtime.script_context import from_params, script_context
from merflow.systems.predictions import ResultFiles
from merflow.systems.settings import FoldTrainingSettings
from merflow.systems.tsdgcn.fold_training import train_graph_folds

with script_context(snakemake):
    caches, graphs, weights, macro = (
        [Path(file) for file in snakemake.input.get(name)] for name in ("caches", "graphs", "weights", "macro")
    )
    train_graph_folds(
        caches,
        graphs,
        weights,
        macro[0] if macro else None,
        ResultFiles.of(snakemake.output),
        Path(snakemake.output.model),
        from_params(FoldTrainingSettings, snakemake.params.settings),
        folds=snakemake.params.folds,
        code=snakemake.params.code,
    )
