"""Folders of a dataset: the parts that a layout looks for, and the frame numbers of a clip. Nothing is opened."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from merflow.errors import InputError

DEPTH = 3
"""Levels below the root in which a part of a dataset is looked for: archives unpack into folders of their own."""


def subfolders(folder: Path) -> list[Path]:
    """Folders inside a folder, by name, hidden ones passed over."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith((".", "__MACOSX")) and entry.is_dir()]
    return [folder / name for name in sorted(names)]


def parents_of(root: Path, child: str, depth: int = DEPTH) -> list[Path]:
    """Folders, ``root`` or up to ``depth`` levels below, that hold a folder whose name matches ``child`` in full.

    The search does not go on inside the matching folders; the case of letters does not matter.
    """
    level, found = [root], []
    for _ in range(depth + 1):
        below = []
        for folder in level:
            inside = subfolders(folder)
            if any(re.fullmatch(child, one.name, re.IGNORECASE) for one in inside):
                found.append(folder)
            below += [one for one in inside if not re.fullmatch(child, one.name, re.IGNORECASE)]
        level = below
    return found


def named(root: Path, name: str, depth: int = DEPTH) -> list[Path]:
    """Folders, ``root`` or up to ``depth`` levels below, whose own name matches ``name`` in full, nearest first."""
    level, found = [root], []
    for _ in range(depth + 1):
        found += [folder for folder in level if re.fullmatch(name, folder.name, re.IGNORECASE)]
        level = [one for folder in level for one in subfolders(folder)]
    return found


def clip_folders(folder: Path, name: str, depth: int = DEPTH) -> Iterator[Path]:
    """Folders whose name matches ``name`` in full, up to ``depth`` levels below ``folder``, in order of their paths."""
    for one in subfolders(folder):
        if re.fullmatch(name, one.name, re.IGNORECASE):
            yield one
        elif depth > 1:
            yield from clip_folders(one, name, depth - 1)


def no_such_part(root: Path, what: str, tree: str) -> InputError:
    """The error for a root that does not hold what a layout needs."""
    there = ", ".join(folder.name for folder in subfolders(root)[:10]) or "none"
    return InputError(
        f"{root}: {what} not found in it or {DEPTH} levels below; the dataset lies as {tree}; folders there: {there}"
    )


def subject_number(text: str) -> int | str:
    """What is left of a subject's name when datasets spell it differently: ``s1``, ``S01`` and ``sub01`` are 1."""
    digits = re.search(r"(\d+)(\.0+)?$", text.strip())  # Tables of numbers with a gap hold 1.0.
    return int(digits.group(1)) if digits else text.strip().casefold()
