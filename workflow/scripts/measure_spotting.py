"""Measure the search of long videos on drawn people."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.inference.spotting_accuracy import measure_spotting
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    measure_spotting(snakemake.params.settings, Path(snakemake.output[0]))
