"""Write the calibrated ensemble of one experiment as ONNX, with its check and its model card."""

from pathlib import Path

from merflow.inference.onnx_export import export_onnx
from merflow.inference.settings import ExportSettings
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    export_onnx(
        Path(snakemake.input.ensemble),
        [Path(cache) for cache in snakemake.input.caches],
        from_params(ExportSettings, snakemake.params.settings),
        metrics=Path(snakemake.input.metrics),
        calibration=Path(snakemake.input.calibration),
        model=Path(snakemake.output.model),
        card=Path(snakemake.output.card),
        check=Path(snakemake.output.check),
    )
