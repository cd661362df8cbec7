"""Records of runs: which are at work, which were killed, and what a lock means."""

import json
import logging
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from repository import REPO
from snakemake.common import NOTHING_TO_BE_DONE_MSG

from merflow.runtime import resume
from merflow.runtime.runs import BEFORE_LOCK, Run, Watcher, explain_lock, how_to_resume, record_run, runs, watch_drivers

RUN = """
import sys, time
from pathlib import Path
from merflow.runtime.runs import forget_killed, record_run
sys.argv = ["snakemake", "--cores", "2", *sys.argv[2:]] if len(sys.argv) > 2 else ["snakemake", "--cores", "2"]
add = record_run(Path(FOLDER), TYPED)
for number in forget_killed(Path(FOLDER), TYPED):
    add(number)
print("at work", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def start(tmp_path):
    begun = []

    def begin(*arguments):
        code = RUN.replace("FOLDER", repr(str(tmp_path / "runs"))).replace("TYPED", repr(str(tmp_path)))
        run = subprocess.Popen(
            [sys.executable, "-c", code, "x", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPO,
        )
        begun.append(run)
        assert run.stdout.readline() == "at work\n"
        return run

    yield begin
    for run in begun:
        run.kill()
        run.communicate()


def kill(run):
    run.kill()
    run.wait()


def test_a_run_at_work_is_told_from_a_killed_one(tmp_path, start):
    folder = tmp_path / "runs"
    assert runs(folder) == ([], [])
    first, second = start(), start("--configfile", "my study.yaml")
    assert [run.process for run, _ in runs(folder)[0]] == [first.pid, second.pid] and not runs(folder)[1]
    kill(second)
    alive, killed = runs(folder)
    assert [run.process for run, _ in alive] == [first.pid]
    assert [run.command for run, _ in killed] == ["snakemake --cores 2 --configfile 'my study.yaml'"]
    first.communicate("\n")
    assert first.returncode == 0 and not runs(folder)[0], "a run that ends by itself takes its record away"


def test_a_run_that_has_the_lock_takes_the_records_of_killed_ones_away(tmp_path, start):
    """Whatever their commands: they are not what was killed last. One of another machine may be at work there."""
    for arguments in ((), (), ("other",)):
        kill(start(*arguments))
    ((run, file),) = runs(tmp_path / "runs")[1]
    assert run.arguments == ["--cores", "2", "other"]
    file.write_text(file.read_text().replace(socket.gethostname(), "node7") + "5\n")
    kill(start())
    assert [run.host for run, _ in runs(tmp_path / "runs")[1]] == ["node7", socket.gethostname()]
    kill(start("other"))
    ((run, _),) = runs(tmp_path / "runs")[1]
    assert run.host != "node7" and run.slurm == ("5",), "what it has sent is not forgotten"


def test_a_job_tells_whether_its_driver_is_gone(tmp_path, start):
    """Another run may be at work by then; where no run had a record when the job began, nothing can be told."""
    folder = tmp_path / "runs"
    never = watch_drivers(folder)
    driver = start()
    gone = watch_drivers(folder)
    assert not gone() and not never()
    kill(driver)
    assert gone() and not never()
    start()
    assert gone() and not watch_drivers(folder)()


def test_the_number_of_a_killed_process_may_come_again(tmp_path, monkeypatch, start):
    """After a reboot, or in a container, another run may have it: the record with the SLURM jobs stays."""
    kill(start("other"))
    first = runs(tmp_path / "runs")[1][0][0]
    monkeypatch.setattr("merflow.runtime.runs.os.getpid", lambda: first.process)
    record_run(tmp_path / "runs", str(tmp_path))
    alive, killed = runs(tmp_path / "runs")
    assert [run.process for run, _ in alive] == [first.process] and [run for run, _ in killed] == [first]


def test_records_that_are_cut_off_say_nothing(tmp_path, start):
    kill(start())
    (tmp_path / "runs" / "a-1.json").write_text('{"arguments": [')
    (tmp_path / "runs" / "a-2.json").write_text("{}")
    assert len(runs(tmp_path / "runs")[1]) == 1


def test_a_lock_is_explained_by_what_is_there(tmp_path, start):
    folder = tmp_path / "runs"
    nobody = explain_lock(folder, "make resume")
    assert "snakemake --unlock" in nobody and "make resume" not in nobody
    run = start()
    busy = explain_lock(folder, "make resume")
    assert f"process {run.pid} on" in busy and "Wait for it" in busy and "make resume" not in busy
    kill(run)
    dead = explain_lock(folder, "make resume")
    assert "`snakemake --cores 2`, begun 20" in dead and dead.endswith("type\n\n    make resume\n")


def test_the_watcher_replaces_the_words_of_a_lock_and_records_real_runs_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorded = []
    monkeypatch.setattr("merflow.runtime.runs.record_run", lambda *where: recorded.append(where) or str)

    def passed(text, event=None, real=True, watcher=None):
        record = logging.LogRecord("snakemake", logging.INFO, "", 0, text, (), None)
        record.event = event and SimpleNamespace(name=event)
        assert (watcher or Watcher("/typed", "make resume", lambda: real)).filter(record)
        return record.getMessage()

    assert passed("LockException:\nError: Directory cannot be locked. Please make").startswith(
        "merflow: a run was killed"
    )
    assert passed("Error: Directory cannot be locked.", real=False).startswith("Error"), "a dry run takes no lock"
    assert passed("Select jobs to execute...") == "Select jobs to execute..."
    passed(BEFORE_LOCK, real=False)
    assert not recorded
    watcher = Watcher("/typed", "make resume", lambda: True)
    for _ in range(2):
        passed(BEFORE_LOCK, watcher=watcher)
    assert [str(typed) for _, typed in recorded] == ["/typed"]


@pytest.mark.parametrize("said", [("Job stats", "RUN_INFO"), (NOTHING_TO_BE_DONE_MSG, None)])
def test_who_finds_the_folder_locked_leaves_the_record_of_the_killed_run(tmp_path, monkeypatch, start, said):
    """The command typed again is recorded before it meets the lock; only with the lock in hand does it take over."""
    kill(start())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("merflow.runtime.runs.FOLDER", tmp_path / "runs")
    monkeypatch.setattr(sys, "argv", ["snakemake", "--cores", "2"])
    watcher = Watcher(str(tmp_path), "make resume", lambda: True)

    def log(text, event=None):
        record = logging.LogRecord("snakemake", logging.INFO, "", 0, text, (), None)
        record.event = event and SimpleNamespace(name=event)
        watcher.filter(record)
        return record.getMessage()

    log(BEFORE_LOCK)
    alive, killed = runs(tmp_path / "runs")
    assert [run.process for run, _ in alive] == [os.getpid()] and len(killed) == 1
    assert "was killed" in log("Error: Directory cannot be locked.")
    log(*said)
    assert not runs(tmp_path / "runs")[1]


def test_nothing_is_resumed_where_nothing_was_killed(tmp_path, monkeypatch, start, capsys):
    monkeypatch.setattr(resume, "FOLDER", "runs")
    assert resume.main([str(tmp_path)]) == 1 and "no killed run" in capsys.readouterr().err
    run = start()
    assert resume.main([str(tmp_path)]) == 1 and "still at work" in capsys.readouterr().err
    kill(run)
    typed = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        resume.subprocess, "run", lambda command, cwd: typed.append((command[3:], cwd)) or SimpleNamespace(returncode=0)
    )
    monkeypatch.setattr(resume.os, "execv", lambda program, command: typed.append((command[3:], os.getcwd())))
    resume.main([str(tmp_path)])
    own = ["--cores", "2"]
    assert typed == [(["--unlock", "--quiet=all", *own], str(tmp_path)), (own, str(tmp_path))]


def test_the_flags_that_unlock_stand_before_targets(tmp_path, monkeypatch):
    """After ``--`` Snakemake takes everything for a target; ``--quiet all`` would take the first target."""
    from snakemake.cli import get_argument_parser

    for own in (["--configfile", "m.yaml", "--", "predict"], ["predict", "--cores", "1"]):
        typed = []
        killed = Run(own, str(tmp_path), "", 1, socket.gethostname())
        monkeypatch.setattr(resume, "runs", lambda folder, killed=killed: ([], [(killed, None)]))
        unlock = lambda command, cwd, typed=typed: typed.append(command) or SimpleNamespace(returncode=1)  # noqa: E731
        monkeypatch.setattr(resume.subprocess, "run", unlock)
        resume.main([str(tmp_path)])
        read = get_argument_parser().parse_args(typed[0][3:])
        assert read.unlock and set(read.targets) == {"predict"} and len(read.quiet) == 1


@pytest.fixture
def sent(tmp_path, monkeypatch):
    """A killed run that has sent jobs 8, 9 and 10 to SLURM, and what was typed to go on with it."""
    typed = []
    real = subprocess.run
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resume, "FOLDER", "runs")
    monkeypatch.setattr(resume, "ASK_EVERY_S", 0.01)
    monkeypatch.setattr(
        resume.subprocess,
        "run",
        lambda command, **more: (
            real(command, **more) if command[0] == "squeue" else typed.append(command) or SimpleNamespace(returncode=0)
        ),
    )
    monkeypatch.setattr(resume.os, "execv", lambda program, command: typed.append(command))
    code = (
        "import logging, os, signal, sys; from merflow.runtime.runs import BEFORE_LOCK, Watcher; "
        "from merflow.runtime import runs\n"
        f"from pathlib import Path; runs.FOLDER = Path({str(tmp_path / 'runs')!r}); sys.argv = ['snakemake']\n"
        f"watcher = Watcher({str(tmp_path)!r}, 'make resume', lambda: True)\n"
        "for text in (BEFORE_LOCK, *(f'Job x has been submitted with SLURM jobid {n} (log)' for n in (8, 9, 10))):\n"
        "    watcher.filter(logging.LogRecord('snakemake', logging.INFO, '', 0, text, (), None))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.Popen([sys.executable, "-c", code], cwd=REPO).wait()
    return typed


def squeue(folder, monkeypatch, text):
    (folder / "bin").mkdir()
    (folder / "bin" / "squeue").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "bin" / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


@pytest.mark.parametrize("again", [False, True])
def test_jobs_that_a_killed_run_has_left_on_slurm_are_waited_for(tmp_path, monkeypatch, sent, capfd, again):
    """9 and 10 are in the queue, then 10, then none of them; 7 is somebody else's. ``again``: killed while planning."""
    if again:
        about = asdict(Run(["--cores", "2"], str(tmp_path), "9999-01-01", 7, socket.gethostname()))
        (tmp_path / "runs" / "again.json").write_text(json.dumps({k: v for k, v in about.items() if k != "slurm"}))
    squeue(tmp_path, monkeypatch, f"cd {tmp_path}; echo x >>asked; echo 7; tail -n +$(wc -l <asked) left")
    (tmp_path / "left").write_text("9\n10\n")
    resume.main([str(tmp_path)])
    out = capfd.readouterr().out
    assert "are waited for: 9 10 (to stop them instead: scancel 9 10)" in out and "are waited for: 10 (" in out
    assert (tmp_path / "asked").read_text().count("x") == 3 and len(sent) == 2


