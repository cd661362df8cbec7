"""A run that is killed at random moments and resumed has the same bits as an undisturbed one."""

import base64
import os
import random
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import people
import psutil
import pytest
from repository import copy_repository, snakemake

pytestmark = pytest.mark.slow
MOMENTS = 20
KEPT = {".csv", ".h5", ".safetensors", ".svg", ".json", ".html"}
"""Suffixes of the files that are compared; logs and benchmarks contain times."""
TIMES = re.compile(rb"(?s)<section id=\"timings\".*?</section>|\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?")


def repository(folder: Path) -> Path:
    """Copy the repository so that trainings write a checkpoint after every epoch, not after half a minute."""
    folder = copy_repository(folder)
    file = folder / "merflow" / "learning" / "checkpoints.py"
    text = file.read_text()
    assert "INTERVAL = 30.0" in text
    file.write_text(text.replace("INTERVAL = 30.0", "INTERVAL = 0.0"))
    return folder


def settings(folder: Path) -> dict:
    network = {"side": 28, "width": 8, "epochs": 300, "patience": 300, "epoch_choice": "validation"}
    experiments = {
        "tsdgcn": {"system": "tsdgcn", "macro": "posed", "micro": "people"},
        "msjfn": {"system": "msjfn", "micro": "people", "network": network},
    }
    return people.config(folder, experiments=experiments, floors=["majority", "softmax"])


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("footage")
    people.draw(folder / "people", "micro", 3, 2)
    people.draw(folder / "posed", "macro", 2, 0)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    results = folder / "results"
    return {
        str(file.relative_to(results)): TIMES.sub(b"", file.read_bytes())
        for file in sorted(results.rglob("*"))
        if file.suffix in KEPT and file.relative_to(results).parts[0] not in ("logs", "benchmarks")
    }


def finished(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return inode and time of the outputs of all jobs that Snakemake has recorded as finished."""
    incomplete = set()
    for mark in (folder / ".snakemake" / "incomplete").rglob("*"):
        if mark.is_file() and mark.name != "migration_underway":
            incomplete.add(
                base64.urlsafe_b64decode("".join(mark.relative_to(folder / ".snakemake/incomplete").parts)).decode()
            )
    states = {}
    for mark in (folder / ".snakemake" / "metadata").rglob("*"):
        if mark.is_file():
            name = "".join(part.lstrip("@") for part in mark.relative_to(folder / ".snakemake/metadata").parts)
            output = base64.urlsafe_b64decode(name).decode()
            if output not in incomplete and (folder / output).is_file():
                state = (folder / output).stat()
                states[folder / output] = state.st_ino, state.st_mtime_ns
    return states


def processes(folder: Path) -> list[psutil.Process]:
    """Return the processes that work in the folder."""
    working = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # It may have ended, or is another user's.
            if process.cwd() == str(folder) and process.pid != os.getpid():
                working.append(process)
    return working


def jobs(folder: Path, run: subprocess.Popen) -> tuple[set[int], set[int]]:
    """Return the jobs of a run and those of other runs; jobs are processes that have their log open."""
    of_run, others = set(), set()
    for process in processes(folder):
        with suppress(psutil.Error):
            if any(file.path.startswith(f"{folder}/results/logs/") for file in process.open_files()):
                ancestors = {parent.pid for parent in process.parents()}
                (of_run if run.pid in ancestors else others).add(process.pid)
    return of_run, others


def begin(folder: Path, log, *command: str) -> subprocess.Popen:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True, env=environment)


def kill(run: subprocess.Popen, folder: Path, everything: bool) -> None:
    """Send SIGKILL to the driver, or to all processes that work in the folder."""
    for process in processes(folder) if everything else [psutil.Process(run.pid)]:
        with suppress(psutil.Error):
            process.kill()
    run.wait()


def seconds_until_ended(run: subprocess.Popen, folder: Path) -> float:
    """Wait until no job of an earlier run is left; no job of ``run`` may start before."""
    begun = time.monotonic()
    while True:
        of_run, others = jobs(folder, run)
        if not others:
            return time.monotonic() - begun
        assert not of_run, "jobs of two runs work at once"
        assert time.monotonic() < begun + 10


def test_results_after_twenty_kills_equal_an_undisturbed_run(tmp_path, footage):
    """Every other kill is of the driver alone. A study that has ended starts again in a new folder."""
    undisturbed, config = repository(tmp_path / "undisturbed"), settings(footage)
    start = time.monotonic()
    snakemake(undisturbed, config=config)
    duration, expected = time.monotonic() - start, contents(undisturbed)
    assert len(expected) > 50
    random_moments, kills, rounds, met, continued, longest = random.Random(7), 0, 0, 0, 0, 0.0
    arguments = ["--cores", "2", "--no-hooks", "--configfile", "overlay.yaml"]
    while kills < MOMENTS:
        rounds += 1
        folder = repository(tmp_path / f"killed {rounds}")
        (folder / "overlay.yaml").write_bytes((undisturbed / "overlay.yaml").read_bytes())
        module, finished_before = "snakemake", {}
        with open(folder / "log", "w") as log:
            while True:
                run = begin(folder, log, sys.executable, "-m", module, *arguments)
                longest = max(longest, seconds_until_ended(run, folder))
                try:
                    run.wait(random_moments.uniform(0.1, 0.4) * duration if kills < MOMENTS else None)
                    break
                except subprocess.TimeoutExpired:
                    driver_alone = kills % 2
                    met += bool(driver_alone and jobs(folder, run)[0])
                    kill(run, folder, everything=not driver_alone)
                    kills += 1
                module, now = "merflow.runtime.resume", finished(folder)
                assert not [file for file, state in finished_before.items() if now.get(file) != state], (
                    f"again: kill {kills}"
                )
                finished_before = now
        printed = (folder / "log").read_text()
        assert run.returncode == 0, printed[-6000:]
        now = finished(folder)
        assert not [file for file, state in finished_before.items() if now.get(file) != state], "done again at the end"
        results, resumed = folder / "results", contents(folder)
        assert expected.keys() == resumed.keys()
        assert [name for name in expected if expected[name] != resumed[name]] == []
        assert not [file for end in (".*.tmp*", "checkpoints") for file in results.rglob(end)]
        continued += sum("from its checkpoint" in file.read_text() for file in (results / "logs").rglob("*.log"))
        print(
            f"round {rounds}: {kills} kills so far, undisturbed {duration:.0f} s, {len(finished_before)} outputs before"
        )
    print(f"{kills} kills: {met} of the driver alone with jobs at work, which ended within {longest:.2f} s; ", end="")
    print(f"{continued} trainings went on from a checkpoint")
    assert met and continued, "the kills did not meet jobs at work"
