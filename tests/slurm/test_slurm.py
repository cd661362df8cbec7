"""profiles/slurm on a real SLURM of two nodes: same predictions, more memory after a kill, lost nodes and drivers."""

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
from repository import REPO, copy_repository, snakemake

PROFILE = yaml.safe_load((REPO / "profiles/slurm/config.yaml").read_text())
SHORTER_WAITS = {"slurm-init-seconds-before-status-checks": 1, "latency-wait": 10}
"""Shorter waits than in the profile."""


@pytest.fixture(scope="module")
def slurm():
    try:
        with cluster() as running:
            yield running
    except Unavailable as reason:
        pytest.skip(str(reason))


def start(
    slurm: Cluster,
    folder: Path,
    settings: dict,
    changes: dict,
    targets: Sequence[str] = (),
    module: str = "snakemake",
) -> subprocess.Popen:
    """Start a run of a study on the cluster, with ``changes`` of the profile; its output goes to ``driver.log``."""
    profile = folder / "profile"
    profile.mkdir(exist_ok=True)
    (profile / "config.yaml").write_text(yaml.safe_dump(PROFILE | SHORTER_WAITS | changes))
    (folder / "slurm.yaml").write_text(yaml.safe_dump(settings))
    arguments = ["--workflow-profile", str(profile), "--no-hooks", *targets, "--configfile", "slurm.yaml"]
    command = [sys.executable, "-m", module, *arguments]
    with open(folder / "driver.log", "w") as log:
        return subprocess.Popen(command, cwd=folder, env=slurm.environment, stdout=log, stderr=log)


def finish(run: subprocess.Popen, folder: Path) -> str:
    """Wait for a run; returns its output."""
    code = run.wait()
    output = (folder / "driver.log").read_text()
    assert code == 0, output[-8000:]
    return output


def tables(results: str, study: str = "mine") -> list[str]:
    """Return the paths of the tables that are compared."""
    return [f"{results}/{study}/{name}.csv" for name in ("predictions", "metrics", "curves")]


def read(folder: Path, results: str, study: str = "mine") -> list[bytes]:
    """Return the contents of those tables."""
    return [(folder / table).read_bytes() for table in tables(results, study)]


def group(job: dict) -> str:
    """Return the group of a SLURM job, from the comment that the executor sets."""
    return job["comment"].split("_")[1]


def starting_with(memory: int, rule: str) -> dict:
    """Return the resources of the profile with another memory, in MB, for the first attempt of a rule."""
    resources = PROFILE["set-resources"][rule]
    less = resources | {"mem_mb": re.sub(r"^\d+", str(memory), resources["mem_mb"])}
    return {"set-resources": PROFILE["set-resources"] | {rule: less}}


# --- A small study ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(slurm, tmp_path_factory):
    """Run a study of three people with one network per fold, locally and on SLURM.

    The folds start with so little memory that SLURM kills them. Returns the folder, the output, and SLURM's jobs.
    """
    folder = copy_repository(tmp_path_factory.mktemp("slurm"))
    people.draw(folder / "people", "micro", 3, 0, emotions=people.EMOTIONS[:2], frames=16)
    settings = people.config(folder, floors=[], network={"epochs": 5})
    settings["experiments"] = {"shallow": {"system": "ststnet", "micro": "people"}}
    del settings["datasets"]["posed"]
    snakemake(folder, *tables("local"), config=settings | {"results": "local"})
    run = start(slurm, folder, settings, starting_with(150, "train_clip_network"), tables("results"))
    output = finish(run, folder)
    return folder, output, [job | slurm.job(job["id"]) for job in slurm.jobs()]


def test_predictions_equal_those_of_a_local_run(study):
    folder, *_ = study
    assert read(folder, "results") == read(folder, "local")
    rows = pd.read_csv(folder / "results/mine/predictions.csv")
    assert len(rows) == 6 and rows["fold"].nunique() == 3


def test_subjects_and_folds_share_slurm_jobs(study):
    *_, jobs = study
    groups = [group(job) for job in jobs]
    assert list(dict.fromkeys(groups)) == ["faces", "flow", "caches", "folds", "tables"]
    assert all(groups.count(name) == 1 for name in groups if name != "folds")


