"""Train the network that scores frames for adaptive key-frames."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.job import job
from merflow.scorer import train_scorer

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    train_scorer(list(snakemake.input), Path(snakemake.output[0]), snakemake.wildcards.dataset)
