"""Video files that are cut off: decoders read what is there and do not report the rest."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

SLACK = 4096
"""Bytes that may be missing: some programs count their headers wrongly, and a frame has more bytes than this."""
MAX_PARTS = 100_000
"""Top-level parts that are read; a fragmented recording has one for every few seconds."""


def missing_bytes(video: str | Path) -> int:
    """Return how many bytes the top-level parts of an AVI, MP4, MOV or Matroska file claim beyond its end.

    It is 0 for complete files, for parts without a stated size (a recording that was never closed) and for other
    formats.

    Raises:
        OSError: the file cannot be read.
    """
    size = os.path.getsize(video)
    with open(video, "rb") as file:
        head = file.read(12)
        part = _box if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide") else None
        part = _riff if head.startswith(b"RIFF") else _element if head.startswith(b"\x1a\x45\xdf\xa3") else part
        end = _end(file, size, part) if part else 0
    return end - size if end - size > SLACK else 0


def _end(file: BinaryIO, size: int, part: Callable[[bytes], int | None]) -> int:
    """Return where the last top-level part claims to end; ``part`` returns a part's length from its first 16 bytes."""
    place = 0
    for _ in range(MAX_PARTS):
        if place >= size:
            break
        file.seek(place)
        length = part(file.read(16))
        if not length:  # It extends to the end of the file, or its kind is unknown.
            return place
        place += length
    return place


def _riff(head: bytes) -> int | None:
    if len(head) < 8 or head[:4] != b"RIFF":
        return None
    length = struct.unpack_from("<I", head, 4)[0]
    return 8 + length + length % 2 if 0 < length < 0xFFFFFFFF else None


def _box(head: bytes) -> int | None:
    if len(head) < 8:
        return None
    length = struct.unpack_from(">I", head)[0]
    if length == 1:
        return struct.unpack_from(">Q", head, 8)[0] if len(head) == 16 else None
    return length if length >= 8 else None


def _element(head: bytes) -> int | None:
    """Length of a Matroska element: the leading zeros of its kind and of its size give the length of each number."""
    kind = 9 - head[0].bit_length() if head and head[0] else 0
    if not 0 < kind <= 4 or len(head) <= kind or not head[kind]:
        return None
    wide = 9 - head[kind].bit_length()
    if len(head) < kind + wide:
        return None
    digits = int.from_bytes(head[kind : kind + wide], "big") & ((1 << 7 * wide) - 1)
    return None if digits == (1 << 7 * wide) - 1 else kind + wide + digits
