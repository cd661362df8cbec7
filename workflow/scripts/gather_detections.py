"""Gather the key-frames and flows of everything that a system spotted in long videos."""

from pathlib import Path

from merflow.inference.detections import gather_detections
from merflow.preprocessing.settings import PreparationSettings
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    gather_detections(
        *(snakemake.input[name] for name in ("detections", "faces", "keyframes", "flow")),
        cache=Path(snakemake.output.cache),
        quality=Path(snakemake.output.quality),
        preparation=snakemake.wildcards.prep,
        settings=from_params(PreparationSettings, snakemake.params.settings),
        code=snakemake.params.code,
    )
