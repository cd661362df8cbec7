"""Score the detections of all experiments in long videos."""

from pathlib import Path

from merflow.evaluation.settings import SpottedExperiment
from merflow.evaluation.spotting_tables import score_experiments
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    score_experiments(
        Path(snakemake.input.videos),
        Path(snakemake.input.truth),
        list(map(Path, snakemake.input.detections)),
        list(map(Path, snakemake.input.candidates)),
        {name: SpottedExperiment(**each) for name, each in snakemake.params.experiments.items()},
        Path(snakemake.output.metrics),
        Path(snakemake.output.curve),
    )
