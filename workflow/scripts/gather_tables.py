"""Merge the tables of all experiments into those of the study."""

from pathlib import Path

from merflow.evaluation.evaluate import merge
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    for table in ("predictions", "metrics", "accuracy", "curves"):
        merge([Path(file) for file in snakemake.input.get(table)], Path(snakemake.output.get(table)))
