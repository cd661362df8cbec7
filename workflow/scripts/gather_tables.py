"""Merge the tables of all experiments into those of the study."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.evaluation.evaluate import merge
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    for table in ("predictions", "metrics", "accuracy", "curves"):
        merge([Path(file) for file in snakemake.input.get(table)], Path(snakemake.output.get(table)))
