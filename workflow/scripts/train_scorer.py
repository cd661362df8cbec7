"""Train the network that scores frames for adaptive key-frames."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.preprocessing.frame_scorer.scorer import train_scorer
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    train_scorer(list(snakemake.input), Path(snakemake.output[0]), snakemake.wildcards.dataset)
