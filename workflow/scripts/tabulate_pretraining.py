"""Tabulate the training accuracies and curves of an experiment's pre-trained networks."""

from pathlib import Path

from merflow.runtime.script_context import script_context
from merflow.systems.settings import PretrainedNetwork
from merflow.systems.tsdgcn.pretrain import tabulate

with script_context(snakemake):
    tabulate(
        [PretrainedNetwork(**network) for network in snakemake.params.networks],
        [Path(file) for file in snakemake.input.weights],
        [Path(file) for file in snakemake.input.curves],
        Path(snakemake.output.accuracy),
        Path(snakemake.output.curves),
    )
