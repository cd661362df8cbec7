"""Score the frames of one subject's clips for adaptive key-frames."""

from pathlib import Path

from merflow.preprocessing.frame_scorer.scorer import score_subject
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    score_subject(Path(snakemake.input.faces), Path(snakemake.input.scorer), Path(snakemake.output[0]))
