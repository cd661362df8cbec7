"""Spot the apex and pick the key-frames in each clip of one subject."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.preprocessing.keyframes import select_subject
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    select_subject(
        Path(snakemake.input.faces),
        Path(snakemake.output[0]),
        snakemake.params.settings,
        snakemake.input.scores or None,
    )
