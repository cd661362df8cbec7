"""Finished studies that several files of tests read: each is made once, by the worker that needs it first."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from demo_study import run_demo


def make_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder ``name``, which ``make`` fills; other workers of pytest-xdist wait and then read it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            make(folder)
            (folder / "finished").touch()
    if not (folder / "finished").exists():
        pytest.fail(f"the study in {folder} could not be made; the first test that needs it says why")
    return folder


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The finished demo study. Tests must not change it; a copy of the folder is a finished study too."""

    def make(folder):
        done = run_demo(folder)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        (folder / "printed.txt").write_text(done.stdout)

    return make_once(tmp_path_factory, "demo", make)
