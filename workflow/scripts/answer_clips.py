"""Apply the trained networks of one experiment to the candidates, and measure which regions they depend on."""

from pathlib import Path

import pandas as pd

from merflow.inference.answers import answer_clips
from merflow.inference.settings import AnswerSettings
from merflow.inference.system_ensemble import load_systems
from merflow.runtime.script_context import script_context
from merflow.storage.tables import INTERVALS, read_table

with script_context(snakemake):
    answer_clips(
        load_systems(snakemake.input.ensemble[0]),
        snakemake.wildcards.experiment,
        snakemake.input.cache,
        snakemake.input.quality,
        AnswerSettings(**snakemake.params.settings),
        pd.concat(read_table(file, INTERVALS) for file in snakemake.input.intervals),
        Path(snakemake.output.table),
        Path(snakemake.output.regions),
    )
