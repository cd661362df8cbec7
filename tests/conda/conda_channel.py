"""A conda channel in a folder: this Python interpreter and a pip wheel as packages, and versions that must not be used.

The package of the interpreter links to it, so that an environment holds little more than what pip installs.
"""

import asyncio
import io
import json
import re
import sys
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

from rattler import Subdir
from rattler.index import index_fs

SERIES = f"{sys.version_info.major}.{sys.version_info.minor}"
VERSION = ".".join(map(str, sys.version_info[:3]))
SITE = f"lib/python{SERIES}/site-packages"


def build_channel(folder: Path, pip_wheel: Path) -> None:
    """Create the channel: `python` in three series and `pip` in two versions, of which one each works."""
    (folder / "noarch").mkdir(parents=True)
    platform = folder / str(Subdir.current())
    interpreter = Path(sys.base_prefix) / "bin" / f"python{SERIES}"
    settings = f"home = {interpreter.parent}\ninclude-system-site-packages = false\nversion = {VERSION}\n"
    links = {f"bin/{interpreter.name}": str(interpreter), "bin/python3": interpreter.name, "bin/python": "python3"}
    write_package(platform, "python", VERSION, {"pyvenv.cfg": settings.encode(), f"{SITE}/README.txt": b""}, links)
    for version in ("3.10.99", "3.99.0"):
        write_package(platform, "python", version, {"README.txt": b"must not be installed"})
    name, version = pip_wheel.name.split("-")[:2]
    write_package(platform, name, version, wheel_files(pip_wheel), depends=[f"python {SERIES}.*"])
    write_package(platform, name, "99.0", {"README.txt": b"must not be installed"})
    asyncio.run(index_fs(folder))


def wheel_files(wheel: Path) -> dict[str, bytes]:
    """Return the files of a pure wheel by their place in an environment."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name[-1] != "/"]
        assert not [name for name in names if re.match(r"[^/]+\.data/", name)], f"{wheel} is not a plain wheel"
        return {f"{SITE}/{name}": archive.read(name) for name in names}


def write_package(
    folder: Path,
    name: str,
    version: str,
    files: dict[str, bytes],
    links: dict[str, str] | None = None,
    depends: list[str] | None = None,
) -> None:
    """Write a conda package with ``files`` by their place in the environment, and ``links`` by their targets."""
    links = links or {}
    paths = [_path(place, data, "hardlink") for place, data in files.items()]
    paths += [_path(place, b"", "softlink") for place in links]
    index = {
        "name": name,
        "version": version,
        "build": "0",
        "build_number": 0,
        "depends": depends or [],
        "subdir": folder.name,
    }
    metadata = {
        "info/index.json": json.dumps(index).encode(),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode(),
        "info/files": "\n".join([*files, *links]).encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{name}-{version}-0.tar.bz2", "w:bz2", compresslevel=1) as archive:
        for place, data in {**metadata, **files}.items():
            entry = tarfile.TarInfo(place)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for place, target in links.items():
            entry = tarfile.TarInfo(place)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)


def _path(place: str, data: bytes, kind: str) -> dict[str, object]:
    return {"_path": place, "path_type": kind, "sha256": sha256(data).hexdigest(), "size_in_bytes": len(data)}
