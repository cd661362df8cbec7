"""A run that is killed at random moments ends, after the same command, with the bits of one that was left alone."""

import base64
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import people
import pytest
import yaml
from repository import copy_repository, snakemake

pytestmark = pytest.mark.slow
MOMENTS = 20
KEPT = {".csv", ".h5", ".safetensors", ".svg", ".json", ".html"}
"""Kinds of files that are compared; logs and benchmarks tell of time."""
TIMES = re.compile(rb"(?s)<section id=\"timings\".*?</section>|\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?")


def repository(folder: Path) -> Path:
    """A copy whose trainings leave a checkpoint after every epoch: half a minute is longer than the whole study."""
    folder = copy_repository(folder)
    file = folder / "merflow" / "checkpoints.py"
    text = file.read_text()
    assert "EVERY = 30.0" in text
    file.write_text(text.replace("EVERY = 30.0", "EVERY = 0.0"))
    return folder


def settings(folder: Path) -> dict:
    network = {"side": 28, "width": 8, "epochs": 300, "patience": 300, "refit": False}
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
    """Outputs of the jobs that Snakemake knows to be finished, as they lie on the disk."""
    half = set()
    for mark in (folder / ".snakemake" / "incomplete").rglob("*"):
        if mark.is_file() and mark.name != "migration_underway":
            half.add(
                base64.urlsafe_b64decode("".join(mark.relative_to(folder / ".snakemake/incomplete").parts)).decode()
            )
    states = {}
    for mark in (folder / ".snakemake" / "metadata").rglob("*"):
        if mark.is_file():
            name = "".join(part.lstrip("@") for part in mark.relative_to(folder / ".snakemake/metadata").parts)
            output = base64.urlsafe_b64decode(name).decode()
            if output not in half and (folder / output).is_file():
                state = (folder / output).stat()
                states[folder / output] = state.st_ino, state.st_mtime_ns
    return states


def processes(folder: Path) -> list[int]:
    """Processes at work in the folder: drivers and jobs."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")) == folder and int(entry.name) != os.getpid():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def begin(folder: Path, log, *command: str) -> subprocess.Popen:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True, env=environment)


def record(folder: Path) -> bool:
    """Whether a killed run has left its record: without one it was killed before its first job, and left no lock."""
    return bool(list((folder / ".snakemake" / "merflow-runs").glob("*.json")))


def kill(run: subprocess.Popen, folder: Path, whole: bool) -> None:
    """SIGKILL to the driver, or to all that is at work in the folder."""
    for process in processes(folder) if whole else [run.pid]:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    run.wait()


def test_killed_at_twenty_moments_it_ends_as_if_left_alone(tmp_path, footage):
    """Every other time the driver alone is killed, and its jobs live on. A study that ends is begun anew elsewhere."""
    alone, config = repository(tmp_path / "alone"), settings(footage)
    start = time.monotonic()
    snakemake(alone, config=config)
    whole, expected = time.monotonic() - start, contents(alone)
    assert len(expected) > 50
    chance, kills, rounds, waited, taken, went_on = random.Random(7), 0, 0, 0, 0, 0
    while kills < MOMENTS:
        rounds += 1
        folder = repository(tmp_path / f"killed {rounds}")
        (folder / "overlay.yaml").write_bytes((alone / "overlay.yaml").read_bytes())
        typed = [sys.executable, "-m", "snakemake", "--cores", "2", "--no-hooks", "--configfile", "overlay.yaml"]
        known: dict = {}
        with open(folder / "log", "w") as log:
            while True:
                command = [sys.executable, "-m", "merflow.runtime.resume"] if record(folder) else typed
                run = begin(folder, log, *command)
                try:
                    run.wait(chance.uniform(0.1, 0.4) * whole if kills < MOMENTS else None)
                    break
                except subprocess.TimeoutExpired:
                    kill(run, folder, whole=kills % 2 == 0)
                    kills += 1
                now = finished(folder)
                assert not [file for file, state in known.items() if now.get(file) != state], f"again: kill {kills}"
                known = now
        said = (folder / "log").read_text()
        assert run.returncode == 0, said[-6000:]
        now = finished(folder)
        assert not [file for file, state in known.items() if now.get(file) != state], "done again at the end"
        found = contents(folder)
        assert expected.keys() == found.keys()
        assert [name for name in expected if expected[name] != found[name]] == []
        results = folder / "results"
        assert not [file for end in ("*.claim", ".*.tmp*", "checkpoints") for file in results.rglob(end)]
        waited += said.count("merflow: waiting for process")
        taken += said.count("done by a job of the killed run")
        went_on += sum("from its checkpoint" in file.read_text() for file in (results / "logs").rglob("*.log"))
        print(f"round {rounds}: {kills} kills so far, alone {whole:.0f} s, {len(known)} outputs were known")
    print(f"{kills} kills: {waited} jobs waited, {taken} had nothing left to do, {went_on} trainings went on")
    assert waited and went_on, "the kills did not meet jobs at work"


def test_what_ended_after_its_driver_was_killed_is_not_done_again(tmp_path, footage):
    """Snakemake did not see it end, and removes its outputs before it plans it again."""
    folder = copy_repository(tmp_path)
    (folder / "overlay.yaml").write_text(yaml.safe_dump(settings(footage)))
    with open(folder / "log", "w") as log:
        run = begin(
            folder, log, sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "overlay.yaml", "--", "all"
        )
        while not list((folder / "results").rglob("*.claim")):
            assert run.poll() is None
            time.sleep(0.02)
        kill(run, folder, whole=False)
        while processes(folder):
            time.sleep(0.1)
    left = [claim.with_suffix(".log").read_text() for claim in (folder / "results").rglob("*.claim")]
    assert left and all(text.rstrip().endswith("done") for text in left), "the jobs did not outlive their driver"
    done = subprocess.run([sys.executable, "-m", "merflow.runtime.resume"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("done by a job of the killed run") == len(left)
    assert not [file for end in ("*.claim", "*.kept") for file in (folder / "results").rglob(end)]
    assert (folder / "results/mine/report.html").is_file()


def test_the_lock_of_a_killed_run_is_met_by_the_one_command_to_type(tmp_path, footage):
    folder = copy_repository(tmp_path)
    config = settings(footage)
    (folder / "overlay.yaml").write_text(yaml.safe_dump(config))
    with open(folder / "log", "w") as log:
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "overlay.yaml"]
        run = begin(folder, log, *command)
        while not list((folder / "results").rglob("*.claim")):
            assert run.poll() is None
            time.sleep(0.05)
        busy = snakemake(folder, config=config, ok=False)
        assert busy.returncode and f"process {run.pid} on" in busy.stderr and "Wait for it" in busy.stderr
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    told = snakemake(folder, config=config, ok=False)
    assert (
        told.returncode
        and "was killed and left its lock" in told.stderr
        and told.stderr.count(f"\n\n    {sys.executable} -m merflow.runtime.resume\n")
        == 1  # `make resume` with its own .venv
    )
    assert "--configfile overlay.yaml" in told.stderr and "LockException" not in told.stderr
    done = subprocess.run([sys.executable, "-m", "merflow.runtime.resume"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / "results/mine/report.html").is_file()
    again = subprocess.run([sys.executable, "-m", "merflow.runtime.resume"], cwd=folder, capture_output=True, text=True)
    assert again.returncode == 1 and "no killed run" in again.stderr
