"""TIFF files of several pages: each page is found and decoded by itself, whatever the size of the file."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TIFFS = (".tif", ".tiff")
_REDUCED = 1
"""Bit of the tag NewSubfileType of a page that is a smaller copy of another one, such as a thumbnail."""
_SUBFILE, _WIDTH, _HEIGHT, _PHOTOMETRIC = 254, 256, 257, 262
_SHORT = 3


class Page(NamedTuple):
    """A page of a TIFF file."""

    offset: int
    width: int
    height: int
    white_is_zero: bool


class TiffFile:
    """An open TIFF file or BigTIFF file.

    Attributes:
        pages: its pages without thumbnails; empty if the file is not a TIFF file.
        complete: whether the list of pages ends as it should.
    """

    def __init__(self, file: str | Path) -> None:
        """Open ``file``; what is written to ``data`` does not reach the disk."""
        self.data = np.memmap(file, np.uint8, "c") if os.path.getsize(file) else np.empty(0, np.uint8)
        magic = self.data[:4].tobytes()
        self.order = {b"II": "<", b"MM": ">"}.get(magic[:2], "")
        self.big = magic[2:].strip(b"\0") == b"\x2b"
        valid = self.order and magic[2:].strip(b"\0") in (b"\x2a", b"\x2b")
        self.complete = False
        self.pages = list(self._walk()) if valid else []

    def _number(self, start: int, size: int) -> int:
        field = self.data[start : start + size]
        return int.from_bytes(field.tobytes(), "little" if self.order == "<" else "big") if len(field) == size else 0

    def _walk(self) -> Iterator[Page]:
        """Yield the pages by the chain of directories; the chain ends where a damaged file turns back or ends."""
        word, counts, entry = (8, 8, 20) if self.big else (4, 2, 12)
        offset, seen = self._number(word, word), set()
        while offset and offset not in seen and offset < len(self.data):
            seen.add(offset)
            tags: dict[int, int] = {}
            first, number = offset + counts, self._number(offset, counts)
            if first + number * entry > len(self.data):
                return
            for start in range(first, first + number * entry, entry):
                size = 2 if self._number(start + 2, 2) == _SHORT else 4
                tags[self._number(start, 2)] = self._number(start + entry - word, size)
            if not tags.get(_SUBFILE, 0) & _REDUCED:
                yield Page(offset, tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0), tags.get(_PHOTOMETRIC) == 0)
            offset = self._number(first + number * entry, word)
        self.complete = not offset

    def read(self, page: int, flags: int) -> Any:
        """Return a page as ``cv2.imdecode`` does; None if it cannot be decoded.

        The decoder takes it for the first one, so that it neither looks at the others nor copies them.
        """
        import cv2

        word = 8 if self.big else 4
        self.data[word : 2 * word] = np.frombuffer(np.array(self.pages[page].offset, f"{self.order}u{word}"), np.uint8)
        return cv2.imdecode(self.data, flags)


def open_tiff(file: str | Path) -> TiffFile:
    """Return an open TIFF file; the last one stays open, because its pages are read one after the other."""
    stat = os.stat(file)
    return _open_tiff(str(file), stat.st_size, stat.st_mtime_ns)


@lru_cache(1)
def _open_tiff(file: str, size: int, time: int) -> TiffFile:
    return TiffFile(file)


def page_count(file: str | Path) -> int:
    """Number of pages of a TIFF file without thumbnails; 1 for other files and for those that cannot be read."""
    if Path(file).suffix.lower() not in TIFFS:
        return 1
    try:
        return max(1, len(open_tiff(file).pages))
    except OSError:  # Who reads the file says what is wrong.
        return 1


def white_is_zero(file: str | Path, page: int | None) -> bool:
    """Return whether ``file`` is a TIFF file in whose (first) page 0 is white."""
    pages = open_tiff(file).pages[page or 0 :] if Path(file).suffix.lower() in TIFFS else []
    return bool(pages) and pages[0].white_is_zero
