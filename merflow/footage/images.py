"""Picture files, decoded only where their header tells a size that can be wanted: a few bytes may claim gigabytes."""

import re
import struct
from pathlib import Path

import numpy as np

from merflow.errors import ClipError

MOST_SIDE = 8192
"""Longest side in pixels of a picture, and of a video's frames: eight times what the datasets of the field have."""
MOST_BYTES = 8 * MOST_SIDE**2
"""Largest file of a picture: that many pixels of four channels of 16 bits."""

_JPEG_SIZE = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of the segments of a JPEG that hold its size."""
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}
"""Markers that no segment follows."""
_PNM = re.compile(rb"P[1-6](?:\s|#[^\n\r]*[\n\r])+(\d{1,9})(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})")


def read_picture(file: str | Path, flags: int, what: str = "frame") -> np.ndarray:
    """One picture, as ``cv2.imdecode`` gives it.

    Args:
        file: PNG, JPEG, BMP, PNM, TIFF, WebP or GIF, told by its contents.
        flags: of ``cv2.imdecode``.
        what: what the picture is, for the message.

    Raises:
        ClipError: the file is missing, empty, too large, or no picture that can be decoded.
        OSError: the disk or its rights do not give it, which is no fault of the clip.
        MemoryError: there is too little memory for it.
    """
    import cv2

    try:
        if (size := Path(file).stat().st_size) > MOST_BYTES:
            raise ClipError(f"{what} {file} has {size / 1e6:.0f} MB; a picture has at most {MOST_BYTES / 1e6:.0f} MB")
        data = np.fromfile(file, np.uint8)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ClipError(f"{what} {file} cannot be read: {error.strerror}") from error
    if not data.size:
        raise ClipError(f"{what} {file} is empty (0 bytes)")
    told = picture_size(memoryview(data))
    if told is not None:
        check_size(*told, f"{what} {file}")
    try:
        image = None if told is None else cv2.imdecode(data, flags)
    except cv2.error:  # OpenCV asserts where it might return None.
        image = None
    if image is None:
        if told is not None:
            np.empty((*told, 4), np.uint16)  # For want of memory OpenCV says no more than of a damaged file.
        raise ClipError(f"{what} {file} is not an image that can be decoded")
    return image


def check_size(width: int, height: int, what: str) -> None:
    """Raise ClipError where a picture is larger than :data:`MOST_SIDE` a side."""
    if max(width, height) > MOST_SIDE:
        raise ClipError(f"{what} is {width}x{height}; at most {MOST_SIDE}x{MOST_SIDE} is read: make it smaller")


def picture_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """Width and height that the header of a picture file tells; None where there is no header that is known.

    Args:
        data: the whole file: a JPEG may tell its size late.
    """
    head = bytes(data[:512])
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if head.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if head.startswith(b"BM"):
            old = struct.unpack_from("<I", head, 14)[0] == 12
            width, height = struct.unpack_from("<HH" if old else "<ii", head, 18)
            return abs(width), abs(height)
        if head.startswith((b"GIF87a", b"GIF89a")):
            return struct.unpack_from("<HH", head, 6)
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return _webp(head)
        if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff(data)
    except (struct.error, OverflowError):  # Cut short, or pointing beyond its end.
        return None
    found = _PNM.match(head)
    return (int(found[1]), int(found[2])) if found else None


def _png(data: bytes | memoryview) -> tuple[int, int] | None:
    """None too where a chunk claims to be longer than the file: OpenCV (4.14) takes so much memory, up to 4 GB."""
    place = 8
    while place + 8 <= len(data):
        length = struct.unpack_from(">I", data, place)[0]
        if length > len(data):
            return None
        if data[place + 4 : place + 8] == b"IEND":  # What comes after it is not the picture's.
            break
        place += 12 + length
    return struct.unpack_from(">II", data, 16)


def _jpeg(data: bytes | memoryview) -> tuple[int, int] | None:
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:  # Bytes between segments are passed over, as libjpeg does.
            place += 1
            continue
        marker = data[place + 1]
        if marker in _JPEG_SIZE:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        if marker in (0x00, 0xFF) or marker in _JPEG_BARE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker in (0xD9, 0xDA):  # The end, or pixels before any size.
            return None
        place += 2 + struct.unpack_from(">H", data, place + 2)[0]
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = struct.unpack_from("<I", head, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if head[12:16] == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff(data: bytes | memoryview) -> tuple[int, int] | None:
    order, big = "<" if data[0] == 0x49 else ">", 43 in (data[2], data[3])
    first = struct.unpack_from(f"{order}Q", data, 8)[0] if big else struct.unpack_from(f"{order}I", data, 4)[0]
    count = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, first)[0]
    place, length = (first + 8, 20) if big else (first + 2, 12)
    found: dict[int, int] = {}
    for _ in range(min(count, 4096)):
        tag, kind = struct.unpack_from(f"{order}HH", data, place)
        form = {3: "H", 4: "I", 16: "Q"}.get(kind)
        if tag in (256, 257) and form:
            found.setdefault(tag, struct.unpack_from(f"{order}{form}", data, place + (12 if big else 8))[0])
        place += length
    return (found[256], found[257]) if len(found) == 2 else None
