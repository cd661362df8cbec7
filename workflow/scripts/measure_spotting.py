"""Measure the search of long videos on drawn people."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.job import job
from merflow.predict.measure import measure_spotting

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    measure_spotting(snakemake.params.settings, Path(snakemake.output[0]))
