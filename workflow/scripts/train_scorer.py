"""Train the network that scores frames for adaptive key-frames."""

from pathlib import Path

from merflow.preprocessing.frame_scorer.scorer import train_scorer
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    train_scorer(list(snakemake.input), Path(snakemake.output[0]), snakemake.wildcards.dataset)
