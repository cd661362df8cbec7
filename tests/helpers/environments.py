"""Pins of the lock and of the conda environments, and the requirements of installed packages. Needs no network."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from repository import REPO

from merflow.datasets.registry import LAYOUTS, layout_source
from merflow.runtime.code_hash import needed

LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"}
"""Environment markers of Linux, for which requirements are evaluated wherever the tests run."""
PROVIDERS = {"dlib": "dlib-bin"}
"""Packages of modules whose wheel does not list its modules."""
CUDA = re.compile(r"(nvidia|cuda|triton)\b")
"""Dependencies of torch for GPUs, which the lock does not pin, since the CPU build of torch has none."""
BROUGHT = "# what these bring with them"
WORK = ("vision", "flow", "learn", "report", "export")
"""The environments that rules name; `driver` is for Snakemake itself."""
JOBS_ONLY = {"PIL", "av", "cv2", "sklearn", "torch"}
"""Modules that the library behind the Snakefile imports in functions which only jobs call."""


def norm(name: str) -> str:
    """Return the normalised name of a package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins(lines: Iterable[str]) -> dict[str, str]:
    return dict(line.strip().removeprefix("- ").split("==") for line in lines if "==" in line)


def lock() -> dict[str, str]:
    """Return the pins of requirements.txt, name to version."""
    return _pins((REPO / "requirements.txt").read_text().splitlines())


def direct(file: Path) -> set[str]:
    """Return the normalised names of a file's direct requirements, above the heading of what they bring."""
    assert file.read_text().count(BROUGHT) == 1, file
    return set(map(norm, _pins(file.read_text().split(BROUGHT)[0].splitlines())))


def environment(name: str) -> Path:
    """Return the file of an environment."""
    return REPO / "envs" / f"{name}.yaml"


def pins(file: Path) -> dict[str, str]:
    """Return the pip pins of an environment, name to version."""
    (pip,) = (entry["pip"] for entry in yaml.safe_load(file.read_text())["dependencies"] if isinstance(entry, dict))
    return _pins(pip)


def requirements(name: str, extra: str = "") -> Iterator[Requirement]:
    """Yield the requirements of an installed package on Linux."""
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(LINUX | {"extra": extra}):
            yield requirement


def closure(roots: Iterable[str]) -> dict[str, list[tuple[str, Requirement]]]:
    """Return ``roots`` and all their dependencies but CUDA packages: name to requiring packages and requirements."""
    required_by: dict[str, list[tuple[str, Requirement]]] = {norm(root): [] for root in roots}
    waiting, seen = [(name, "") for name in required_by], set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in requirements(name, extra):
            if CUDA.match(requirement.name):
                continue
            required_by.setdefault(norm(requirement.name), []).append((name, requirement))
            waiting += [(norm(requirement.name), extra) for extra in {"", *requirement.extras}]
    return required_by


@cache
def scripts() -> dict[str, list[Path]]:
    """Return the scripts that run in each environment, from the rules."""
    rules = "\n".join(file.read_text() for file in sorted((REPO / "workflow" / "rules").glob("*.smk")))
    scripts: dict[str, list[Path]] = {}
    for name, script in re.findall(r'"\.\./\.\./envs/(\w+)\.yaml".*?"\.\./scripts/(\w+)\.py"', rules, re.DOTALL):
        scripts.setdefault(name, []).append(REPO / "workflow" / "scripts" / f"{script}.py")
    return scripts


def sources(script: Path) -> list[Path]:
    """Return the script, and the layouts that it imports by their names in the registry."""
    return [script, *map(layout_source, LAYOUTS)] if script.stem == "index_clips" else [script]


def imported(script: Path) -> set[str]:
    """Return the top-level names of all modules outside the package that a script or a needed module imports."""
    names: set[str] = set()
    for file in [script, *(f for f in needed(script) if f.suffix == ".py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    return names - {"merflow"}


def modules(script: Path) -> set[str]:
    """Return the modules of other packages that a script and the library behind it import."""
    return set().union(*map(imported, sources(script))) - set(sys.stdlib_module_names) - {"snakemake"}


def opens_faces(script: Path) -> bool:
    """Return whether a script reads the landmark models, which are found by name and never imported."""
    return any(file.stem == "faces" for file in needed(script))


def driver_modules(folder: Path) -> set[str]:
    """Return the modules of other packages that the Snakefile imports, directly or not.

    Args:
        folder: for a scratch file.
    """
    tree = (REPO / "workflow" / "Snakefile").read_text().splitlines()
    plain = folder / "imports.py"
    plain.write_text("\n".join(line for line in tree if re.match(r"(from|import) ", line)))
    assert len(ast.parse(plain.read_text()).body) > 5
    return imported(plain) - set(sys.stdlib_module_names)


def packages(names: Iterable[str]) -> set[str]:
    """Return the normalised names of the packages that provide modules."""
    return {norm(PROVIDERS.get(name) or distributions()[name][0]) for name in names}


distributions = cache(packages_distributions)


RULES = "\n".join(file.read_text() for file in sorted((REPO / "workflow" / "rules").glob("*.smk")))


SECTIONS = re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", RULES, re.DOTALL | re.MULTILINE)
