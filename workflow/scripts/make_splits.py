"""Draw the folds of a protocol, once for all systems that are compared."""

from pathlib import Path

from merflow.protocols.settings import SplitSettings
from merflow.protocols.splits import make_splits
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    make_splits(
        [Path(cache) for cache in snakemake.input],
        Path(snakemake.output[0]),
        from_params(SplitSettings, snakemake.params.settings),
        int(snakemake.wildcards.seed),
    )
