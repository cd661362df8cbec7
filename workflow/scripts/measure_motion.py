"""Measure the motion of one long video."""

from pathlib import Path

from merflow.footage.fingerprints import check_unchanged, record_source
from merflow.inference.long_motion import measure_motion
from merflow.inference.settings import SpottingSettings
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    footage, settings = snakemake.params.footage, SpottingSettings(**snakemake.params.settings)
    with check_unchanged([footage], snakemake.wildcards.dataset):
        measure_motion(footage["frames"], footage["fps"], settings, Path(snakemake.output.track))
    record_source([footage], snakemake.params.token, Path(snakemake.output.source))
