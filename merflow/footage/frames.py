"""The frames of a clip: their numbers, and their grey pixels with one frame in memory at a time."""

import glob as globbing
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from merflow.errors import ClipError
from merflow.footage.clip import Clip
from merflow.footage.images import check_size, read_image
from merflow.footage.video import missing_bytes

IMAGES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_LAST_NUMBER = re.compile(r"(\d+)\D*$")
FPS_OF_IMAGES = 200.0
"""Frames per second assumed for images without a stated rate: high-speed cameras write images."""
FPS_OF_VIDEOS = 25.0
"""Frames per second assumed for videos whose file states no plausible rate."""
VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}


def is_video(source: str | Path) -> bool:
    """Return whether ``source`` is a video file, by its suffix."""
    return os.path.splitext(source)[1].lower() in VIDEOS and not os.path.isdir(source)


def image_paths(source: str | Path) -> list[str]:
    """List the image files of a folder, of a glob or of one image, in no particular order; nothing is opened.

    Hidden files and those of file managers (``.DS_Store``, ``Thumbs.db``, ``._*``) are skipped.
    """
    source = str(source)
    if os.path.isdir(source):
        with os.scandir(source) as entries:
            return [entry.path for entry in entries if _is_image_name(entry.name) and entry.is_file()]
    files = [source] if os.path.isfile(source) else filter(os.path.isfile, globbing.glob(source))
    return [name for name in files if _is_image_name(os.path.basename(name))]


def _is_image_name(name: str) -> bool:
    return name[0] != "." and os.path.splitext(name)[1].lower() in IMAGES


def numbers_of_names(files: Iterable[str]) -> dict[int, str] | None:
    """Return files by the last run of digits in their names, unordered; None if that is not one number each."""
    numbers: dict[int, str] = {}
    for file in files:
        digits = _LAST_NUMBER.search(os.path.splitext(os.path.basename(file))[0])
        if digits is None or (number := int(digits[1])) in numbers:
            return None
        numbers[number] = file
    return numbers


class FrameList:
    """The images of a folder, a glob or one image by frame number, ascending; nothing is opened.

    Attributes:
        files: file of each frame.
        numbered: whether the names hold one number each; if not, images are counted from 0 in the order of their names.
        first: lowest number; 0 if there is no image.
        last: highest number; 0 if there is no image.
    """

    def __init__(self, source: str | Path) -> None:
        """List ``source``."""
        paths = image_paths(source)
        numbers = numbers_of_names(paths)
        self.numbered = numbers is not None
        by_name = sorted(paths, key=os.path.basename)
        self.files = dict(enumerate(by_name) if numbers is None else sorted(numbers.items()))
        self.first, self.last = min(self.files, default=0), max(self.files, default=0)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def __contains__(self, number: int) -> bool:
        """Return whether a frame has this number."""
        return number in self.files

    def count(self, first: int, last: int) -> int:
        """Return the number of frames ``first..last``."""
        return sum(first <= n <= last for n in self.files)

    def empty(self, first: int, last: int) -> list[str]:
        """Return the files of 0 bytes among the frames ``first..last``, in order."""
        return [file for n, file in self.files.items() if first <= n <= last and not os.path.getsize(file)]

    def gaps(self, first: int, last: int) -> list[int]:
        """Return the numbers between ``first`` and ``last`` (both excluded) that have no file."""
        inside = sum(first < n < last for n in self.files)
        if inside >= last - first - 1 or last - first > 100 * len(self.files):
            return []
        return [n for n in range(first + 1, last) if n not in self.files]


def read_grey(file: str | Path) -> np.ndarray:
    """Read one image as grey, uint8 [H, W].

    Raises:
        ClipError: as :func:`merflow.footage.images.read_image`.
    """
    import cv2

    return read_image(file, cv2.IMREAD_GRAYSCALE)


@contextmanager
def open_video(source: str | Path) -> Iterator[Any]:
    """Open a video as ``cv2.VideoCapture``, which is not opened if the file is not a video.

    OpenCV crashes at names that are not UTF-8, so such a file is opened through a symbolic link.
    """
    import cv2

    with TemporaryDirectory() if has_invalid_utf8(source) else nullcontext() as folder:
        name = str(source)
        if folder is not None:
            name = os.path.join(folder, "video" + Path(source).suffix.lower())
            os.symlink(os.path.abspath(source), name)
        capture = cv2.VideoCapture(name)
        try:
            yield capture
        finally:
            capture.release()


def has_invalid_utf8(name: str | Path) -> bool:
    """Return whether the name of a file holds bytes that are not UTF-8."""
    return any("\ud800" <= letter <= "\udfff" for letter in str(name))


def frames_per_second(source: Clip, configured: float | None) -> tuple[float, str]:
    """Return the frames per second of a source, and where the number comes from."""
    if configured:
        return float(configured), "from predict.fps"
    if source.fps:
        return float(source.fps), "from the table"
    if is_video(source.frames):
        import cv2

        with open_video(source.frames) as capture:
            rate = float(capture.get(cv2.CAP_PROP_FPS)) if capture.isOpened() else 0.0
        if 1 <= rate <= 10_000:
            return rate, "from the video"
        return FPS_OF_VIDEOS, "assumed, because the video does not say"
    return FPS_OF_IMAGES, "assumed, because images do not say"


def _video_frames(source: str) -> Iterator[tuple[int, np.ndarray]]:
    import cv2

    with open_video(source) as capture:
        if not capture.isOpened():
            raise ClipError(f"video {source} cannot be opened: missing, damaged, or its codec is not supported")
        width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        check_size(width, height, f"video {source}")
        number = 0
        while True:
            good, frame = capture.read()
            if not good or frame is None:
                break
            yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if frame.ndim == 3 else frame
            number += 1
    if not number:
        raise ClipError(f"video {source} has no frame that can be decoded: it is damaged or its codec is not supported")
    if missing := missing_bytes(source):
        raise ClipError(
            f"video {source} is cut off after frame {number - 1}: {missing} of the bytes that its header states are "
            "missing; copy it again"
        )


def grey_frames(source: str, first: int | None = None, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield frames ``first..last`` (inclusive; None: no bound) of a clip as (frame number, uint8 [H, W]), ascending.

    Frames of a video are counted from 0.

    Raises:
        ClipError: there is no frame, one cannot be read, or two have different sizes; the message names the file.
    """
    if is_video(source):
        frames = _video_frames(source)
    else:
        files = FrameList(source).files
        if not files:
            missing = not globbing.has_magic(str(source)) and not Path(source).exists()
            raise ClipError(f"{source} does not exist" if missing else f"{source} holds no image")
        low, high = min(files) if first is None else first, max(files) if last is None else last
        frames = ((number, read_grey(file)) for number, file in files.items() if low <= number <= high)
    shape: tuple[int, ...] | None = None
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
