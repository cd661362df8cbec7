"""Whether a subject's footage changed, by file sizes and times, and by contents only if those differ.

Snakemake does not see a frame that is overwritten in place or added to a folder, and a million frames as inputs would
be too many for it. So each align job has a token in its parameters: the digest of (path, size, time) of the subject's
files when their contents last changed. A file that is only touched or copied back has the same contents, so the token
stays and nothing runs again.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from merflow.errors import InputError
from merflow.footage.frames import image_paths, is_video
from merflow.storage.files import atomic_write

EMPTY = "no-files"
"""Token of footage that does not exist yet (synthetic clips before they are rendered)."""


def footage_files(clips: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the files of the clips' frames, sorted, without those that do not exist or may not be listed."""
    files: set[str] = set()
    for clip in clips:
        source = clip["frames"]
        if is_video(source):
            files |= {source} if os.path.isfile(source) else set()
        elif source:
            with suppress(PermissionError):
                files.update(image_paths(source))
    return sorted(files)


def stat_digest(files: Sequence[str]) -> str:
    """Return the digest of (path, size, modification time) of the files; :data:`EMPTY` if there are none."""
    digest = blake2b(digest_size=10)
    for file in files:
        stat = os.stat(file)
        digest.update(os.fsencode(file) + f"\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest() if files else EMPTY


def content_digest(files: Iterable[str]) -> str:
    """Return the digest of path and content of the files."""
    digest = blake2b(digest_size=10)
    for file in files:
        digest.update(os.fsencode(file) + b"\0")
        with open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def source_token(clips: Iterable[Mapping[str, Any]], record: Path) -> str:
    """Return the token of a subject's footage as it is on disk.

    ``record`` is the file that :func:`record_source` wrote when the footage was last processed; it may be missing.
    """
    files = footage_files(clips)
    now = stat_digest(files)
    try:
        recorded = json.loads(record.read_text())
        stat, content, token = (str(recorded[name]) for name in ("stat", "content", "token"))
    except (OSError, ValueError, KeyError, TypeError):
        return now
    seen = record.with_suffix(".seen")
    if now == stat or (seen.is_file() and seen.read_text() == f"{now} {content}"):
        return token
    if files and content_digest(files) == content:
        # Recorded, so that the contents of a dataset that was copied to another disk are read once, not in every run.
        with suppress(OSError), atomic_write(seen) as temporary:
            temporary.write_text(f"{now} {content}")
        return token
    return now


@contextmanager
def check_unchanged(clips: Iterable[Mapping[str, Any]], dataset: str) -> Iterator[None]:
    """Check that the footage of clips is complete and does not change while the body of ``with`` reads it.

    Otherwise an unmounted disk would look like damaged clips.

    Raises:
        InputError: files that were indexed are missing before or after the body, or changed in between.
    """
    clips = list(clips)
    before = _present(clips, dataset)
    yield
    if _present(clips, dataset) != before:
        raise InputError(
            f"dataset {dataset}: its files changed while they were read; run again when nothing changes them any more"
        )


def _present(clips: Iterable[Mapping[str, Any]], dataset: str) -> str:
    """Return the digest of the footage, which must exist for every clip without a problem."""
    for clip in clips:
        if not clip["problem"] and not footage_files([clip]):
            raise InputError(
                f"dataset {dataset}: {_missing(Path(clip['frames']))} is gone since the dataset was indexed; restore "
                "it (is its disk mounted?) and run again: finished work is kept"
            )
    try:
        return stat_digest(footage_files(clips))
    except FileNotFoundError as error:
        raise InputError(f"dataset {dataset}: {error.filename} disappeared while it was read; run again") from error


def _missing(path: Path) -> Path:
    """Return the highest folder of a path that does not exist; the path itself if all exist."""
    return next((part for part in [*reversed(path.parents), path] if not os.path.exists(part)), path)


def record_source(clips: Iterable[Mapping[str, Any]], token: str, record: Path) -> None:
    """Write the fingerprint of the footage that was processed under ``token``, for the next :func:`source_token`."""
    files = footage_files(clips)
    recorded = {"token": token, "stat": stat_digest(files), "content": content_digest(files), "files": len(files)}
    with atomic_write(record) as temporary:
        temporary.write_text(json.dumps(recorded) + "\n")
