"""Resuming a killed run: refused while a driver runs, after its SLURM jobs, with the arguments of snakemake."""

import os
import sys
from types import SimpleNamespace

import pytest
from snakemake.cli import get_argument_parser

from merflow.runtime import resume
from merflow.runtime.driver import register_driver


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """The snakemake commands that would run, in ``tmp_path``; squeue runs for real and is absent at first."""
    run, seen = resume.subprocess.run, []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin-without-squeue")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(resume, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(
        resume.subprocess,
        "run",
        lambda command, **options: (
            run(command, **options) if command[0] == "squeue" else seen.append(command) or SimpleNamespace(returncode=0)
        ),
    )
    monkeypatch.setattr(resume.os, "execv", lambda program, command: seen.append(command))
    return seen


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A function that installs a squeue with this shell code."""

    def install(code):
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "squeue").write_text(f"#!/bin/sh\ncd '{tmp_path}'\n{code}\n")
        (tmp_path / "bin" / "squeue").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    return install


@pytest.mark.parametrize("arguments", [["--configfile", "m.yaml", "--", "predict"], ["predict", "--cores", "1"]])
def test_unlocks_then_becomes_the_command(commands, arguments):
    resume.main(arguments)
    unlock, command = commands
    assert command == [sys.executable, "-m", "snakemake", *arguments]
    parsed = get_argument_parser().parse_args(unlock[3:])
    assert parsed.unlock and set(parsed.targets) == {"predict"} and len(parsed.quiet) == 1


def test_stops_where_unlock_fails(commands, monkeypatch):
    monkeypatch.setattr(resume, "slurm_jobs", lambda folder: [])
    monkeypatch.setattr(resume.subprocess, "run", lambda command: SimpleNamespace(returncode=3))
    with pytest.raises(SystemExit) as stopped:
        resume.main([])
    assert stopped.value.code == 3 and not commands


@pytest.mark.parametrize("arguments", [[], ["--directory", "else where"], ["all", "-d", "else where"]])
def test_refuses_while_a_driver_runs(tmp_path, monkeypatch, commands, arguments):
    monkeypatch.setenv("MERFLOW_DRIVER", "")
    register_driver(tmp_path / "else where" if arguments else tmp_path)
    with pytest.raises(SystemExit, match=rf"another run is active in this folder \(process {os.getpid()} on "):
        resume.main(arguments)
    assert not commands


@pytest.mark.parametrize("arguments", [[], ["-d", "else where"]])
def test_waits_for_slurm_jobs_of_this_folder(tmp_path, monkeypatch, commands, squeue, capsys, arguments):
    """Jobs 9 and 10 are in the queue, then 10, then neither; 7 works elsewhere, and 8 is the job of this process."""
    squeue("echo x >>asked; echo 7 /elsewhere; echo 8 $PWD; tail -n +$(wc -l <asked) left")
    folder = tmp_path / "else where" if arguments else tmp_path
    (tmp_path / "left").write_text(f"9 {folder}\n10_[1-3] {folder}\n")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    resume.main(arguments)
    out = capsys.readouterr().out
    assert "killed run: 9 10_[1-3] (or scancel 9 10_[1-3])" in out and "killed run: 10_[1-3] (" in out
    assert (tmp_path / "asked").read_text().count("x") == 3 and len(commands) == 2


@pytest.mark.parametrize("code", ["echo no controller >&2; exit 1", None])
def test_refuses_where_squeue_fails_after_slurm_runs(tmp_path, commands, squeue, code):
    if code:
        squeue(code)
    resume.main([])
    assert len(commands) == 2, "no run here has used SLURM"
    (tmp_path / ".snakemake" / "slurm_logs").mkdir(parents=True)
    with pytest.raises(SystemExit, match="squeue failed: .*(no controller|No such file).*; resume where it works"):
        resume.main([])
    assert len(commands) == 2
