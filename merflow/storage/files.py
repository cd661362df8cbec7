"""Atomic writes, temporary files, and names that are safe as a file or HDF5 group."""

import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOTSUP
from glob import escape
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from merflow.errors import InputError

MAX_FILENAME = 150
"""Longest name that :func:`safe_filename` returns. File systems allow 255 bytes; suffixes and temporary names need
some of them."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds, otherwise remove it.

    The temporary name keeps the suffix (``.name.pid.tmp.h5``), because some writers choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        _flush_to_disk(temporary)
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


def _flush_to_disk(path: Path) -> None:
    """Wait until the content is on the disk: a server or a quota may reject it only then, and power may fail."""
    with open(path, "rb") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (EINVAL, ENOTSUP):  # Some file systems do not support fsync.
                raise


def remove_stale_temporaries(path: str | Path) -> None:
    """Remove temporary files that killed processes left beside ``path``; no process may be writing ``path``."""
    path = Path(path)
    # Only digits may stand between the names, so that temporary files of ``a.b.h5`` do not match those of ``a.h5``.
    pattern = re.compile(rf"\.{re.escape(path.stem)}\.\d+\.tmp{re.escape(path.suffix)}")
    for stale in path.parent.glob(f".{escape(path.stem)}.*.tmp{escape(path.suffix)}"):
        if pattern.fullmatch(stale.name):
            with suppress(OSError):  # A stale file that cannot be removed does no harm.
                shutil.rmtree(stale) if stale.is_dir() and not stale.is_symlink() else stale.unlink()


def check_writable(folder: str | Path) -> None:
    """Check, without writing, that files can be created in a folder that may not exist yet.

    Raises:
        InputError: they cannot.
    """
    folder = Path(folder).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"results: {existing} is not a folder; choose another folder, or move that file away")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(
            f"results: folder {existing} is not writable (read-only, or owned by someone else); choose another folder"
        )


def safe_filename(name: str) -> str:
    """Return ``name`` as one safe path component: everything but letters, digits and ``_.-`` is percent-encoded.

    The end of a name that is too long for a file is replaced by ``~`` and a digest.
    """
    encoded = quote(name, safe="", errors="surrogateescape").replace("~", "%7E")
    encoded = "%2E" + encoded[1:] if encoded.startswith(".") else encoded
    return encoded if len(encoded) <= MAX_FILENAME else f"{encoded[: MAX_FILENAME - 13]}~{digest(encoded)}"


def json_value(value: Any) -> Any:
    """Return ``value`` as JSON has it: NumPy arrays and numbers as Python's, NaN as None."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, dict):
        return {key: json_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def digest(*parts: object) -> str:
    """Return twelve hexadecimal digits that identify the text of the parts."""
    return sha256("\x1f".join(map(str, parts)).encode(errors="surrogatepass")).hexdigest()[:12]
