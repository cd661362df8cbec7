"""Reading of HDF5 files of the workflow; a damaged file gives a message that names it, not a traceback of h5py."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from merflow.errors import InputError

_READING = re.compile(r"(Unable to|Can't) (?!.*\b(writ|creat|flush|extend|truncat))", re.DOTALL)
"""Start of the messages of h5py about a file that it cannot read."""
_NOT_THE_FILE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE}
"""Faults of the machine, which say nothing about the content of the file."""


@contextmanager
def open_h5(path: str | Path) -> Iterator[h5py.File]:
    """Open a file of the workflow for reading.

    Raises:
        InputError: the file is missing, cut short, not HDF5, or lacks what the block reads from it.
    """
    with _opened(path) as file:
        try:
            yield file
        except (OSError, KeyError, RuntimeError) as error:  # The block may also write to other files.
            if not _READING.match(str(error.args[0] if error.args else "")):
                raise
            raise damaged_file_error(path, error) from error


def _opened(path: str | Path) -> h5py.File:
    try:
        return h5py.File(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run again to create it") from error
    except PermissionError:
        raise
    except OSError as error:
        if error.errno in _NOT_THE_FILE:
            raise
        if "unable to lock file" in str(error):
            raise InputError(f"{path} is open for writing in another program; close it there and run again") from error
        raise damaged_file_error(path, error) from error


def damaged_file_error(path: str | Path, error: Exception) -> InputError:
    """Return the error for a file of the workflow that cannot be read."""
    cut = " (it was cut short)" if "truncated file" in str(error) else ""
    return InputError(f"{path} is damaged{cut}; remove it and run again to recreate it ({_short(error)})")


def _short(error: Exception) -> str:
    return str(error.args[-1] if error.args else error).split(", ")[0].split("\n")[0][:200]
