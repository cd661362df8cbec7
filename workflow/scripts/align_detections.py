"""Find and crop the face in what was spotted in the long videos of one person."""

from pathlib import Path

from merflow.footage.fingerprints import check_unchanged
from merflow.inference.detections import align_detections
from merflow.preprocessing.settings import AlignSettings
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    videos, dataset = snakemake.params.videos, snakemake.wildcards.dataset
    settings, bit_depth = AlignSettings(**snakemake.params.settings), snakemake.params.bit_depth
    with check_unchanged(videos.values(), dataset):
        faces = Path(snakemake.output.faces)
        align_detections(snakemake.input.detections, videos, dataset, faces, settings, bit_depth)
