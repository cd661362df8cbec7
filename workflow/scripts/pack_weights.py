"""Pack the trained networks of one experiment as an archive that can be passed on."""

from pathlib import Path

from merflow.inference.packing import pack_weights
from merflow.inference.settings import PackSettings
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    pack_weights(
        Path(snakemake.input.ensemble),
        from_params(PackSettings, snakemake.params.settings),
        {name: Path(snakemake.input[name]) for name in ("audit", "metrics", "coverage", "calibration")},
        Path(snakemake.output[0]),
    )
