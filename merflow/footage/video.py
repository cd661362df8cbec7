"""Files of videos that end too early: decoders take what is there, and say nothing of the rest."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

SLACK = 4096
"""Bytes that may be missing: some writers count their own headers wrongly, and no frame is that small a loss."""
MOST_PARTS = 100_000
"""Outermost parts that are looked at; a recording in fragments has one for some seconds of it."""


def missing_bytes(video: str | Path) -> int:
    """How many bytes the outermost parts of an AVI, MP4, MOV or Matroska file claim beyond its end; 0 where none.

    Sizes that are not told (a recording that was never closed), and files of other kinds, count as whole.

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
    """Where the last of the outermost parts claims to end; ``part`` tells a part's bytes by its first sixteen."""
    place = 0
    for _ in range(MOST_PARTS):
        if place >= size:
            break
        file.seek(place)
        length = part(file.read(16))
        if not length:  # Up to the end of the file, or nothing that is known.
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
    """An element of Matroska: its kind and its size are numbers that tell by their leading zeros how long they are."""
    kind = 9 - head[0].bit_length() if head and head[0] else 0
    if not 0 < kind <= 4 or len(head) <= kind or not head[kind]:
        return None
    wide = 9 - head[kind].bit_length()
    if len(head) < kind + wide:
        return None
    digits = int.from_bytes(head[kind : kind + wide], "big") & ((1 << 7 * wide) - 1)
    return None if digits == (1 << 7 * wide) - 1 else kind + wide + digits
