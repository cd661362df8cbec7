"""Folders of a dataset: the parts that a layout expects, and how subjects are spelled. No file is opened."""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from merflow.errors import InputError

DEPTH = 3
"""Levels below the root that are searched for a part of a dataset, since archives unpack into folders of their own."""


def subfolders(folder: Path) -> list[Path]:
    """List the folders inside a folder by name, without hidden ones."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith((".", "__MACOSX")) and entry.is_dir()]
    return [folder / name for name in sorted(names)]


def parents_of(root: Path, child: str, depth: int = DEPTH) -> list[Path]:
    """List the folders, ``root`` or up to ``depth`` levels below, with a subfolder whose full name matches ``child``.

    Case does not matter. The matching subfolders themselves are not searched.
    """
    level, parents = [root], []
    for _ in range(depth + 1):
        below: list[Path] = []
        for folder in level:
            inside = subfolders(folder)
            others = [inner for inner in inside if not re.fullmatch(child, inner.name, re.IGNORECASE)]
            if len(others) < len(inside):
                parents.append(folder)
            below += others
        level = below
    return parents


def folders_named(root: Path, name: str, depth: int = DEPTH) -> list[Path]:
    """List the folders, ``root`` or up to ``depth`` levels below, whose full name matches ``name``, nearest first."""
    level, matches = [root], []
    for _ in range(depth + 1):
        matches += [folder for folder in level if re.fullmatch(name, folder.name, re.IGNORECASE)]
        level = [inner for folder in level for inner in subfolders(folder)]
    return matches


def clip_folders(folder: Path, name: str, depth: int = DEPTH) -> Iterator[Path]:
    """Yield the folders whose full name matches ``name``, up to ``depth`` levels below ``folder``, in path order."""
    for inner in subfolders(folder):
        if re.fullmatch(name, inner.name, re.IGNORECASE):
            yield inner
        elif depth > 1:
            yield from clip_folders(inner, name, depth - 1)


def folders_by_name(root: Path, names: Collection[str], depth: int = DEPTH + 3) -> dict[str, list[Path]]:
    """Folders, up to ``depth`` levels below ``root``, whose names without case are among ``names``, by that name.

    Those of a path with ``crop`` or ``align`` in it come last. The folders themselves are not searched.
    """
    folders: dict[str, list[Path]] = {}
    level = [root]
    for _ in range(depth):
        below = [inner for folder in level for inner in subfolders(folder)]
        level = []
        for folder in below:
            if (name := folder.name.casefold()) in names:
                folders.setdefault(name, []).append(folder)
            else:
                level.append(folder)
    for matches in folders.values():
        matches.sort(key=lambda folder: re.search("crop|align", str(folder.relative_to(root)).lower()) is not None)
    return folders


def no_such_part(root: Path, what: str, tree: str) -> InputError:
    """Return the error for a root that lacks what a layout needs."""
    names = ", ".join(folder.name for folder in subfolders(root)[:10]) or "none"
    return InputError(
        f"{root}: {what} not found in it or {DEPTH} levels below; the layout expects {tree}; folders here: {names}"
    )


def subject_number(text: str) -> int | str:
    """Return a subject in a form without spelling: ``s1``, ``S01`` and ``sub01`` are 1; text without a number stays."""
    digits = re.search(r"(\d+)(\.0+)?$", text.strip())  # Columns of numbers with an empty cell hold 1.0.
    return int(digits.group(1)) if digits else text.strip().casefold()
