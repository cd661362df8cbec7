"""Compute accuracy, UF1 and UAR of one experiment from its pooled predictions."""

from pathlib import Path

from merflow.evaluation.evaluate import evaluate
from merflow.evaluation.settings import EvaluationSettings
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    settings = EvaluationSettings(**snakemake.params.settings)
    evaluate(Path(snakemake.input[0]), Path(snakemake.output[0]), settings)
