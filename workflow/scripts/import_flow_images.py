"""Write one dataset's ready-made flow images into a cache, and the quality table of its images."""

from pathlib import Path

from merflow.footage.fingerprints import record_source
from merflow.preprocessing.ready_made_flow import import_flow_images
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    import_flow_images(
        snakemake.params.clips,
        snakemake.output.cache,
        snakemake.output.quality,
        dataset=snakemake.wildcards.dataset,
        preparation=snakemake.wildcards.prep,
        face_size=snakemake.params.face_size,
        channels=snakemake.params.channels,
        scaling=snakemake.params.scaling,
        classes=snakemake.params.classes,
        stop=snakemake.params.stop,
        code=snakemake.params.code,
    )
    record_source(snakemake.params.images, snakemake.params.source, Path(snakemake.output.source))
