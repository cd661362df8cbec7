"""Files that appear whole or not at all, and names that are safe as a file or HDF5 group."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOTSUP
from glob import escape
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from merflow.errors import InputError

LONGEST = 150
"""Longest name that :func:`safe_filename` returns. File systems allow 255 bytes; suffixes and temporary names need
some of them."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds, else remove it.

    The temporary name keeps the suffix (``.name.pid.tmp.h5``), since some writers choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        _on_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def scratch_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` and remove it afterwards.

    It has the temporary name of :func:`atomic_write`, so that :func:`remove_stale_temporaries` removes what a killed
    process left, and ``path`` itself must be written after the block.
    """
    folder = _temporary(Path(path))
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")


def _on_disk(file: Path) -> None:
    """Wait until the content is on the disk: a server or a quota may refuse it as late as that, and power may fail."""
    with open(file, "rb") as written:
        try:
            os.fsync(written.fileno())
        except OSError as error:
            if error.errno not in (EINVAL, ENOTSUP):  # Some file systems have nothing to wait for.
                raise


def remove_stale_temporaries(path: str | Path) -> None:
    """Remove temporary files that killed processes left beside ``path``; no process may be writing ``path``."""
    path = Path(path)
    # The number stands in between, and nothing else: what is left of ``a.h5`` is not what is being made of ``a.b.h5``.
    own = re.compile(rf"\.{re.escape(path.stem)}\.\d+\.tmp{re.escape(path.suffix)}")
    for left in path.parent.glob(f".{escape(path.stem)}.*.tmp{escape(path.suffix)}"):
        if own.fullmatch(left.name):
            with suppress(OSError):  # Another one is none the worse for it.
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


def check_writable(folder: str | Path) -> None:
    """Ask, without writing, whether files can be made in a folder that may not exist yet.

    Raises:
        InputError: they cannot.
    """
    folder = Path(folder).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"results: {there} is no folder; name another one, or move that file away")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"results: folder {there} cannot be written (read-only, or not yours); name another one")


def safe_filename(name: str) -> str:
    """``name`` as one safe path component: everything but letters, digits and ``_.-`` is percent-encoded.

    Names that get too long for a file end in ``~`` and a digest instead.
    """
    encoded = quote(name, safe="", errors="surrogateescape").replace("~", "%7E")
    encoded = "%2E" + encoded[1:] if encoded.startswith(".") else encoded
    return encoded if len(encoded) <= LONGEST else f"{encoded[: LONGEST - 13]}~{digest(encoded)}"


def digest(*parts: object) -> str:
    """Twelve hexadecimal digits that identify the parts' text; equal parts give equal digests."""
    return sha256("\x1f".join(map(str, parts)).encode(errors="surrogatepass")).hexdigest()[:12]
