"""The frames of a clip: which there are, and their grey pixels, one frame in memory at a time."""

import glob as globbing
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from merflow.errors import ClipError

IMAGES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}


def is_video(source: str | Path) -> bool:
    """Whether ``source`` names a video file, by its suffix."""
    return Path(source).suffix.lower() in VIDEOS and not Path(source).is_dir()


def image_files(source: str | Path) -> list[Path]:
    """Image files of a folder, of a glob or of one image, in no particular order; nothing is opened.

    Hidden files and the litter of file managers (``.DS_Store``, ``Thumbs.db``, ``._*``) are passed over.
    """
    source = Path(source)
    if source.is_dir():
        found = [Path(entry.path) for entry in os.scandir(source) if entry.is_file()]
    elif source.is_file():
        found = [source]
    else:
        found = [Path(name) for name in globbing.glob(str(source)) if os.path.isfile(name)]
    return [f for f in found if f.suffix.lower() in IMAGES and not f.name.startswith(".")]


def own_numbers(files: list[Path]) -> dict[int, Path] | None:
    """Files by the last run of digits in their names, unordered; None where that is not one number each."""
    numbers: dict[int, Path] = {}
    for file in files:
        digits = re.findall(r"\d+", file.stem)
        if not digits or int(digits[-1]) in numbers:
            return None
        numbers[int(digits[-1])] = file
    return numbers


def numbered(files: list[Path]) -> dict[int, Path]:
    """Files by frame number, ascending: the last run of digits in the name, as an integer (padding varies).

    Where a name has no digits or two names give one number, files are counted from 0 in order of their names.
    """
    numbers = own_numbers(files)
    return dict(enumerate(sorted(files, key=lambda f: f.name)) if numbers is None else sorted(numbers.items()))


def read_grey(file: Path) -> np.ndarray:
    """One image as grey, uint8 [H, W].

    Raises:
        ClipError: the file is missing, empty or no image that can be decoded.
    """
    import cv2

    try:
        data = np.fromfile(file, np.uint8)
    except OSError as error:
        raise ClipError(f"frame {file} cannot be read: {error.strerror}") from error
    if not data.size:
        raise ClipError(f"frame {file} is empty (0 bytes)")
    image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ClipError(f"frame {file} is not an image that can be decoded")
    return image


def _video_frames(source: str) -> Iterator[tuple[int, np.ndarray]]:
    import cv2

    capture = cv2.VideoCapture(source)
    try:
        if not capture.isOpened():
            raise ClipError(f"video {source} cannot be opened: missing, damaged, or its codec is not supported")
        number = 0
        while True:
            good, frame = capture.read()
            if not good:
                break
            yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if frame.ndim == 3 else frame
            number += 1
    finally:
        capture.release()
    if not number:
        raise ClipError(f"video {source} holds no frame that can be decoded")


def grey_frames(source: str, first: int | None = None, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Frames ``first..last`` (inclusive; ``None``: no bound) of a clip as (frame number, uint8 [H, W]), ascending.

    Frames of a video are counted from 0.

    Raises:
        ClipError: nothing there, an unreadable frame, or frames of two sizes; the message names the file.
    """
    if is_video(source):
        frames = _video_frames(source)
    else:
        files = numbered(image_files(source))
        if not files:
            missing = not globbing.has_magic(str(source)) and not Path(source).exists()
            raise ClipError(f"{source} does not exist" if missing else f"{source} holds no image")
        wanted = {n: f for n, f in files.items() if (first is None or n >= first) and (last is None or n <= last)}
        frames = ((number, read_grey(file)) for number, file in wanted.items())
    shape = None
    for number, frame in frames:
        if last is not None and number > last:
            break
        if first is not None and number < first:
            continue
        if shape is not None and frame.shape != shape:
            raise ClipError(
                f"{source}: frame {number} is {frame.shape[1]}x{frame.shape[0]}, those before {shape[1]}x{shape[0]}"
            )
        shape = frame.shape
        yield number, frame
    if shape is None:
        raise ClipError(f"{source} has no frame in {first}..{last}")
