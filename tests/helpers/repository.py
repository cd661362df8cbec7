"""The repository, copies of it, and Snakemake runs in them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

REPO = Path(__file__).parents[2]


def yaml_blocks(page: str) -> list[dict]:
    """The blocks of YAML of a page of the documentation."""
    text = (REPO / "docs" / page).read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


def copy_repository(target: Path) -> Path:
    """Copy what the workflow needs to ``target``, so that a test can change it; returns ``target``."""
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
    """Return the messages of the jobs that a dry run plans, such as "Align the faces of people/s1"."""
    done = snakemake(folder, "-n", config=config)
    return set(re.findall(r"^Job \d+: (.*)$", done.stdout + done.stderr, re.MULTILINE))
