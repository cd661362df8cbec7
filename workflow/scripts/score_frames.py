"""Score the frames of one subject's clips for adaptive key-frames."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.job import job
from merflow.scorer import score_subject

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    score_subject(Path(snakemake.input.faces), Path(snakemake.input.scorer), Path(snakemake.output[0]))
