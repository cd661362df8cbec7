"""Find and crop the face in each candidate of one source."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.job import job
from merflow.predict.look import align_candidates

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    align_candidates(snakemake.input.intervals, Path(snakemake.output.faces), snakemake.params.settings)
