"""Write which systems an ensemble has, and the temperatures of its baselines from validation clips."""

from pathlib import Path

from merflow.inference.settings import SystemEnsembleSettings
from merflow.inference.system_ensemble import gather_systems
from merflow.runtime.script_context import from_params, script_context

with script_context(snakemake):
    gather_systems(
        from_params(SystemEnsembleSettings, snakemake.params.settings),
        {Path(file).parent.name: Path(file) for file in snakemake.input.validation},
        Path(snakemake.output[0]),
        Path(snakemake.params.results),
    )
