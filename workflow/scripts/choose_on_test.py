"""Show what an epoch that is chosen on the test clips would have scored; it is never a result."""

from pathlib import Path

from merflow.evaluation.chosen_on_test import tabulate_chosen_on_test
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    classes = snakemake.params.classes
    tabulate_chosen_on_test(
        {name: Path(file) for name, file in zip(classes, snakemake.input.epochs, strict=True)},
        Path(snakemake.input.metrics),
        Path(snakemake.output[0]),
        classes,
    )
