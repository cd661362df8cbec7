"""Find and crop the face in each clip of one subject."""

from pathlib import Path

from merflow.footage.clip import Clip
from merflow.footage.fingerprints import check_unchanged, record_source
from merflow.preprocessing.faces import align_subject
from merflow.preprocessing.settings import AlignSettings
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    settings = AlignSettings(**snakemake.params.settings)
    clips = [Clip.from_row({"label": "", **row}) for row in snakemake.params.clips]
    with check_unchanged(snakemake.params.clips, snakemake.wildcards.dataset):
        align_subject(clips, Path(snakemake.output.faces), settings, snakemake.params.bit_depth)
    record_source(snakemake.params.clips, snakemake.params.source, Path(snakemake.output.source))
