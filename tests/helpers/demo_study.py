"""The demo study as it is shipped, with fewer people, and figures of its results."""

import subprocess
import sys
from pathlib import Path

import yaml
from repository import REPO

SUBJECTS = 12
SYSTEMS = ("tsdgcn", "msjfn", "mersiamc3d")
FLOORS = ("majority", "linear-svm", "softmax", "ststnet")
CLASSES = ["negative", "positive", "surprise"]
CLIPS = 4 * len(CLASSES)
"""Micro clips of each person."""
FIGURES = {
    "methods": {"kind": "methods", "of": ["tsdgcn"]},
    "stages": {"kind": "stages", "of": "tsdgcn", "title": "Three stages"},
    "confusion": {"kind": "confusion", "of": "tsdgcn"},
    "flow": {"kind": "flow-statistics", "of": "tsdgcn"},
}
TABLES = {"branches": {"of": "tsdgcn", "rows": {"branches": [["spatial"], ["temporal"]]}}}
DIVIDED = {"system": "majority", "micro": "demo-micro", "protocol": "paper-holdout", "test_clips": SUBJECTS}
"""A floor under the protocol that allows people of the test in the training part."""
DIVIDING = {"divided", *(f"{floor}-demo-micro-default-paper-holdout-{SUBJECTS}-0" for floor in FLOORS[1:])}
"""The experiments under that protocol."""


def shorter() -> dict:
    """Return the overlay of config.yaml: fewer people, clips and epochs."""
    experiments = yaml.safe_load((REPO / "config.yaml").read_text())["experiments"]
    experiments["tsdgcn"]["pretrain"]["epochs"] = 15
    experiments["msjfn"]["network"] = {"side": 28, "width": 8, "epochs": 15, "epoch_choice": "validation"}
    experiments["mersiamc3d"]["network"] |= {"side": 20, "epochs": 15, "prior_epochs": 2}
    network = {"epochs": 40, "learning_rate": 0.002}
    return {"demo": {"subjects": SUBJECTS}, "network": network, "experiments": experiments}


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the study with its results in ``folder``; ``arguments`` are further arguments of Snakemake."""
    study = shorter() | {"figures": FIGURES, "tables": TABLES}
    study["experiments"]["divided"] = DIVIDED
    (folder / "fewer.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(REPO / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(folder / "fewer.yaml")]
    command += ["--workflow-profile", str(REPO / "profiles/default"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)
