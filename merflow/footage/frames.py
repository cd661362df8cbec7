"""The frames of a clip: their numbers, and their grey pixels with one frame in memory at a time."""

import glob as globbing
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median_low

import numpy as np

from merflow.errors import ClipError
from merflow.footage.clip import Clip
from merflow.footage.decoding import MISSING, CutOffError
from merflow.footage.images import grey_images, several_pages
from merflow.footage.tiff import open_tiff, page_count
from merflow.footage.video import FrameRate, TimedFrame, frame_rate, resume_video, varies

IMAGES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_NUMBER = re.compile(r"\d+")
MAX_DIGITS = 15
"""Last digits of a number in a name that are the frame number: no float holds more of them exactly."""
MAX_STEP = 100
"""Usual difference of the numbers of neighbouring images above which they are taken for times, such as microseconds."""
FPS_OF_IMAGES = 200.0
"""Frames per second assumed for images without a stated rate: high-speed cameras write images."""
FPS_OF_VIDEOS = 25.0
"""Frames per second assumed for videos whose file states no plausible rate."""
FROM_VIDEO = "from the video"
VIDEOS = {
    ".3g2", ".3gp", ".asf", ".avi", ".dv", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mkv", ".mod", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv",
}  # fmt: skip


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


def no_image(source: str | Path) -> str:
    """Return why a source that is no video has no image: it does not exist, or no reader takes its files."""
    listed = f"images ({', '.join(sorted(IMAGES))}) and videos ({', '.join(sorted(VIDEOS))})"
    folder, pattern = os.path.isdir(source), globbing.has_magic(str(source))
    suffix = "" if folder or pattern else os.path.splitext(source)[1].lower()
    if (file := os.path.isfile(source)) or suffix not in ("", *IMAGES):
        other = "" if file else ", nor a folder that exists"
        return f"{source} is neither a video nor an image by its name{other}; read are {listed}"
    if not folder and not pattern:
        return f"{source} does not exist{'; separate folders by /' if chr(92) in str(source) else ''}"
    files = globbing.glob(os.path.join(globbing.escape(str(source)), "*") if folder else str(source))
    others = sorted(os.path.basename(file) for file in files if os.path.isfile(file))
    more = f", but files such as {others[0]}; read are {listed}" if others else ""
    return f"{source} {'holds' if folder else 'matches'} no image{more}"


def frames_in_order(files: Iterable[str]) -> tuple[dict[int, str], str]:
    """Return the images of a clip by frame number, ascending, and why their order is not certain (empty: it is).

    The frame number is the one number in which the names differ; the rest of the names is equal but for case and
    leading zeros. That of a single image is the last number in its name.
    """
    ordered = sorted(files, key=lambda file: (os.path.basename(file), file))
    names = [os.path.splitext(os.path.basename(file))[0] for file in ordered]
    forms = [_NUMBER.sub("\0", name).casefold() for name in names]
    columns = list(zip(*map(_NUMBER.findall, names), strict=False))
    by_value = {tuple(map(int, column)): column for column in columns}
    differing = [numbers for numbers in by_value if len(set(numbers)) > 1]
    differing = differing or [tuple(map(int, column)) for column in columns[-1:]]
    if len(names) < 2:
        return {differing[0][0] % 10**MAX_DIGITS if differing else 0: file for file in ordered}, ""
    counts = Counter(forms)
    if len(counts) == len(differing) == 1:
        texts = by_value[differing[0]]
        column = columns.index(texts)
        fraction = column > 0 and forms[0].split("\0")[column] in (".", ",") and sorted(texts, key=int) != sorted(texts)
        in_order = sorted(zip(differing[0], ordered, strict=True))
        for (before, file), (after, next_file) in pairwise(in_order):
            shown = f"{os.path.basename(file)}, {os.path.basename(next_file)}"
            if before == after:
                return {}, f"two images have number {before}: {shown}; remove one, or give it another number"
            if before // 10**MAX_DIGITS != after // 10**MAX_DIGITS:
                return {}, f"the numbers of images differ before their last {MAX_DIGITS} digits: {shown}; rename them"
        if not fraction:
            return {number % 10**MAX_DIGITS: file for number, file in in_order}, ""
    rarest = forms.index(min(forms, key=lambda form: counts[form]))
    shown = ", ".join(os.path.basename(file) for file in ordered[max(rarest - 1, 0) : rarest + 2])
    text = "the order of the images is not certain, because their names do not differ in one whole number alone"
    return {}, f"{text}: {shown}; rename or remove images"


