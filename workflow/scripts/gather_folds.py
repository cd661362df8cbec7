"""Gather the tables of an experiment's folds."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.evaluation.evaluate import merge
from merflow.runtime.script_context import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    for table in ("predictions", "accuracy", "curves", "validation"):
        merge([Path(file) for file in snakemake.input.get(table)], Path(snakemake.output.get(table)))
