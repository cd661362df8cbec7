"""Measure the search of long videos on synthetic people."""

from pathlib import Path

from merflow.inference.settings import SpottingSettings
from merflow.inference.spotting_accuracy import measure_spotting
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    settings = SpottingSettings(**snakemake.params.settings)
    measure_spotting(settings, Path(snakemake.output[0]))
