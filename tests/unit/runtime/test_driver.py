"""Jobs end with their driver, and a driver that runs in a folder is found."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from repository import REPO

from merflow.runtime import driver
from merflow.runtime.driver import RECORDS, VARIABLE, end_with_driver, register_driver, running_driver, start_time

DRIVER = """
import subprocess, sys
from pathlib import Path
from merflow.runtime.driver import register_driver
register_driver(Path(sys.argv[1]))
if len(sys.argv) > 2:
    job = subprocess.Popen([sys.executable, "-c", sys.argv[2]])
else:
    print("registered", flush=True)
sys.stdin.readline()
"""
JOB = """
import multiprocessing, os, sys, time
from types import SimpleNamespace
from merflow.runtime.script_context import script_context
{before}
with script_context(SimpleNamespace(rule="r", log=[], output=[], wildcards={{}})):
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    print(os.getpid(), worker.pid, flush=True)
    time.sleep(60)
"""
NO_PIDFD = "def refuse(*_): raise OSError('no such system call')\nos.pidfd_open = refuse"


@pytest.fixture
def start(tmp_path):
    """Start a driver in ``tmp_path``, with a job if its code is given; returns the process and what it prints."""
    drivers = []

    def begin(*code, **environment):
        command = [sys.executable, "-c", DRIVER, str(tmp_path), *code]
        environment = os.environ | {"PYTHONPATH": str(REPO)} | environment
        pipe = subprocess.PIPE
        drivers.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, process_group=0))
        return drivers[-1], drivers[-1].stdout.readline().split()

    yield begin
    for process in drivers:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended_after(processes, seconds=10.0):
    """Seconds until all processes have ended; fails after ``seconds``."""
    begin = time.monotonic()
    while any(start_time(process) for process in processes):
        assert time.monotonic() < begin + seconds
        time.sleep(0.01)
    return time.monotonic() - begin


@pytest.mark.parametrize("before", ["", NO_PIDFD])
def test_job_and_workers_end_with_killed_driver(start, before):
    process, jobs = start(JOB.format(before=before))
    assert len(jobs) == 2 and all(start_time(int(job)) for job in jobs)
    process.kill()  # Not waited for: a driver that is a zombie has ended too.
    assert ended_after([int(job) for job in jobs]) < 2


def test_job_without_driver_ends_before_it_writes(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        started = start_time(process.pid)
    environment = os.environ | {VARIABLE: f"{process.pid}-{started}-{socket.gethostname()}"}
    command = [sys.executable, "-c", JOB.format(before="")]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL and not done.stdout and "start" not in done.stderr


def test_job_outlives_driver_in_slurm(start):
    process, jobs = start(JOB.format(before=""), SLURM_JOB_ID="7")
    process.kill()
    process.wait()
    time.sleep(1)
    assert all(start_time(int(job)) for job in jobs)


def test_job_ignores_driver_of_another_host(monkeypatch):
    monkeypatch.setattr(driver, "_end", lambda: pytest.fail("ended"))
    for value in ("1-0-another-host", None):
        monkeypatch.setenv(VARIABLE, value) if value else monkeypatch.delenv(VARIABLE)
        end_with_driver()


def test_running_driver_is_found_until_it_ends(tmp_path, start):
    assert running_driver(tmp_path) == ""
    (first, _), (second, _) = start(), start()
    second.kill()
    second.wait()
    assert running_driver(tmp_path) == f"process {first.pid} on {socket.gethostname()}"
    first.communicate("\n")
    assert running_driver(tmp_path) == "" and not list((tmp_path / RECORDS).iterdir())


def test_process_id_that_is_used_again_is_no_driver(tmp_path):
    record = tmp_path / RECORDS / f"{os.getpid()}-0-{socket.gethostname()}"
    record.parent.mkdir(parents=True)
    record.touch()
    assert running_driver(tmp_path) == "" and not record.exists()


def test_driver_of_another_host_runs_while_folder_is_locked(tmp_path):
    record, lock = tmp_path / RECORDS / "12-34-node-7", tmp_path / ".snakemake/locks/0.input.lock"
    for file in (record, lock):
        file.parent.mkdir(parents=True)
        file.touch()
    assert running_driver(tmp_path) == "process 12 on node-7"
    lock.unlink()
    assert running_driver(tmp_path) == ""


def test_driver_in_read_only_folder_still_names_itself(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError("read-only")))
    register_driver(tmp_path)
    assert os.environ.pop(VARIABLE).startswith(f"{os.getpid()}-{start_time(os.getpid())}-")