@pytest.mark.parametrize("text", ["echo no controller >&2; exit 1", None])
def test_nothing_is_sent_where_slurm_does_not_say_what_is_at_work(tmp_path, monkeypatch, sent, capfd, text):
    if text:
        squeue(tmp_path, monkeypatch, text)
    else:
        monkeypatch.setenv("PATH", "")
    assert resume.main([str(tmp_path)]) == 1 and not sent
    assert ("no controller" if text else "No such file") in capfd.readouterr().err
    resume.main([str(tmp_path), "--gone"])
    assert len(sent) == 2


def test_jobs_on_slurm_outlive_a_machine_that_is_gone(tmp_path, monkeypatch, sent, capfd):
    squeue(tmp_path, monkeypatch, f"cd {tmp_path}; cat left; rm -f left")
    (tmp_path / "left").write_text("9\n")
    resume.main([str(tmp_path), "--gone"])
    assert "are waited for: 9 (" in capfd.readouterr().out and len(sent) == 2


def test_a_file_system_without_locks_has_no_records(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("merflow.runtime.runs.fcntl.flock", refuse)
    record_run(tmp_path / "runs", str(tmp_path))
    assert not list((tmp_path / "runs").iterdir())


def test_the_command_that_resumes_runs_with_this_python_wherever_it_is_typed(tmp_path, monkeypatch):
    place, other = tmp_path / "my clone", tmp_path / "else where"
    monkeypatch.setattr(sys, "prefix", str(place / ".venv"))
    assert how_to_resume(place, place) == "make resume"
    from_elsewhere = how_to_resume(place, other)
    monkeypatch.setattr(sys, "prefix", "/opt/conda/envs/merflow")
    assert how_to_resume(place, place) == f"{sys.executable} -m merflow.runtime.resume"
    other.mkdir()
    command = how_to_resume(REPO, other)
    assert from_elsewhere.startswith(f"cd '{place}' && ") and command.startswith(f"cd {REPO} && ")
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and f"no killed run in {other}" in done.stderr


def test_a_killed_run_of_another_machine_is_looked_for_there(tmp_path, start):
    kill(start())
    (file,) = (tmp_path / "runs").glob("*.json")
    file.write_text(file.read_text().replace(socket.gethostname(), "node7"))
    told = explain_lock(tmp_path / "runs", "make resume")
    assert "It ran on node7" in told and "type on node7\n\n    make resume\n" in told and "was killed" not in told
    assert "make resume GONE=1" in told


def test_a_run_of_another_machine_is_resumed_only_where_it_is_known_to_be_gone(tmp_path, monkeypatch, start, capsys):
    """Locks of the kernel may not be seen from another machine, so that it may well be at work."""
    kill(start())
    (file,) = (tmp_path / "runs").glob("*.json")
    file.write_text(file.read_text().replace(socket.gethostname(), "node7"))
    monkeypatch.setattr(resume, "FOLDER", "runs")
    typed = []
    monkeypatch.setattr(
        resume.subprocess, "run", lambda *given, **more: typed.append(given) or SimpleNamespace(returncode=1)
    )
    assert resume.main([str(tmp_path)]) == 1 and not typed
    assert "Type this on node7" in capsys.readouterr().err
    typed.clear()
    about = asdict(Run(["--cores", "2"], str(tmp_path), "9999-01-01", 7, socket.gethostname()))
    later = tmp_path / "runs" / "later.json"  # Killed here before it had the lock: the other run may still have it.
    later.write_text(json.dumps({k: v for k, v in about.items() if k != "slurm"}))
    assert resume.main([str(tmp_path)]) == 1 and not typed
    assert "Type this on node7" in capsys.readouterr().err
    later.unlink()
    resume.main(["--gone", str(tmp_path)])
    assert len(typed) == 1
