"""Look through one source: face, motion, candidate intervals."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.footage.fingerprints import record_source, steady
from merflow.inference.search import look_through
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    source = snakemake.params.source
    with steady([source], "clips"):
        look_through(source, snakemake.params.settings, Path(snakemake.output.looked).parent, snakemake.params.alone)
    record_source([source], snakemake.params.token, Path(snakemake.output.source))
