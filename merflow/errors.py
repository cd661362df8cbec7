"""Errors whose message is written for the user: what is wrong, where, what was expected, what to do."""


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
