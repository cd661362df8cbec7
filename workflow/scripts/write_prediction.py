"""Write the answers for the user's clips, and the page that shows them."""

from pathlib import Path

from merflow.inference.page import write_prediction
from merflow.inference.settings import PageSettings
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    settings = from_params(PageSettings, snakemake.params.settings)
    write_prediction(settings, dict(snakemake.input.items()), Path(snakemake.output.page).parent)
