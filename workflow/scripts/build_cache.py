"""Write one dataset's key-frames and flows into a cache, and the quality table of its clips."""

from merflow.preprocessing.cache import build_cache
from merflow.preprocessing.settings import PreparationSettings
from merflow.runtime.script_context import from_params, script_context

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
        settings=from_params(PreparationSettings, snakemake.params.settings),
        classes=snakemake.params.classes,
        stop=snakemake.params.stop,
        code=snakemake.params.code,
    )
