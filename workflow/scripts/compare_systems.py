"""Test every pair of systems for a difference."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.evaluation.significance import compare
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    compare(Path(snakemake.input[0]), Path(snakemake.output[0]), snakemake.params.classes)
