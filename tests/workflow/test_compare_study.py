"""studies/compare.yaml as it is shipped: all systems on the same splits of the demo."""

import subprocess
import sys

import pandas as pd
import pytest
from repository import REPO

pytestmark = pytest.mark.slow  # Half an hour on two cores.
SYSTEMS = {"tsdgcn", "msjfn", "mersiamc3d", "ststnet", "off-apexnet", "majority", "linear-svm", "softmax", "ensemble"}

CHANCE = 1 / 3
"""Accuracy of a constant answer. The clips are about as hard as real ones, so the gate asks for no more."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(REPO / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(REPO / "studies/compare.yaml")]
    command += ["--workflow-profile", str(REPO / "profiles/default")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder / "results/compare"


def test_intervals_of_systems_are_above_chance(study):
    metrics = pd.read_csv(study / "metrics.csv").query("scope == 'pooled' and metric != 'uar'")
    low = metrics.groupby("experiment")["ci_low"].min()
    assert set(low.index) == SYSTEMS
    for system in SYSTEMS - {"majority"}:
        assert low[system] > CHANCE, system
    assert low["majority"] <= CHANCE, "a constant prediction fails the gate"


def test_all_pairs_are_compared_on_one_split(study):
    pairs = pd.read_csv(study / "differences.csv").query("metric == 'uf1'")
    assert len(pairs) == len(SYSTEMS) * (len(SYSTEMS) - 1) // 2
    assert len(list((study / "splits").iterdir())) == 1
    shown = pd.read_csv(study / "figures/systems.csv")
    assert set(shown["row"]) == SYSTEMS and set(shown["metric"]) == {"accuracy", "uf1", "uar"}


def test_audit_finds_no_leak(study):
    audit = pd.read_csv(study / "audit.csv")
    assert (audit["size"] == 0).all() and set(audit["experiment"]) == SYSTEMS
