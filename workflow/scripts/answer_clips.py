"""Apply the trained networks of one experiment to the candidates, and measure which regions they depend on."""

from pathlib import Path

from merflow.inference.answers import answer_clips
from merflow.inference.settings import AnswerSettings
from merflow.inference.system_ensemble import load_systems
from merflow.runtime.script_context import script_context
from merflow.storage.tables import read_table

with script_context(snakemake):
    tables = [read_table(file, ["clip", "fps"]) for file in snakemake.input.intervals]
    answer_clips(
        load_systems(snakemake.input.ensemble[0]),
        snakemake.wildcards.experiment,
        snakemake.input.cache,
        snakemake.input.quality,
        AnswerSettings(**snakemake.params.settings),
        {str(clip): float(fps) for table in tables for clip, fps in zip(table["clip"], table["fps"], strict=True)},
        Path(snakemake.output.table),
        Path(snakemake.output.regions),
    )
