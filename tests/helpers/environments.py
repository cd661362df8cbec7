"""The lock and the conda environments as tables of pins, and what installed packages say they need. No network."""

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
from merflow.runtime.code_hash import imported, needed

LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"}
"""Where requirements are judged: the closures are those of Linux, wherever the tests run."""
PROVIDERS = {"dlib": "dlib-bin"}
"""Modules whose wheel does not say which names it brings."""
CUDA = re.compile(r"(nvidia|cuda|triton)\b")
"""What torch from the package index brings for GPUs and names itself; its CPU build meets the same pins without."""
BROUGHT = "# what these bring with them"
WORK = ("vision", "flow", "learn", "report", "export")
"""The environments that rules name; `driver` is for Snakemake itself."""
JOBS_ONLY = {"cv2", "sklearn", "torch"}
"""Modules that the library behind the Snakefile imports where a job opens a frame, draws a split or takes a device,
and only there."""


def norm(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins(lines: Iterable[str]) -> dict[str, str]:
    return dict(line.strip().removeprefix("- ").split("==") for line in lines if "==" in line)


def lock() -> dict[str, str]:
    """Pins of requirements.txt, name to version."""
    return _pins((REPO / "requirements.txt").read_text().splitlines())


def direct(file: Path) -> set[str]:
    """Names, normalised, that a file asks for itself: those above the heading of what they bring."""
    assert file.read_text().count(BROUGHT) == 1, file
    return set(map(norm, _pins(file.read_text().split(BROUGHT)[0].splitlines())))


def environment(name: str) -> Path:
    """File of an environment."""
    return REPO / "envs" / f"{name}.yaml"


def pins(file: Path) -> dict[str, str]:
    """The pip pins of an environment, name to version."""
    (pip,) = (entry["pip"] for entry in yaml.safe_load(file.read_text())["dependencies"] if isinstance(entry, dict))
    return _pins(pip)


def requirements(name: str, extra: str = "") -> Iterator[Requirement]:
    """What an installed package says it needs on Linux."""
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(LINUX | {"extra": extra}):
            yield requirement


def closure(roots: Iterable[str]) -> dict[str, list[tuple[str, Requirement]]]:
    """All that ``roots`` bring with them, the CUDA packages of torch apart: name to who asks for it, and how."""
    asked: dict[str, list[tuple[str, Requirement]]] = {norm(root): [] for root in roots}
    waiting, seen = [(name, "") for name in asked], set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in requirements(name, extra):
            if CUDA.match(requirement.name):
                continue
            asked.setdefault(norm(requirement.name), []).append((name, requirement))
            waiting += [(norm(requirement.name), extra) for extra in {"", *requirement.extras}]
    return asked


@cache
def scripts() -> dict[str, list[Path]]:
    """The scripts that run in each environment, as the rules say."""
    rules = "\n".join(file.read_text() for file in sorted((REPO / "workflow" / "rules").glob("*.smk")))
    found: dict[str, list[Path]] = {}
    for name, script in re.findall(r'"\.\./\.\./envs/(\w+)\.yaml".*?"\.\./scripts/(\w+)\.py"', rules, re.DOTALL):
        found.setdefault(name, []).append(REPO / "workflow" / "scripts" / f"{script}.py")
    return found


def sources(script: Path) -> list[Path]:
    """The script, and the layouts that it imports by the names of their registry."""
    return [script, *map(layout_source, LAYOUTS)] if script.stem == "index_clips" else [script]


def modules(script: Path) -> set[str]:
    """Modules of other packages that a script and the library behind it import, wherever the import stands."""
    return set().union(*map(imported, sources(script))) - set(sys.stdlib_module_names) - {"snakemake"}


def opens_faces(script: Path) -> bool:
    """Whether a script reads the landmark models, which are found by name and never imported."""
    return any(file.stem == "faces" for file in needed(script))


def driver_modules(folder: Path) -> set[str]:
    """Modules of other packages that the Snakefile imports, directly or not; ``folder`` takes a file of its imports."""
    tree = (REPO / "workflow" / "Snakefile").read_text().splitlines()
    plain = folder / "imports.py"
    plain.write_text("\n".join(line for line in tree if re.match(r"(from|import) ", line)))
    assert len(ast.parse(plain.read_text()).body) > 5
    return imported(plain) - set(sys.stdlib_module_names)


def packages(names: Iterable[str]) -> set[str]:
    """Packages, normalised, that bring these modules."""
    return {norm(PROVIDERS.get(name) or distributions()[name][0]) for name in names}


distributions = cache(packages_distributions)


RULES = "\n".join(file.read_text() for file in sorted((REPO / "workflow" / "rules").glob("*.smk")))


SECTIONS = re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", RULES, re.DOTALL | re.MULTILINE)
