"""What the benchmarks share: studies run by Snakemake in a folder, and the figures as lines or as JSON."""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))


class Run(NamedTuple):
    """What a Snakemake command printed and cost."""

    output: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


def write_study(folder: Path, overlay: Mapping[str, Any]) -> None:
    """Write the configuration of the study that :func:`snakemake` runs in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(dict(overlay), sort_keys=False), encoding="utf-8")


TOUCH = "from snakemake import cli; from snakemake.executors import touch; touch.Executor.SLEEPING_TIME = 0; cli.main()"
"""Snakemake without the pause of 0.1 s before each job of ``--touch``."""


def snakemake(folder: Path, *arguments: str, cores: int | None = None, snakefile: Path = REPO / "Snakefile") -> Run:
    """Run Snakemake on the study in ``folder``; a command that fails ends the benchmark."""
    module = ["-c", TOUCH] if "--touch" in arguments else ["-m", "snakemake"]
    command = [sys.executable, *module, "--snakefile", str(snakefile), "--directory", str(folder)]
    command += ["--workflow-profile", str(REPO / "profiles" / "default"), "--cores", str(cores or os.cpu_count())]
    command += ["--no-hooks", *arguments, "--configfile", str(folder / "study.yaml")]
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(done.stdout + done.stderr, seconds, cpu_seconds, after.ru_maxrss / 1024)


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the option ``--json``; the first line of ``description`` is shown by ``--help``."""
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return made


def show(figures: Mapping[str, Any], as_json: bool, targets: Mapping[str, float] | None = None) -> None:
    """Print the figures, one a line, and as one JSON object at the end if asked for; ``targets`` are lower limits."""
    missed = [f"{name} < {least}" for name, least in (targets or {}).items() if figures.get(name, least) < least]
    figures = {**figures, "missed": [*missed, *figures.get("missed", [])]}
    for name, value in figures.items():
        print(f"{name:40} {value:10.4g}" if isinstance(value, float) else f"{name:40} {value!s:>10}")
    if as_json:
        print(json.dumps(dict(figures)))
