"""Image files, decoded only if their header states an acceptable size: a few bytes may claim gigabytes."""

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from merflow.errors import ClipError
from merflow.footage.tiff import open_tiff, page_count, white_is_zero

MAX_SIDE = 8192
"""Longest side in pixels of an image or of a video's frames: eight times what the datasets of the field have."""
MAX_BYTES = 8 * MAX_SIDE**2
"""Largest image file: that many pixels of four channels of 16 bits."""
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP", "GIF")
"""Pillow's names of the formats that are read."""


def read_image(file: str | Path, flags: int, what: str = "frame") -> np.ndarray:
    """One image of one of :data:`FORMATS` as ``cv2.imdecode`` returns it; ``what`` names it in messages.

    Raises:
        ClipError: the file is missing, empty, too large, no image that can be decoded, or a TIFF file of several pages.
        OSError: the disk or its permissions prevent reading, which is not the clip's fault.
        MemoryError: there is too little memory for the image.
    """
    import cv2

    try:
        if (size := Path(file).stat().st_size) > MAX_BYTES:
            raise ClipError(f"{what} {file} has {size / 1e6:.0f} MB; an image has at most {MAX_BYTES / 1e6:.0f} MB")
        data = np.fromfile(file, np.uint8)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ClipError(f"{what} {file} cannot be read: {error.strerror}") from error
    if not data.size:
        raise ClipError(f"{what} {file} is empty (0 bytes)")
    if (pages := page_count(file)) > 1:
        raise ClipError(several_pages(file, pages))
    stated = image_size(data.tobytes())
    if stated is None:
        raise ClipError(f"{what} {file} is not an image that can be decoded")
    check_size(*stated, f"{what} {file}")
    return _decoded(lambda: cv2.imdecode(data, flags), stated, f"{what} {file}")


def read_page(file: str | Path, page: int, flags: int) -> np.ndarray:
    """One page of a TIFF file, from 0, as :func:`read_image` returns it; the file may be of any size."""
    try:
        tiff = open_tiff(file)
    except FileNotFoundError as error:
        raise ClipError(f"frame {file} cannot be read: {error.strerror}") from error
    what = f"page {page} of {file}"
    if page >= len(tiff.pages):
        raise ClipError(f"{what} does not exist")
    _, width, height, _ = tiff.pages[page]
    check_size(width, height, what)
    return _decoded(lambda: tiff.read(page, flags), (width, height), what)


def read_grey(file: str | Path, page: int | None = None) -> np.ndarray:
    """One image, or one page of a TIFF file, as grey with all its bits, uint8 or uint16 [H, W].

    Raises:
        ClipError: as :func:`read_image`, or the pixels are of another kind.
    """
    import cv2

    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
    image = read_image(file, flags) if page is None else read_page(file, page, flags)
    if image.dtype not in (np.uint8, np.uint16):
        raise ClipError(f"frame {file} has pixels of the type {image.dtype}; images of 8 or 16 bits are read")
    # OpenCV (4.14) inverts such images of 8 bits itself.
    return ~image if image.dtype == np.uint16 and white_is_zero(file, page) else image


def grey_images(images: Mapping[int, tuple[str, int | None]], bit_depth: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the numbers and grey levels, uint8 [H, W], of a clip's images, given as file and page.

    ``bit_depth`` bits of images of 16 bits are in use.

    Raises:
        ClipError: as :func:`read_grey`, or some images have 8 bits and others 16.
    """
    depth = 0
    for number, (file, page) in images.items():
        image = read_grey(file, page)
        bits = 8 * image.itemsize
        if bits != (depth := depth or bits):
            text = f"frame {number} ({file}) has {bits} bits, those before {depth}"
            raise ClipError(f"{text}; save all images of a clip with one depth")
        yield number, image if bits == 8 else np.minimum(image >> (bit_depth - 8), 255).astype(np.uint8)


def several_pages(file: str | Path, pages: int) -> str:
    """Return why a TIFF file of several pages is no image of a sequence."""
    return f"{file} is a TIFF file of {pages} pages, a clip of its own; separate it from other images"


def _decoded(decode: Callable[[], np.ndarray | None], size: tuple[int, int], what: str) -> np.ndarray:
    import cv2

    try:
        image = decode()
    except cv2.error:  # OpenCV raises for some damaged files and returns None for others.
        image = None
    if image is None:
        np.empty((*size, 4), np.uint16)  # A MemoryError of OpenCV looks like a damaged file; this one does not.
        raise ClipError(f"{what} is not an image that can be decoded")
    return image


def check_size(width: int, height: int, what: str) -> None:
    """Raise ClipError if an image is larger than :data:`MAX_SIDE` a side."""
    if max(width, height) > MAX_SIDE:
        raise ClipError(f"{what} is {width}x{height}; at most {MAX_SIDE}x{MAX_SIDE} is read: make it smaller")


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that the header of an image file states; None if it is not an image that may be decoded."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # Pillow only reads the header here, and check_size refuses large images.
    if data.startswith(b"\x89PNG") and not _png_chunks_fit(data):
        return None
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.size
    except MemoryError:
        raise
    except Exception:  # Pillow raises errors of many classes for damaged headers.
        return None


def _png_chunks_fit(data: bytes) -> bool:
    """Whether no chunk claims to be longer than the file: OpenCV (4.14) allocates what a chunk claims, up to 4 GB."""
    start = 8
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        if length > len(data):
            return False
        if kind == b"IEND":  # What follows does not belong to the image.
            break
        start += 12 + length
    return True
