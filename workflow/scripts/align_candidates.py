"""Find and crop the face in each candidate of one source."""

from pathlib import Path

from merflow.footage.clip import Clip
from merflow.inference.search import align_candidates
from merflow.preprocessing.settings import AlignSettings
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    settings = AlignSettings(**snakemake.params.settings)
    source = Clip.from_row(snakemake.params.source)
    align_candidates(source, snakemake.input.intervals, Path(snakemake.output.faces), settings)
