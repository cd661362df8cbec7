"""Compute the TV-L1 flow from onset to each key-frame of one subject's clips."""

from pathlib import Path
from typing import TYPE_CHECKING

import merflow.preprocessing.tvl1.backends  # noqa: F401  The backends: `subject_flow` loads the one that the settings name.
from merflow.preprocessing.flow import subject_flow
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    subject_flow(
        Path(snakemake.input.faces),
        Path(snakemake.input.keyframes),
        Path(snakemake.output[0]),
        snakemake.params.settings,
    )
