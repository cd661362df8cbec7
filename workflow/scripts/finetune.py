"""Train a head per fold of one experiment on shared features, and predict the test clips."""

from pathlib import Path

from merflow.runtime.script_context import from_params, script_context
from merflow.systems.predictions import ResultFiles
from merflow.systems.settings import FinetuneSettings
from merflow.systems.tsdgcn.finetune import finetune

with script_context(snakemake):
    finetune(
        snakemake.params.features,
        ResultFiles.of(snakemake.output),
        Path(snakemake.output.heads),
        from_params(FinetuneSettings, snakemake.params.settings),
        processes=snakemake.threads,
    )
