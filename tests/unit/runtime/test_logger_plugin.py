"""The logger plugin of `make run` shows one line of progress and all errors."""

import importlib
import logging
import sys

import pytest
from repository import REPO
from snakemake_interface_logger_plugins.common import LogEvent


@pytest.fixture
def emit(monkeypatch, capsys):
    """Return a function that logs a record and returns what the plugin writes to stderr."""
    monkeypatch.syspath_prepend(str(REPO / "workflow" / "logger"))
    plugin = importlib.import_module("snakemake_logger_plugin_merflow")
    handler = plugin.LogHandler(None, None)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(plugin.time, "monotonic", lambda: handler.begin + next(clock))

    def emit(message, level=logging.INFO, **extra):
        record = logging.LogRecord("snakemake", level, "", 0, message, (), None)
        record.__dict__.update(extra)
        handler.emit(record)
        return capsys.readouterr().err

    return emit


def progress(emit, done):
    return emit(None, event=LogEvent.PROGRESS, done=done, total=20)


def test_line_has_jobs_done_time_left_and_job(emit, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert emit("", event=LogEvent.JOB_INFO, rule_msg="Align the faces of demo/s01", rule_name="align_faces") == ""
    progress(emit, 1)
    assert progress(emit, 2) == "\r\033[K2 of 20 jobs done, about 1:30 min left. Align the faces of demo/s01"


def test_few_lines_without_terminal(emit):
    lines = [progress(emit, done) for done in range(1, 9)]
    assert len(list(filter(None, lines))) == 1 and lines[4].startswith("5 of 20 jobs done")
    assert progress(emit, 20).startswith("20 of 20 jobs done")


def test_errors_are_shown_and_other_messages_are_not(emit):
    assert emit("Select jobs to execute...") == "" and emit("a warning", logging.WARNING) == ""
    assert emit("Error in rule align_faces", logging.ERROR) == "\nError in rule align_faces\n"