def test_job_killed_for_memory_is_sent_again_with_more(study):
    folder, output, jobs = study
    folds = [job for job in jobs if group(job) == "folds"]
    assert len(folds) in (2, 3) and [job["state"] for job in folds[:-1]] == ["FAILED"] * (len(folds) - 1)
    assert folds[-1]["state"] == "COMPLETED"
    memory = [job["MinMemoryNode"] for job in folds]
    assert memory == ["450M", "900M", "1800M"][: len(folds)], "of three folds side by side"
    (log,) = (folder / ".snakemake/slurm_logs").rglob(f"{folds[0]['id']}.log")
    assert "exceeded memory limit" in log.read_text()
    assert "exceeded memory limit" in output, "the user sees why"


# --- What breaks ------------------------------------------------------------------------------------------------------


def set_down(slurm: Cluster, node: str, run: subprocess.Popen) -> None:
    """An administrator takes a node away."""
    slurm.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")


def lose_power(slurm: Cluster, node: str, run: subprocess.Popen) -> None:
    """A node dies; SLURM notices it after a time-out."""
    slurm.kill_node(node)


def lose_driver(slurm: Cluster, node: str, run: subprocess.Popen) -> None:
    """The driver is killed."""
    run.kill()


@pytest.mark.slow
@pytest.mark.parametrize("fault", [set_down, lose_power, lose_driver])
def test_fault_loses_nothing_that_was_done(study, slurm, fault):
    folder, *_ = study
    name = fault.__name__
    settings = yaml.safe_load((folder / "slurm.yaml").read_text()) | {"results": name}
    before = len(slurm.jobs())

    def of_folds() -> list[dict]:
        return [job for job in slurm.jobs()[before:] if group(job) == "folds"]

    run = start(slurm, folder, settings, {}, tables(name))
    try:
        slurm.wait(lambda: run.poll() is not None or any(job["state"] == "RUNNING" for job in of_folds()), 600)
        assert run.poll() is None, (folder / "driver.log").read_text()[-8000:]
        done = {file: file.stat().st_mtime_ns for file in (folder / name / "data").rglob("*") if file.is_file()}
        (first,) = of_folds()
        fault(slurm, first["node"], run)
        if fault is lose_driver:
            run.wait()
            assert of_folds()[0]["state"] == "RUNNING", "the job lives on"
            run = start(slurm, folder, settings, {}, tables(name), "merflow.runtime.resume")
        output = finish(run, folder)
    finally:
        run.kill()
        if fault is lose_power:
            slurm.start_node(first["node"])
        if fault is set_down:
            slurm.call("scontrol", "update", f"nodename={first['node']}", "state=resume")
        slurm.wait(lambda: set(slurm.states().values()) == {"idle"}, 60)
    assert read(folder, name) == read(folder, "local")
    assert {file: file.stat().st_mtime_ns for file in done} == done and len(done) > 10
    jobs = slurm.jobs()[before:]
    if fault is lose_driver:
        assert f"waiting for SLURM jobs of the killed run: {first['id']} " in output
        assert [(group(job), job["state"]) for job in jobs] == [
            (name, "COMPLETED") for name in ("faces", "flow", "caches", "folds", "tables")
        ], "nothing is submitted twice"
        return
    assert [group(job) for job in jobs] == ["faces", "flow", "caches", "folds", "folds", "tables"]
    first, second = of_folds()
    assert (first["state"], second["state"]) == ("NODE_FAIL", "COMPLETED") and first["node"] != second["node"]


# --- The demo ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_demo_study_equals_a_local_run(slurm, tmp_path):
    folder = copy_repository(tmp_path)
    snakemake(folder, *tables("local", "demo"), config={"results": "local"})
    finish(start(slurm, folder, {"results": "results"}, {}), folder)
    assert read(folder, "results", "demo") == read(folder, "local", "demo")
    assert (folder / "results/demo/report.html").is_file()
