"""Has a subject's footage changed? Answered from file sizes and times, and from contents only where those differ.

Snakemake sees neither a frame that is overwritten in place nor a frame that is added to a folder, and lists of a
million frames as inputs would drown it. So each align job carries a token in its parameters. The token is the digest
of (path, size, time) of the subject's files at the time when their contents last changed: a file that is only touched,
or copied back from a backup, gives the same token, and nothing runs again.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from merflow.files import whole
from merflow.frames import image_paths, is_video

EMPTY = "no-files"
"""Token of footage that does not exist yet (a demo that is still to be drawn)."""


def footage(clips: Iterable[Mapping[str, Any]]) -> list[str]:
    """Files of the clips' frames, sorted; those that do not exist are left out."""
    files: set[str] = set()
    for clip in clips:
        source = clip["frames"]
        if is_video(source):
            files |= {source} if os.path.isfile(source) else set()
        elif source:
            files.update(image_paths(source))
    return sorted(files)


def stat_digest(files: Iterable[str]) -> str:
    """Digest of (path, size, modification time) of the files."""
    digest = blake2b(digest_size=10)
    count = 0
    for file in files:
        stat = os.stat(file)
        digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        count += 1
    return digest.hexdigest() if count else EMPTY


def content_digest(files: Iterable[str]) -> str:
    """Digest of path and content of the files."""
    digest = blake2b(digest_size=10)
    for file in files:
        digest.update(f"{file}\0".encode())
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
    except (OSError, ValueError):
        return now
    seen = record.with_suffix(".seen")
    if now == known["stat"] or (seen.is_file() and seen.read_text() == f"{now} {known['content']}"):
        return known["token"]
    if files and content_digest(files) == known["content"]:
        # Remembered, so that a dataset that was copied to another disk is read through once and not in every run.
        with suppress(OSError), whole(seen) as temporary:
            temporary.write_text(f"{now} {known['content']}")
        return known["token"]
    return now


def record_source(clips: Iterable[Mapping[str, Any]], token: str, record: Path) -> None:
    """Write what was processed under ``token``, for the next :func:`source_token`."""
    files = footage(clips)
    known = {"token": token, "stat": stat_digest(files), "content": content_digest(files), "files": len(files)}
    with whole(record) as temporary:
        temporary.write_text(json.dumps(known) + "\n")
