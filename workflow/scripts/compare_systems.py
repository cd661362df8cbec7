"""Test every pair of systems for a difference."""

from pathlib import Path

from merflow.evaluation.significance import compare
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    compare(Path(snakemake.input[0]), Path(snakemake.output[0]), snakemake.params.classes)
