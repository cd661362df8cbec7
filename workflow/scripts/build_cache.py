"""Gather one dataset's key-frames and flows in one file, and say how each clip fared."""

from typing import TYPE_CHECKING

from merflow.preprocessing.cache import build_cache
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    build_cache(
        snakemake.params.clips,
        snakemake.input.faces,
        snakemake.input.keyframes,
        snakemake.input.flow,
        cache=snakemake.output.cache,
        quality=snakemake.output.quality,
        dataset=snakemake.wildcards.dataset,
        preparation=snakemake.wildcards.prep,
        settings=snakemake.params.settings,
        classes=snakemake.params.classes,
        stop=snakemake.params.stop,
        code=snakemake.params.code,
    )
