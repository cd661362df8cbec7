"""Content hash of a script and of every file of this package that it needs, so that library changes rerun rules.

Snakemake's own code trigger compares the script file only. Each rule has this hash among its ``params``; no list is
kept by hand. The hash covers modules in ``import`` and ``from`` statements (also inside functions, also relative), the
``__init__`` files of their packages, modules that a registry names as text (``"merflow.systems.tsdgcn.sgcn:SGCN"``),
and data files beside a module that it names as text (``"template.html.j2"``), with the templates that those include. It
depends on contents, not on modification times.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
TEMPLATE = ".j2"
INCLUDES = re.compile(r"{%-?\s*(?:include|import|from|extends)\s+[\"']([^\"']+)")
REGISTERED = re.compile(r"merflow(\.\w+)+(:\w+)?")


def code_hash(script: str | Path) -> str:
    """Return twelve hexadecimal digits of the contents of ``script`` and of all files that it needs."""
    digest = sha256()
    for file in [Path(script), *needed(script)]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def needed(script: str | Path) -> list[Path]:
    """Return the files of the package that ``script`` needs, directly or indirectly, sorted."""
    files: set[Path] = set()
    waiting = [Path(script).resolve()]
    while waiting:
        for file in _directly_needed(waiting.pop()):
            if file not in files:
                files.add(file)
                if file.suffix in (".py", TEMPLATE):
                    waiting.append(file)
    return sorted(files)


@cache
def _directly_needed(file: Path) -> frozenset[Path]:
    """Return the files of the package that ``file`` names itself."""
    if file.suffix == TEMPLATE:
        return frozenset(_included(file))
    in_package = PACKAGE in file.parents
    files: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                files.update(_module(alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level and in_package:
                parts = file.relative_to(PACKAGE.parent).with_suffix("").parts[: -node.level]
                base = ".".join(filter(None, [*parts, node.module]))
            for name in [base, *(f"{base}.{alias.name}" for alias in node.names)]:
                files.update(_module(name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and in_package:
            if REGISTERED.fullmatch(node.value):
                files.update(_module(node.value.split(":")[0]))
            elif re.fullmatch(r"[\w-]+(\.\w+)+", node.value) and (file.parent / node.value).is_file():
                files.add(file.parent / node.value)
    return frozenset(files - {file})


def _included(template: Path) -> Iterator[Path]:
    """Yield the templates that a template includes; their names are relative to one of its parent folders."""
    folders = [folder for folder in template.parents if PACKAGE in (folder, *folder.parents)]
    for name in INCLUDES.findall(template.read_text(encoding="utf-8")):
        yield from (folder / name for folder in folders if (folder / name).is_file())


@cache
def _module(name: str) -> frozenset[Path]:
    """Return the file of module ``name`` and the ``__init__`` files of its packages, if it is in this package."""
    if name.split(".")[0] != PACKAGE.name:
        return frozenset()
    path = PACKAGE.parent.joinpath(*name.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return _module(name.rpartition(".")[0]) | ({file} if file.is_file() else set())
