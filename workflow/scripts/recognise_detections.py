"""Recognise what was spotted in long videos, each person by networks that never saw that person."""

from pathlib import Path

from merflow.inference.recognition import recognise_detections
from merflow.inference.settings import RecognitionSettings
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    recognise_detections(
        RecognitionSettings(**snakemake.params.settings),
        Path(snakemake.input.detections),
        Path(snakemake.input.cache),
        Path(snakemake.input.ensemble[0]),
        Path(snakemake.output.detections),
        Path(snakemake.output.audit),
    )
