"""Errors whose message is written for the user: what is wrong, where, what was expected, what to do."""

import errno


class MerflowError(Exception):
    """Base of every error that merflow raises on purpose; shown without a traceback."""


class ConfigError(MerflowError):
    """The configuration cannot be used; the message names the key and what is allowed."""


class InputError(MerflowError):
    """A user's file or folder cannot be used; the message names it and says what to do."""


class ClipError(MerflowError):
    """One clip cannot be processed (no face, unreadable frame, ...).

    The stage that catches it records the message as the clip's reason and continues with the next clip.
    """

    def __str__(self) -> str:
        """Return the message, with bytes that are not UTF-8 escaped, because HDF5 does not accept them."""
        return super().__str__().encode(errors="backslashreplace").decode()


def shorten(reason: str) -> str:
    """Return a reason for the screen: at most 200 characters, without the middle of a longer text."""
    return reason if len(reason) <= 200 else f"{reason[:115]} ... {reason[-80:]}"


def advice(error: BaseException) -> str | None:
    """Return what the user can do about a fault of the machine: full disk, no permission, too little memory.

    Returns:
        The message, or None if the error is none of these and may be a fault of merflow.
    """
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    reason = error.strerror if isinstance(error, OSError) else ""
    file = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text:
        return f"no space left on the disk of the results{file}: free some and run again; finished work is kept"
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{reason}{file}: fix the permissions of that folder and run again; finished work is kept"
    if number in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
        return f"{reason}{file}: the disk or its network fails; repair it and run again; finished work is kept"
    if number == errno.ENOMEM or isinstance(error, MemoryError) or any(word in text for word in _NO_MEMORY):
        return (
            f"not enough memory ({(text.splitlines() or ['no details'])[0][:200]}): run fewer jobs at once, "
            "for example with --cores 1, or use a smaller batch or preparations.*.align.size; finished work is kept"
        )
    return None


_NO_MEMORY = (
    "terminated abruptly",
    "can't allocate memory",
    "CUDA out of memory",
    "Insufficient memory",
    "Cannot allocate memory",
)
"""Messages of process pools (a worker was killed, usually for its memory), torch and OpenCV, which have no error class
of their own for it."""
