"""Find and crop the face in each candidate of one source."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.job import job
from merflow.predict.look import align_candidates

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    source, settings = snakemake.params.source, snakemake.params.settings
    align_candidates(source, snakemake.input.intervals, Path(snakemake.output.faces), settings)
