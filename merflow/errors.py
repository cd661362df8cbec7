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

    The stage that meets it records the message as the clip's reason and goes on with the next clip.
    """

    def __str__(self) -> str:
        """The message; bytes of names that are no UTF-8 stand as escapes, since HDF5 takes no others."""
        return super().__str__().encode(errors="backslashreplace").decode()


def advice(error: BaseException) -> str | None:
    """What to say of a fault of the machine: a full disk, a folder that cannot be written, too little memory.

    Returns:
        The message; None where the error is none of these, and may be a fault of merflow.
    """
    text = str(error)
    number = getattr(error, "errno", None)
    file = f" ({error.filename})" if getattr(error, "filename", None) else ""
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text:
        return f"no space left on the disk of the results{file}: free some and run again; what was done is kept"
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{error.strerror}{file}: mend the rights of that place and run again; what was done is kept"
    if number in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
        return f"{error.strerror}{file}: the disk or its network fails; see to it and run again; what was done is kept"
    if number == errno.ENOMEM or isinstance(error, MemoryError) or any(word in text for word in _NO_MEMORY):
        return (
            f"not enough memory ({(text.splitlines() or ['no more was given'])[0][:200]}): run fewer jobs at once, "
            "such as with --cores 1, or give a smaller batch or preparations.*.align.size; what was done is kept"
        )
    return None


_NO_MEMORY = (
    "terminated abruptly",
    "can't allocate memory",
    "CUDA out of memory",
    "Insufficient memory",
    "Cannot allocate memory",
)
"""What pools of processes say of a worker that was killed, as a rule for its memory; what torch and OpenCV say, whose
errors are of no class of their own."""
