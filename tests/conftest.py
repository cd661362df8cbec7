"""Options, order and shared fixtures of all tests."""

import os
from pathlib import Path

import pytest
from repository import REPO

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # As in jobs: threads of parallel workers would wait for each other.

FACES = Path(os.environ.get("MERFLOW_FACES", REPO.parent / "shared" / "faces"))
"""Photographs of real faces; they are kept beside the repository and never in it."""


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


LONGEST = (
    "/test_compare",
    "/test_conda.py",
    "/test_slurm.py",
    "/test_kills.py",
    "/test_demo",
    "/test_reruns.py",
    "/test_own",
)
"""Parallel runs start with these files, so that no worker ends with one of them alone."""


def rank(item) -> int:
    """Return the position of a test's file among the longest ones; the other files follow in their order."""
    return next((place for place, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST))


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):
        items.sort(key=rank)
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: runs in `make test-all`"))


@pytest.fixture(scope="session")
def faces_folder():
    if not FACES.is_dir():
        pytest.skip(f"no face photographs in {FACES}; MERFLOW_FACES names another folder")
    return FACES


@pytest.fixture(scope="session")
def cases_folder():
    folder = FACES.with_name("cases")
    if not folder.is_dir():
        pytest.skip(f"no cases of public reports in {folder}; they lie beside the photographs")
    return folder
