"""Apply the trained networks of one experiment to the candidates, and measure which regions they depend on."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.inference.answers import answer_clips
from merflow.inference.ensemble import load_ensemble
from merflow.inference.settings import AnswerSettings
from merflow.runtime.script_context import script_context
from merflow.storage.tables import read_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    training = {f"training_{name}": value for name, value in snakemake.params.training.items()}
    tables = [read_table(file, ["clip", "fps"]) for file in snakemake.input.intervals]
    answer_clips(
        load_ensemble(snakemake.input.ensemble[0]),
        snakemake.wildcards.answering,
        snakemake.input.cache,
        snakemake.input.quality,
        AnswerSettings(**snakemake.params.settings, **training),
        {str(clip): float(fps) for table in tables for clip, fps in zip(table["clip"], table["fps"], strict=True)},
        Path(snakemake.output.table),
        Path(snakemake.output.regions),
    )
