"""profiles/slurm on a real SLURM of two nodes: the same predictions, memory that grows, nodes that die."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import people
import pytest
import yaml
from cluster import Cluster, Unavailable, cluster

from conftest import REPO, copy_repository, snakemake

PROFILE = yaml.safe_load((REPO / "profiles/slurm/config.yaml").read_text())
PATIENCE = {"slurm-init-seconds-before-status-checks": 1, "latency-wait": 10}
"""What the tests change in the profile: they wait less."""


@pytest.fixture(scope="module")
def slurm():
    try:
        with cluster() as running:
            yield running
    except Unavailable as reason:
        pytest.skip(str(reason))


def start(slurm: Cluster, folder: Path, settings: dict, changes: dict, targets: Sequence[str] = ()) -> subprocess.Popen:
    """Start a run of a study on the cluster, with ``changes`` of the profile; its words go to ``driver.log``."""
    profile = folder / "profile"
    profile.mkdir(exist_ok=True)
    (profile / "config.yaml").write_text(yaml.safe_dump(PROFILE | PATIENCE | changes))
    (folder / "slurm.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", str(profile), "--no-hooks", *targets]
    with open(folder / "driver.log", "w") as log:
        return subprocess.Popen(
            [*command, "--configfile", "slurm.yaml"], cwd=folder, env=slurm.environment, stdout=log, stderr=log
        )


def finish(run: subprocess.Popen, folder: Path) -> str:
    """Wait for a run; returns what it said."""
    code = run.wait()
    said = (folder / "driver.log").read_text()
    assert code == 0, said[-8000:]
    return said


def tables(results: str) -> list[str]:
    """The tables of a study that are compared."""
    return [f"{results}/mine/{name}.csv" for name in ("predictions", "metrics", "curves")]


def read(folder: Path, results: str) -> list[bytes]:
    """The contents of those tables."""
    return [(folder / table).read_bytes() for table in tables(results)]


def group(job: dict) -> str:
    """The group of a SLURM job, as the executor noted it."""
    return job["what"].split("_")[1]


def starting_with(memory: int, rule: str) -> dict:
    """The resources of the profile, but that the first attempt of a rule has so little memory."""
    own = PROFILE["set-resources"][rule]
    less = own | {"mem_mb": re.sub(r"^\d+", str(memory), own["mem_mb"])}
    return {"set-resources": PROFILE["set-resources"] | {rule: less}}


# --- A small study ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(slurm, tmp_path_factory):
    """Three drawn people and a network that is trained in each fold, on this machine and through SLURM.

    The folds start with so little memory that SLURM kills them. Returns the folder, what the run said, SLURM's jobs.
    """
    folder = copy_repository(tmp_path_factory.mktemp("slurm"))
    people.draw(folder / "people", "micro", 3, 0, emotions=people.EMOTIONS[:2], frames=16)
    settings = people.config(folder, floors=[], network={"epochs": 5})
    settings["experiments"] = {"shallow": {"system": "ststnet", "micro": "people"}}
    del settings["datasets"]["posed"]
    snakemake(folder, *tables("local"), config=settings | {"results": "local"})
    run = start(slurm, folder, settings, starting_with(150, "train_clip_network"), tables("results"))
    said = finish(run, folder)
    return folder, said, [job | slurm.job(job["id"]) for job in slurm.jobs()]


def test_predictions_are_those_of_a_local_run(study):
    folder, *_ = study
    assert read(folder, "results") == read(folder, "local")
    rows = pd.read_csv(folder / "results/mine/predictions.csv")
    assert len(rows) == 6 and rows["fold"].nunique() == 3


def test_subjects_and_folds_share_slurm_jobs_and_both_nodes_serve(study):
    *_, jobs = study
    groups = [group(job) for job in jobs]
    assert list(dict.fromkeys(groups)) == ["faces", "flow", "caches", "folds", "tables"]
    assert all(groups.count(name) == 1 for name in groups if name != "folds")


def test_a_job_killed_for_memory_is_sent_again_with_more(study):
    folder, said, jobs = study
    folds = [job for job in jobs if group(job) == "folds"]
    assert len(folds) in (2, 3) and [job["state"] for job in folds[:-1]] == ["FAILED"] * (len(folds) - 1)
    assert folds[-1]["state"] == "COMPLETED"
    memory = [job["MinMemoryNode"] for job in folds]
    assert memory == ["450M", "900M", "1800M"][: len(folds)], "of three folds side by side"
    (log,) = (folder / ".snakemake/slurm_logs").rglob(f"{folds[0]['id']}.log")
    assert "exceeded memory limit" in log.read_text()
    assert f"SLURM-job '{folds[0]['id']}' failed" in said
