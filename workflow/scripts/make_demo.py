"""Draw the synthetic clips of one person, with their ground truth."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.datasets.settings import SyntheticSettings
from merflow.datasets.synthetic.render import make_subject
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    settings = SyntheticSettings(**snakemake.params.settings)
    make_subject(snakemake.wildcards.dataset, snakemake.wildcards.subject, settings, Path(snakemake.output[0]))
