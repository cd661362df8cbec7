"""Measure the calibration of every trained system, before and after temperature scaling."""

from pathlib import Path

from merflow.evaluation.calibration import calibrate
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    calibrate(
        snakemake.params.classes,
        [Path(file) for file in snakemake.input.predictions],
        [Path(file) for file in snakemake.input.validation],
        calibration=Path(snakemake.output.calibration),
        reliability_table=Path(snakemake.output.reliability),
        coverage_table=Path(snakemake.output.coverage),
    )
