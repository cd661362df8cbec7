"""`snakemake --use-conda` for real, as far as that goes without a conda channel on the network.

The channel is a folder and the `conda` is a small one on py-rattler; solve, environments, activation and pip are real.
Snakemake runs in the environment of `envs/driver.yaml`, which has no network, no face detector and no HDF5.
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
"""Data in the form of a module: the library finds it and never imports it."""
PIP = yaml.safe_load(environment("driver").read_text())["dependencies"][1].removeprefix("pip=")

WITNESS = """
import atexit, json, os, sys, time

def tell():
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    with open(f"{FOLDER}/{os.getpid()}-{time.time_ns()}.json", "w") as file:
        json.dump({"script": sys.argv[0], "prefix": sys.prefix, "files": files}, file)

atexit.register(tell)
"""
"""Runs in every Python of an environment: at its end it writes down where its modules came from."""

PROOF = """
import json, sys
from importlib import import_module
from importlib.util import find_spec
sys.path.append(sys.argv[1])
found = {name: find_spec(name).origin if name == "MODELS" else import_module(name).__file__ for name in sys.argv[2:]}
print(json.dumps(found))
""".replace("MODELS", MODELS)
"""Imports modules by name, with the repository (its first argument) as the only place outside the environment."""


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A conda installation: bin/conda, bin/activate and the channel."""
    root = tmp_path_factory.mktemp("conda")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"pip=={PIP}", "-d", str(root / "wheels")]
    subprocess.run(pip, check=True)
    (wheel,) = (root / "wheels").iterdir()
    build_channel(root / "channels" / "conda-forge", wheel)
    install_command(root)
    return root


def env_create(root, file, prefix, old="", new=""):
    """`conda env create` of a copy of ``file`` beside the environment, with ``new`` in the place of ``old``."""
    assert old in file.read_text()
    copied = prefix.with_suffix(".yaml")
    copied.write_text(file.read_text().replace(old, new) if old else file.read_text())
    command = [root / "bin" / "conda", "env", "create", "--file", copied, "--prefix", prefix]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="session")
def driver(root, tmp_path_factory):
    """The environment that Snakemake itself runs in."""
    prefix = tmp_path_factory.mktemp("envs") / "driver"
    done = env_create(root, environment("driver"), prefix)
    assert done.returncode == 0, done.stderr
    return prefix


@pytest.fixture(scope="session")
def run(root, driver):
    """A function: activate the driver's environment and run snakemake in a folder, as a user would."""

    def run(folder, *arguments, ok=True):
        line = f'set -u; source "{root}/bin/activate" "{driver}"; exec snakemake --cores 2 "$@"'
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
        kept["PATH"] = f"{root / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        command = ["bash", "-c", line, "snakemake", *arguments]
        done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True)
        assert not ok or done.returncode == 0, done.stdout[-6000:] + done.stderr[-12000:]
        return done

    return run


@pytest.fixture(scope="session")
def study(run, tmp_path_factory):
    """A copy of the workflow with all of its environments, which Snakemake made; their prefixes by name."""
    folder = copy_repository(tmp_path_factory.mktemp("study"))
    done = run(folder, "all", "export", "--use-conda", "--conda-create-envs-only")
    made = done.stdout.count("Creating conda environment") + done.stderr.count("Creating conda environment")
    assert made == len(WORK)
    files = {file.read_text(): file.with_suffix("") for file in (folder / ".snakemake" / "conda").glob("*.yaml")}
    return folder, {name: files[environment(name).read_text()] for name in WORK}


