"""Look through one source: face, motion, candidate intervals."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.job import job
from merflow.predict.look import look_through
from merflow.sources import record_source, steady

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    source = snakemake.params.source
    with steady([source], "clips"):
        look_through(source, snakemake.params.settings, Path(snakemake.output.looked).parent, snakemake.params.alone)
    record_source([source], snakemake.params.token, Path(snakemake.output.source))
