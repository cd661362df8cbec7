"""List the clips of one dataset, and everything that is wrong with it."""

from pathlib import Path

from merflow.datasets.index import index_dataset, write_index
from merflow.datasets.settings import dataset_settings
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    index = index_dataset(snakemake.wildcards.dataset, dataset_settings(snakemake.params.settings))
    write_index(index, *(Path(snakemake.output[name]) for name in ("clips", "problems", "classes")))
