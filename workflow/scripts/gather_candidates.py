"""Gather the key-frames and flows of all candidates, and say how each fared."""

from pathlib import Path

from merflow.inference.candidates import gather_candidates
from merflow.preprocessing.settings import PreparationSettings
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    gather_candidates(
        *(snakemake.input[name] for name in ("search_results", "intervals", "faces", "keyframes", "flow")),
        cache=Path(snakemake.output.cache),
        quality=Path(snakemake.output.quality),
        preparation=snakemake.wildcards.prep,
        settings=from_params(PreparationSettings, snakemake.params.settings),
        code=snakemake.params.code,
    )
