"""Spot the apex and pick the key-frames in each clip of one subject."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.job import job
from merflow.keyframes import select_subject

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    select_subject(
        Path(snakemake.input.faces),
        Path(snakemake.output[0]),
        snakemake.params.settings,
        snakemake.input.scores or None,
    )