class FrameList:
    """The images of a folder, a glob or one image by frame number, ascending; only the first one is opened, if a TIFF.

    Attributes:
        files: file of each frame; empty if there is a problem.
        problem: why the order of the images is not certain; empty if it is.
        images: file and page of each frame. The frames of a single TIFF file of several pages are its pages, from 0;
            the page of other files is None.
        first: lowest number; 0 if there is no image.
        last: highest number; 0 if there is no image.
    """

    def __init__(self, source: str | Path) -> None:
        """List ``source``."""
        self.files, self.problem = frames_in_order(image_paths(source))
        first = next(iter(self.files.values()), "")
        pages = page_count(first)
        if pages > 1 and len(self.files) > 1:
            self.files, self.problem = {}, several_pages(first, pages)
        elif pages > 1 and not open_tiff(first).complete:
            self.files, self.problem = {}, f"{first} is cut off after page {pages - 1}; copy it again"
        elif pages > 1:
            self.files = dict.fromkeys(range(pages), first)
        self.images = {number: (file, number if pages > 1 else None) for number, file in self.files.items()}
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

    def gaps(self, first: int, last: int) -> list[range]:
        """Return the numbers between frames ``first`` and ``last`` that have no file.

        If numbers are times, these are the times at which frames are expected after a step of over 1.5 usual ones.
        """
        steps = list(pairwise(number for number in self.files if first <= number <= last))
        usual = median_low(after - before for before, after in steps) if steps else 1
        usual = usual if usual > MAX_STEP else 1
        return [
            range(before + usual, after - usual // 2, usual) for before, after in steps if after - before > 1.5 * usual
        ]


def frames_per_second(source: Clip, configured: float | None) -> tuple[FrameRate, str]:
    """Return the frames per second of a source, and where they come from: :data:`FROM_VIDEO`, or other words."""
    rate, words = None, "assumed, because images do not say"
    if fps := configured or source.fps:
        rate, words = FrameRate(fps, fps), "from predict.fps" if configured else "from the table"
    elif is_video(source.frames):
        rate, words = frame_rate(source.frames), FROM_VIDEO
        if rate is None or not 1 <= rate.mean <= 10_000:
            rate, words = FrameRate(FPS_OF_VIDEOS, FPS_OF_VIDEOS), "assumed, because the video does not say"
    return rate or FrameRate(FPS_OF_IMAGES, FPS_OF_IMAGES), words


def read_frames(
    source: str,
    first: int | None = None,
    last: int | None = None,
    *,
    fps: float | None = None,
    notes: list[str] | None = None,
    skip_damaged: bool = False,
    bit_depth: int = 16,
) -> Iterator[TimedFrame]:
    """Yield frames ``first..last`` (inclusive; None: no bound) of a clip, ascending; those of a video count from 0.

    Args:
        source: folder of images, glob or video.
        first: lowest frame number.
        last: highest frame number.
        fps: the times of the frames follow from this rate; None: the times that the video states.
        notes: receives what a user should know of the frames.
        skip_damaged: whether damaged frames of a video between ``first`` and ``last`` are left out and noted, and a
            file that is cut off is read up to there if ``last`` is None.
        bit_depth: bits in use of images of more than 8 bits.

    Raises:
        ClipError: there is no frame, one cannot be read, or two differ in size or depth; the message names the file.
    """
    notes = [] if notes is None else notes
    if is_video(source):
        frames = resume_video(source, first, last, notes, skip_damaged)
        frames = _up_to_cut(frames, notes) if skip_damaged and last is None else frames
        frames = frames if fps is None else (frame._replace(seconds=frame.number / fps) for frame in frames)
    else:
        listed = FrameList(source)
        if not (files := listed.images):
            raise ClipError(f"{source}: {listed.problem}" if listed.problem else no_image(source))
        low, high = min(files) if first is None else first, max(files) if last is None else last
        chosen = {number: image for number, image in files.items() if low <= number <= high}
        frames = (
            TimedFrame(number, index / (fps or np.nan), grey)
            for index, (number, grey) in enumerate(grey_images(chosen, bit_depth))
        )
    shape: tuple[int, ...] | None = None
    faulty: dict[bool, list[TimedFrame]] = {False: [], True: []}
    before, steps = np.nan, [np.inf, 0.0]
    for frame in frames:
        number, seconds, picture, fault = frame
        if last is not None and number > last:
            break
        outside = first is not None and number < first
        if picture is None:
            faulty[fault == MISSING].append(frame)
            if not outside and not skip_damaged:
                raise ClipError(f"video {source}: frame {number} ({seconds:.2f} s) {fault}")
        elif not outside:
            if shape not in (None, picture.shape):
                sizes = ["x".join(map(str, each[::-1])) for each in (picture.shape, shape or ())]
                raise ClipError(f"{source}: frame {number} is {sizes[0]}, those before {sizes[1]}")
            shape = picture.shape
            # Comparisons with NaN, the time of images, are false.
            steps = [min(steps[0], seconds - before), max(steps[1], seconds - before)]
            yield frame
        before = np.nan if picture is None or outside else seconds
    if shape is None:
        raise ClipError(f"{source} has no frame in {first}..{last}")
    for missing, text in ((False, "damaged frames left out"), (True, "frames missing from the file")):
        notes += [f"{text}: {_listed(faulty[missing])}"] if faulty[missing] else []
    if fps is None and varies(*steps):
        notes.append(f"the frame rate varies from {1 / steps[1]:.3g} to {1 / max(steps[0], 1e-4):.3g} per second")


def _listed(frames: Sequence[TimedFrame]) -> str:
    """Return the numbers and times of some frames, as ``3 (0.12 s), 7 (0.28 s) to 9 (0.36 s)``."""
    runs: list[list[str]] = []
    before = None
    for frame in frames:
        text = f"{frame.number} ({frame.seconds:.2f} s)"
        if before is not None and frame.number == before + 1:
            runs[-1][1:] = [text]
        else:
            runs.append([text])
        before = frame.number
    more = f" and {len(runs) - 5} more" if len(runs) > 5 else ""
    return ", ".join(" to ".join(run) for run in runs[:5]) + more


def _up_to_cut(frames: Iterator[TimedFrame], notes: list[str]) -> Iterator[TimedFrame]:
    """Yield the frames of a video; if its file is cut off, note it instead of raising an error."""
    try:
        yield from frames
    except CutOffError as error:
        notes.append(str(error))


def grey_frames(
    source: str,
    first: int | None = None,
    last: int | None = None,
    notes: list[str] | None = None,
    bit_depth: int = 16,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (frame number, uint8 [H, W]) of :func:`read_frames`; a damaged frame among them is an error."""
    for frame in read_frames(source, first, last, notes=notes, bit_depth=bit_depth):
        assert frame.picture is not None
        yield frame.number, frame.picture
