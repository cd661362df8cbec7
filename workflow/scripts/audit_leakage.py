"""Check every fold for leakage between its training and its test part."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.evaluation.leakage import audit
from merflow.evaluation.settings import AuditSettings
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    audit(
        [AuditSettings(**entry) for entry in snakemake.params.plan],
        Path(snakemake.input.predictions),
        Path(snakemake.input.accuracy),
        Path(snakemake.output[0]),
    )
