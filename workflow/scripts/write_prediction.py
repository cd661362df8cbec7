"""Write the answers about the clips that the user named, and the page that shows them."""

from pathlib import Path
from typing import TYPE_CHECKING

from merflow.inference.page import write_prediction
from merflow.runtime.script_context import script_context

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with script_context(snakemake):
    write_prediction(snakemake.params.plan, dict(snakemake.input.items()), Path(snakemake.output.page).parent)
