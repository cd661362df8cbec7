"""Find and crop the face in each candidate of one source."""

from pathlib import Path

from merflow.inference.search import align_candidates
from merflow.inference.settings import Source
from merflow.preprocessing.settings import AlignSettings
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    settings = AlignSettings(**snakemake.params.settings)
    source = Source(**snakemake.params.source)
    align_candidates(source, snakemake.input.intervals, Path(snakemake.output.faces), settings)