def installed(prefix):
    """Packages of an environment, as its own pip lists them."""
    pip = [prefix / "bin" / "python", "-I", "-m", "pip"]
    listed = json.loads(subprocess.run([*pip, "list", "--format=json"], capture_output=True, check=True).stdout)
    check = subprocess.run([*pip, "check"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
    return {norm(package["name"]): package["version"].split("+")[0] for package in listed}


@pytest.mark.parametrize("name", [*WORK, "driver"])
def test_an_environment_holds_its_pins_and_nothing_else(study, driver, name):
    prefix = driver if name == "driver" else study[1][name]
    linked = [json.loads(file.read_text()) for file in (prefix / "conda-meta").glob("*.json")]
    assert {package["name"]: package["version"] for package in linked} == {"python": VERSION, "pip": PIP}
    expected = {norm(package): pin for package, pin in pins(environment(name)).items()} | {"pip": PIP}
    assert {package: pin for package, pin in installed(prefix).items() if not CUDA.match(package)} == expected


def lacks(prefix, names):
    """Import modules in an environment, apart from all others; what its Python says about the first that is missing."""
    command = [prefix / "bin" / "python", "-I", "-c", PROOF, REPO, *sorted(names)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return done.stderr.splitlines()[-1]
    for module, file in json.loads(done.stdout).items():
        home = REPO if module.split(".")[0] == "merflow" else prefix
        assert home in Path(file).parents, f"{module} of {prefix} comes from {file}"
    return ""


def needs(script):
    """Everything that a script imports, wherever the import stands: other packages' modules and our own."""
    ours = (file.relative_to(REPO).with_suffix("") for file in needed(script) if file.suffix == ".py")
    names = {".".join(file.parts).removesuffix(".__init__") for file in ours} | modules(script)
    return names | ({MODELS} if opens_faces(script) else set())


@pytest.mark.parametrize("name", WORK)
def test_an_environment_is_complete_without_the_drivers(study, name):
    assert not lacks(study[1][name], set().union(*map(needs, scripts()[name])))


def test_the_drivers_environment_is_complete_and_cannot_do_a_jobs_work(driver, tmp_path):
    assert not lacks(driver, driver_modules(tmp_path) - JOBS_ONLY)
    for absent in ("torch", "cv2", "h5py", "dlib", "sklearn", "matplotlib"):
        assert f"No module named '{absent}'" in lacks(driver, [absent])


def test_an_environment_that_lacks_one_package_fails_the_proof(root, tmp_path):
    done = env_create(root, environment("vision"), tmp_path / "poorer", f"      - h5py=={lock()['h5py']}\n")
    assert done.returncode == 0, done.stderr
    needed_there = set().union(*map(needs, scripts()["vision"]))
    assert lacks(tmp_path / "poorer", needed_there) == "ModuleNotFoundError: No module named 'h5py'"


def test_pins_that_no_solver_accepts_make_no_environment(root, tmp_path):
    done = env_create(root, environment("vision"), tmp_path / "none", f"pip={PIP}", "pip=0.1")
    assert done.returncode and "pip" in done.stderr and not (tmp_path / "none").exists()


def told(folder, seen=frozenset()):
    """What the Pythons of jobs said of themselves, but for ``seen``: the script's name, and all that it wrote."""
    records = [json.loads(file.read_text()) for file in set((folder / "told").iterdir()) - set(seen)]
    return [(Path(record["script"]).name.split(".")[-2], record) for record in records if ".py" in record["script"]]


def strays(records, prefixes):
    """Modules that a script imports and that did not come from its environment, as "script: module"."""
    where = {script.stem: name for name, group in scripts().items() for script in group}
    found = set()
    for script, record in records:
        prefix = prefixes[where[script]]
        if Path(record["prefix"]) != prefix:
            found.add(f"{script}: python")
        for module in modules(REPO / "workflow" / "scripts" / f"{script}.py") & set(record["files"]):
            if prefix not in Path(record["files"][module]).parents:
                found.add(f"{script}: {module}")
    return found


@pytest.fixture(scope="session")
def demo(study, run):
    """The demo as it is shipped, every job in its environment, with a witness there; the folder and what was said."""
    folder, prefixes = study
    (folder / "told").mkdir()
    for prefix in prefixes.values():
        (site,) = prefix.glob("lib/python*/site-packages")
        (site / "witness_of_the_tests.py").write_text(f"FOLDER = {str(folder / 'told')!r}\n{WITNESS}")
        (site / "witness_of_the_tests.pth").write_text("import witness_of_the_tests\n")
    return folder, run(folder, "--use-conda")


def test_jobs_of_the_demo_run_in_their_environments_and_take_nothing_from_elsewhere(study, demo):
    folder, done = demo
    jobs = Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", done.stdout + done.stderr, re.MULTILINE))
    records = told(folder)
    assert len(jobs) > 15 and len(records) == sum(jobs.values()) - jobs["all"]
    assert not strays(records, study[1])
    assert {Path(record["files"]["merflow"]).parent for _, record in records} == {folder / "merflow"}


def test_so_do_those_of_export_and_predict(study, demo, run):
    folder, _ = demo
    clips = folder / "clips"
    (clips / "wall").mkdir(parents=True)
    (frames,) = (folder / "results/data/demo-micro/source").glob("*/s01_happiness_1")
    (clips / "face").symlink_to(frames)
    for number in range(4):
        cv2.imwrite(str(clips / "wall" / f"{number}.png"), np.full((90, 120), 90 + number, np.uint8))
    seen = set((folder / "told").iterdir())
    run(folder, "export", "--use-conda", "--config", "export={experiments: [msjfn]}")
    run(folder, "predict", "--use-conda", "--config", f"clips={clips}")
    records = told(folder, seen)
    assert {"export_onnx", "look_through", "answer_clips", "write_prediction"} < {script for script, _ in records}
    assert not strays(records, study[1])
    answers = pd.read_csv(folder / "results/demo/predict/clips/answers.csv")
    assert set(answers.loc[answers["status"] == "ok", "source"]) == {"face"}


def test_a_second_run_has_nothing_to_do_and_leaving_conda_has_everything(demo, run):
    folder, _ = demo
    again = run(folder, "--use-conda")
    assert "Nothing to be done" in again.stdout + again.stderr
    without = run(folder, "-n")
    assert "oftware environment definition has changed" in without.stdout + without.stderr
    kept = run(folder, "-n", "--rerun-triggers", "mtime", "params", "input")
    assert "Nothing to be done" in kept.stdout + kept.stderr


def test_the_demo_has_the_same_results_with_conda_and_without(demo, tmp_path):
    folder, _ = demo
    plain = copy_repository(tmp_path / "plain")
    snakemake(plain)
    for name in ("predictions", "metrics", "differences"):
        with_conda = folder / "results" / "demo" / f"{name}.csv"
        assert with_conda.read_bytes() == (plain / "results" / "demo" / f"{name}.csv").read_bytes()


def test_a_package_that_is_missing_is_seen_though_the_job_finds_the_drivers(study, demo, run, tmp_path):
    """Why the tests above do not go by whether a job succeeds, and that they would notice."""
    folder, prefixes = study
    seen = set((folder / "told").iterdir())
    (package,) = prefixes["vision"].glob("lib/python*/site-packages/tabulate")
    shutil.move(package, tmp_path)
    try:
        run(folder, "--use-conda", "--force", "results/data/demo-micro/clips.csv")
    finally:
        shutil.move(tmp_path / "tabulate", package)
    assert strays(told(folder, seen), prefixes) == {"index_clips: tabulate"}
