"""List the long videos of a study and their annotated expressions."""

from pathlib import Path

from merflow.datasets.long_videos import LongVideo
from merflow.inference.long_motion import write_long_videos
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    write_long_videos(
        [from_params(LongVideo, video) for video in snakemake.params.videos],
        [Path(track) for track in snakemake.input],
        Path(snakemake.output.videos),
        Path(snakemake.output.truth),
    )
