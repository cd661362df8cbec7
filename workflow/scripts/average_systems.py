"""Average the calibrated probabilities of the members of an ensemble."""

from pathlib import Path

from merflow.evaluation.averaging import average_systems
from merflow.evaluation.settings import AveragingSettings
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    average_systems(
        [Path(file) for file in snakemake.input.predictions],
        [Path(file) for file in snakemake.input.validation],
        Path(snakemake.output.predictions),
        Path(snakemake.output.validation),
        AveragingSettings(**snakemake.params.settings),
    )
