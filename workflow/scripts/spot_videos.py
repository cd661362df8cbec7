"""Spot the expressions in all long videos by one system, fold by fold."""

from pathlib import Path

from merflow.inference.settings import SpottingExperiment
from merflow.inference.spot_videos import spot_videos
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    videos = [tuple(video) for video in snakemake.params.videos]
    spot_videos(
        from_params(SpottingExperiment, snakemake.params.settings),
        Path(snakemake.input.videos),
        Path(snakemake.input.truth),
        dict(zip(videos, map(Path, snakemake.input.tracks), strict=True)),
        *(Path(snakemake.output[name]) for name in ("candidates", "detections", "spotter")),
    )
