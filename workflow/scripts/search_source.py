"""Search one source: face, motion, candidate intervals."""

from pathlib import Path

from merflow.footage.clip import Clip
from merflow.footage.fingerprints import check_unchanged, record_source
from merflow.inference.search import search_source
from merflow.inference.settings import SpottingSettings
from merflow.inference.spotters.registry import load_spotter
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    row, settings = snakemake.params.source, SpottingSettings(**snakemake.params.settings)
    folder = Path(snakemake.output.search_results).parent
    spotter = next(iter(snakemake.input.spotter), None)
    spot = load_spotter(spotter, settings).detections if spotter else None
    with check_unchanged([row], "clips"):
        search_source(Clip.from_row(row), snakemake.params.fps, settings, folder, snakemake.params.alone, spot)
    record_source([row], snakemake.params.token, Path(snakemake.output.source))
