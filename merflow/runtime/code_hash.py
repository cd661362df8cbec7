"""Content hash of a script and of every module of this package that it needs, so that library changes rerun rules.

Snakemake's own code trigger sees the script file only. The hash goes into each rule's ``params``; nothing is listed by
hand. It follows ``import`` and ``from`` statements wherever they stand (relative ones too), the ``__init__`` files of
the packages on the way, modules that a registry names as text (``"merflow.systems.tsdgcn.sgcn:SGCN"``), and data files
beside a module that are named as text (``"template.html.j2"``), with the templates that those take in. Contents count,
not
times: touching a file changes nothing.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
TEMPLATE = ".j2"
TAKES = re.compile(r"{%-?\s*(?:include|import|from|extends)\s+[\"']([^\"']+)")
REGISTERED = re.compile(r"merflow(\.\w+)+(:\w+)?")


def code_hash(script: str | Path) -> str:
    """Twelve hexadecimal digits of the contents of ``script`` and of all that it needs from the package."""
    digest = sha256()
    for file in [Path(script), *needed(script)]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def needed(script: str | Path) -> list[Path]:
    """Files of the package that ``script`` needs, directly or not, sorted."""
    found: set[Path] = set()
    waiting = [Path(script)]
    while waiting:
        for file in _direct(waiting.pop().resolve()):
            if file not in found:
                found.add(file)
                if file.suffix in (".py", TEMPLATE):
                    waiting.append(file)
    return sorted(found)


def imported(script: str | Path) -> set[str]:
    """Top-level names of everything outside the package that ``script`` or a needed module imports."""
    names: set[str] = set()
    for file in [Path(script), *(f for f in needed(script) if f.suffix == ".py")]:
        for node in ast.walk(_tree(file.resolve())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    return names - {PACKAGE.name}


@cache
def _tree(file: Path) -> ast.AST:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


@cache
def _direct(file: Path) -> frozenset[Path]:
    """Files that ``file`` needs itself."""
    if file.suffix == TEMPLATE:
        return frozenset(_parts(file))
    inside = PACKAGE in file.parents
    found: set[Path] = set()
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.update(_module(alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level and inside:
                parts = file.relative_to(PACKAGE.parent).with_suffix("").parts[: -node.level]
                base = ".".join(filter(None, [*parts, node.module]))
            for name in [base, *(f"{base}.{alias.name}" for alias in node.names)]:
                found.update(_module(name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and inside:
            if REGISTERED.fullmatch(node.value):
                found.update(_module(node.value.split(":")[0]))
            elif re.fullmatch(r"[\w-]+(\.\w+)+", node.value) and (file.parent / node.value).is_file():
                found.add(file.parent / node.value)
    return frozenset(found - {file})


def _parts(template: Path) -> Iterator[Path]:
    """What a template takes in, by names that are relative to the folder of the first one."""
    folders = [folder for folder in template.parents if PACKAGE in (folder, *folder.parents)]
    for name in TAKES.findall(template.read_text(encoding="utf-8")):
        yield from (folder / name for folder in folders if (folder / name).is_file())


def _module(name: str) -> Iterator[Path]:
    """File of module ``name`` and the ``__init__`` files of its packages, if it is one of ours."""
    parts = name.split(".")
    if parts[0] != PACKAGE.name:
        return
    for depth in range(1, len(parts) + 1):
        path = PACKAGE.parent.joinpath(*parts[:depth])
        if path.is_dir():
            yield path / "__init__.py"
        elif path.with_suffix(".py").is_file():
            yield path.with_suffix(".py")
