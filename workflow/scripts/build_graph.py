"""Build a p+q stochastic graph with its coarsened levels (Algorithm 1)."""

from pathlib import Path

from merflow.runtime.script_context import script_context
from merflow.systems.tsdgcn.graph import build_graph

with script_context(snakemake):
    build_graph(**snakemake.params.settings).save(Path(snakemake.output[0]))
