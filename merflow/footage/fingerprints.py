"""Has a subject's footage changed? Answered from file sizes and times, and from contents only where those differ.

Snakemake sees neither a frame that is overwritten in place nor a frame that is added to a folder, and lists of a
million frames as inputs would drown it. So each align job carries a token in its parameters. The token is the digest
of (path, size, time) of the subject's files at the time when their contents last changed: a file that is only touched,
or copied back from a backup, gives the same token, and nothing runs again.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from merflow.errors import InputError
from merflow.footage.frames import image_paths, is_video
from merflow.storage.files import atomic_write

EMPTY = "no-files"
"""Token of footage that does not exist yet (a demo that is still to be drawn)."""


def footage(clips: Iterable[Mapping[str, Any]]) -> list[str]:
    """Files of the clips' frames, sorted; those that do not exist, or may not be listed, are left out."""
    files: set[str] = set()
    for clip in clips:
        source = clip["frames"]
        if is_video(source):
            files |= {source} if os.path.isfile(source) else set()
        elif source:
            with suppress(PermissionError):
                files.update(image_paths(source))
    return sorted(files)


def stat_digest(files: Iterable[str]) -> str:
    """Digest of (path, size, modification time) of the files."""
    digest = blake2b(digest_size=10)
    count = 0
    for file in files:
        stat = os.stat(file)
        digest.update(os.fsencode(file) + f"\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        count += 1
    return digest.hexdigest() if count else EMPTY


def content_digest(files: Iterable[str]) -> str:
    """Digest of path and content of the files."""
    digest = blake2b(digest_size=10)
    for file in files:
        digest.update(os.fsencode(file) + b"\0")
        with open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def source_token(clips: Iterable[Mapping[str, Any]], record: Path) -> str:
    """Token of the subject's footage as it lies on disk.

    Args:
        clips: rows with ``frames``.
        record: file written by :func:`record_source` when the footage was last processed; it may be missing.
    """
    files = footage(clips)
    now = stat_digest(files)
    try:
        known = json.loads(record.read_text())
        stat, content, token = (known[name] for name in ("stat", "content", "token"))
    except (OSError, ValueError, KeyError, TypeError):
        return now
    seen = record.with_suffix(".seen")
    if now == stat or (seen.is_file() and seen.read_text() == f"{now} {content}"):
        return token
    if files and content_digest(files) == content:
        # Remembered, so that a dataset that was copied to another disk is read through once and not in every run.
        with suppress(OSError), atomic_write(seen) as temporary:
            temporary.write_text(f"{now} {content}")
        return token
    return now


@contextmanager
def steady(clips: Iterable[Mapping[str, Any]], dataset: str) -> Iterator[None]:
    """Watch the footage of some clips while it is read, so that no fault of a disk becomes the reason of a clip.

    Args:
        clips: rows with ``frames`` and ``problem``.
        dataset: its name, for the message.

    Raises:
        InputError: files that were listed are gone, before or after, or were changed on the way.
    """
    clips = list(clips)
    before = _present(clips, dataset)
    yield
    if _present(clips, dataset) != before:
        raise InputError(f"dataset {dataset}: its files changed while they were read; run again once they are at rest")


def _present(clips: Iterable[Mapping[str, Any]], dataset: str) -> str:
    """Digest of the footage, which must be there for every clip without a problem."""
    for clip in clips:
        if not clip["problem"] and not footage([clip]):
            raise InputError(
                f"dataset {dataset}: {_gone(Path(clip['frames']))} is gone since the dataset was listed; bring it back "
                "(is its disk mounted?) and run again: finished work is kept"
            )
    try:
        return stat_digest(footage(clips))
    except FileNotFoundError as error:
        raise InputError(f"dataset {dataset}: {error.filename} went away while it was read; run again") from error


def _gone(path: Path) -> Path:
    """The highest folder of a path that does not exist; the path itself where all exist."""
    return next((one for one in [*reversed(path.parents), path] if not os.path.exists(one)), path)


def record_source(clips: Iterable[Mapping[str, Any]], token: str, record: Path) -> None:
    """Write what was processed under ``token``, for the next :func:`source_token`."""
    files = footage(clips)
    known = {"token": token, "stat": stat_digest(files), "content": content_digest(files), "files": len(files)}
    with atomic_write(record) as temporary:
        temporary.write_text(json.dumps(known) + "\n")
