"""Draw the synthetic clips of one person, with their ground truth."""

from pathlib import Path

from merflow.datasets.settings import SyntheticSettings
from merflow.datasets.synthetic.render import make_subject
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    settings = SyntheticSettings(**snakemake.params.settings)
    make_subject(snakemake.wildcards.dataset, snakemake.wildcards.subject, settings, Path(snakemake.output[0]))
