"""Compute the optical flow of one subject's clips: one field for each key-frame."""

from pathlib import Path

import merflow.preprocessing.tvl1.backends  # noqa: F401  For the code hash: `subject_flow` loads a backend by name.
from merflow.preprocessing.flow import subject_flow
from merflow.preprocessing.settings import FlowSettings
from merflow.runtime.script_context import script_context

with script_context(snakemake):
    settings = FlowSettings(**snakemake.params.settings)
    faces, keyframes = Path(snakemake.input.faces), Path(snakemake.input.keyframes)
    subject_flow(faces, keyframes, Path(snakemake.output[0]), settings)
