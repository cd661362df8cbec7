"""Write the page of a study's experiments in long videos."""

from pathlib import Path

from merflow.inference.settings import SpottingPage
from merflow.inference.spotting_page import write_spotting_page
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    names = ("videos", "truth", "metrics", "curve", "detections", "candidates", "audits")
    write_spotting_page(
        from_params(SpottingPage, snakemake.params.settings),
        {name: snakemake.input[name] for name in names},
        Path(snakemake.output[0]),
    )
