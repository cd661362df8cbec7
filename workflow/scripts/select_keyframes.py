"""Spot the apex and pick the key-frames in each clip of one subject."""

from pathlib import Path

from merflow.preprocessing.keyframes import select_subject
from merflow.preprocessing.settings import KeyframeSettings
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    settings = KeyframeSettings(**snakemake.params.settings)
    scores = snakemake.input.scores or None
    select_subject(Path(snakemake.input.faces), Path(snakemake.output[0]), settings, scores)
