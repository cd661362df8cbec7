"""Gather the tables of an experiment's folds."""

from pathlib import Path

from merflow.evaluation.evaluate import merge
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    for table in ("predictions", "accuracy", "curves", "validation"):
        merge([Path(file) for file in snakemake.input.get(table)], Path(snakemake.output.get(table)))
