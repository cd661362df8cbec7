"""What all tests share: where things are, how a workflow is run, which tests are slow."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # As in jobs; on busy cores threads wait for each other.

REPO = Path(__file__).parents[1]
FACES = Path(os.environ.get("MERFLOW_FACES", REPO.parent / "shared" / "faces"))
"""Real photographs, kept beside the repository and never in it."""


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


LONGEST = ("/test_conda.py", "/test_slurm.py", "/test_kills.py", "/test_demo_study.py", "/test_reruns.py", "/test_own")
"""Where tests are shared out, these begin, so that no worker ends with one of them alone."""


def rank(item) -> int:
    """Place of a test among the files that last longest; the others come after, in their order."""
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
        pytest.skip(f"no real face photographs in {FACES}; MERFLOW_FACES names another folder")
    return FACES


def copy_repository(target: Path) -> Path:
    """A copy of what the workflow needs, so that a test can change a library module."""
    for name in ("merflow", "workflow", "envs", "profiles"):
        shutil.copytree(REPO / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(REPO / name, target / name)
    return target


def snakemake(folder: Path, *arguments: str, config: dict | None = None, cores: int = 2, ok: bool = True):
    """Run Snakemake in ``folder`` (a copy of the repository), with ``config`` laid over config.yaml."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--no-hooks", *arguments]
    if config is not None:
        overlay = folder / "overlay.yaml"
        overlay.write_text(yaml.safe_dump(config))
        command += ["--configfile", str(overlay)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    if ok:
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-12000:]
    return done


def planned(folder: Path, config: dict) -> set[str]:
    """What a dry run would do: the messages of its jobs, such as "Align the faces of people/s1"."""
    done = snakemake(folder, "-n", config=config)
    return set(re.findall(r"^Job \d+: (.*)$", done.stdout + done.stderr, re.MULTILINE))
