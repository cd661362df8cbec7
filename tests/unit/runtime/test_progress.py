"""The terminal shows one line of progress, messages of the run and all errors."""

import logging
import os
import pty
import subprocess
import sys

import pytest
from repository import REPO
from snakemake_interface_logger_plugins.common import LogEvent

from merflow.runtime import progress as module

SNAKEFILE = """
from snakemake.logging import logger
from merflow.runtime.progress import plain_names, show_progress_line

rule all:
    output: "done"
    input: "a.txt", "Zo%C3%AB.txt"
    message: "Gather"
    shell: "touch {output}"

rule part:
    output: "{name}.txt"
    message: "Make {wildcards.name}"
    shell: "touch {output}"

logger.addFilter(plain_names)
show_progress_line(logger, lambda: workflow.dryrun)
"""


@pytest.fixture
def emit(monkeypatch, capsys):
    """Return a function that logs a record and returns what is written to stderr."""
    line = module.ProgressLine(logging.NullHandler(), lambda: False)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: line.begin + next(clock))

    def emit(message, level=logging.INFO, **extra):
        record = logging.LogRecord("snakemake", level, "", 0, message, (), None)
        record.__dict__.update(extra)
        line.emit(record)
        return capsys.readouterr().err

    return emit


def progress(emit, done):
    return emit(None, event=LogEvent.PROGRESS, done=done, total=20)


def test_line_has_jobs_done_time_left_and_job(emit, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert emit("", event=LogEvent.JOB_INFO, rule_msg="Align the faces of demo/Zoë", rule_name="align_faces") == ""
    progress(emit, 1)
    assert progress(emit, 2) == "\r\033[K2 of 20 jobs done, about 1:30 min left. Align the faces of demo/Zoë"


def test_few_lines_without_terminal(emit):
    lines = [progress(emit, done) for done in range(1, 9)]
    assert len(list(filter(None, lines))) == 1 and lines[4].startswith("5 of 20 jobs done")
    assert progress(emit, 20).startswith("20 of 20 jobs done")


def test_messages_and_errors_are_shown_and_jobs_are_not(emit):
    assert emit("Select jobs to execute...") == "" and emit("job 3", event=LogEvent.JOB_FINISHED) == ""
    assert emit("Nothing to be done") == "Nothing to be done\n"
    assert emit("rule failed", logging.ERROR, event=LogEvent.JOB_ERROR) == "rule failed\n"


def run_in_terminal(folder, *arguments):
    """Run Snakemake with a terminal, and return what that shows."""
    (folder / "Snakefile").write_text(SNAKEFILE)
    here, there = pty.openpty()
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    process = subprocess.Popen(command, cwd=folder, stderr=there, env=os.environ | {"PYTHONPATH": str(REPO)})
    os.close(there)
    shown = b""
    try:
        while part := os.read(here, 1 << 16):
            shown += part
    except OSError:  # Linux reports the end of a terminal as an error.
        pass
    assert process.wait() == 0, shown
    return shown.decode()


def test_snakemake_shows_one_line_in_a_terminal(tmp_path):
    shown = run_in_terminal(tmp_path)
    assert [f"\r\033[K{done} of 3 jobs done" in shown for done in (1, 2, 3)] == [True] * 3
    assert "Gather" in shown and "jobid" not in shown and "rule part" not in shown
    assert "Nothing to be done" in run_in_terminal(tmp_path)


@pytest.mark.parametrize("line", [{}, {module.VARIABLE: "1"}], ids=["plain", "line"])
def test_dry_run_shows_jobs_with_names_of_people(tmp_path, line):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run"]
    environment = {name: value for name, value in os.environ.items() if name != module.VARIABLE}
    environment |= {"PYTHONPATH": str(REPO)} | line
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "Make Zoë" in run.stdout + run.stderr, run.stderr
