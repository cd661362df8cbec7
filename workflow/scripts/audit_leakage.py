"""Check every fold for what its training could know of its test."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.evaluation.leakage import audit
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    audit(
        snakemake.params.plan,
        Path(snakemake.input.predictions),
        Path(snakemake.input.accuracy),
        Path(snakemake.output[0]),
    )
