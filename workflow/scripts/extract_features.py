"""Turn key-frames and flows into the features of a pre-trained SGCN (Fig. 4 and 5)."""

from pathlib import Path

from merflow.runtime.script_context import script_context
from merflow.systems.tsdgcn.features import extract

with script_context(snakemake):
    extract(
        Path(snakemake.input.cache),
        Path(snakemake.input.weights),
        Path(snakemake.input.graph),
        Path(snakemake.output[0]),
        snakemake.params.signal,
        snakemake.params.normalise,
    )
