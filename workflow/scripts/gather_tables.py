"""Merge the tables of all experiments into those of the study, or those of all folds into those of an experiment."""

from pathlib import Path

from merflow.evaluation.evaluate import merge
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    for table, file in snakemake.output.items():
        merge([Path(part) for part in snakemake.input.get(table)], Path(file))
