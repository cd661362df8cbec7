"""The context of a script: its log, and what it removes before the work."""

from types import SimpleNamespace

import pytest

from merflow.errors import InputError
from merflow.runtime.script_context import script_context


def rule(log, *outputs, subject="s1"):
    return SimpleNamespace(rule="r", log=[str(log)], output=list(map(str, outputs)), wildcards={"subject": subject})


def test_log_tells_start_and_end(tmp_path):
    with script_context(rule(tmp_path / "x.log")):
        pass
    lines = (tmp_path / "x.log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["INFO r: start subject=s1", "INFO r: done"]


def test_error_shows_the_name_of_a_person(tmp_path, capsys):
    with pytest.raises(SystemExit), script_context(rule(tmp_path / "x.log", subject="Zo%C3%AB%20M")):
        raise InputError("bad")
    assert capsys.readouterr().err == "merflow: r subject=Zoë M: bad\n"
    assert "start subject=Zoë M" in (tmp_path / "x.log").read_text()


def test_temporaries_of_killed_jobs_are_removed(tmp_path):
    output = tmp_path / "a [1].csv"
    stale, other = tmp_path / ".a [1].77.tmp.csv", tmp_path / ".b.77.tmp.csv"
    for file in (stale, other):
        file.write_text("half")
    with script_context(rule(tmp_path / "x.log", output)):
        assert not stale.exists() and other.exists()


def test_unexpected_error_is_raised_and_logged(tmp_path):
    with pytest.raises(ZeroDivisionError), script_context(rule(tmp_path / "x.log")):
        raise ZeroDivisionError
    text = (tmp_path / "x.log").read_text()
    assert "please report it\nTraceback" in text and "done" not in text
