"""The files that make an image, and a job in an image of one's own."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from repository import REPO

APPTAINER = """#!/bin/sh
[ "$1" = --version ] && { echo "apptainer version 1.3.4"; exit; }
echo "$@" >> calls
while [ "$1" != mer.sif ]; do shift; done
shift
exec "$@"
"""
"""Executes outside a container what Snakemake gives to Apptainer."""


def test_images_are_made_from_all_files_of_the_wheel():
    targets = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    needed = {
        "merflow",
        *targets["wheel"]["force-include"],
        "pyproject.toml",
        "requirements.txt",
        "README.md",
        "LICENSE",
    }
    assert set(re.findall(r"^!(.+)$", (REPO / ".dockerignore").read_text(), re.MULTILINE)) == needed
    copied = re.findall(r"^    (\S+) /src/(\S+)$", (REPO / "merflow.def").read_text(), re.MULTILINE)
    assert set(copied) == {(name, name) for name in needed}
    install = 'pip install --no-cache-dir --no-compile --constraint /src/requirements.txt "/src[export,slurm]"'
    assert all(install in (REPO / file).read_text() for file in ("Dockerfile", "merflow.def"))


@pytest.mark.slow
def test_jobs_run_in_the_image_that_the_configuration_names(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "apptainer").write_text(APPTAINER)
    (tmp_path / "bin" / "apptainer").chmod(0o755)
    (tmp_path / "mer.sif").touch()
    settings = {"study": "two", "container": "mer.sif", "demo": {"subjects": 4}, "datasets": {"p": {"layout": "demo"}}}
    settings["experiments"] = {"svm": {"system": "linear-svm", "micro": "p"}}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(settings))
    search = os.pathsep.join([str(tmp_path / "bin"), os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = os.environ | {"PATH": search, "PYTHONPATH": str(REPO)}
    command = [sys.executable, "-m", "merflow", "run", "--config", "two.yaml", "results/data/p/clips.csv"]
    for arguments in ([], ["--sdm", "apptainer", "--forcerun", "index_clips"]):
        assert not (tmp_path / "calls").exists()
        done = subprocess.run([*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "results/data/p/clips.csv").is_file()
    assert "exec --home " in (tmp_path / "calls").read_text()
