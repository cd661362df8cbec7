"""Check every fold for leakage between its training and its test part."""

from pathlib import Path

from merflow.evaluation.leakage import audit
from merflow.evaluation.settings import AuditSettings
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    audit(
        [from_params(AuditSettings, entry) for entry in snakemake.params.plan],
        Path(snakemake.input.predictions),
        Path(snakemake.input.accuracy),
        Path(snakemake.output[0]),
        snakemake.params.overlaps,
        snakemake.params.elsewhere,
    )
