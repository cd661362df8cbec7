"""FFmpeg's frames of a video, through PyAV: their numbers and times, and which of them are damaged or missing."""

import errno
import heapq
import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from merflow.errors import ClipError
from merflow.footage.images import MAX_SIDE, check_size

CONTAINERS = "asf,avi,dv,flv,gif,matroska,mov,mpeg,mpegts,mpegvideo,mxf,ogg"
"""FFmpeg's names of the formats that are read; none of them is a playlist or a list of other files."""
DAMAGED, TRACES, MISSING = "is damaged", "builds on a damaged frame", "is missing from the file"
"""What is wrong with a frame that has no picture."""
_MOST_MISSING = 60.0
"""Seconds in which frames that are missing are counted; a longer pause has the numbers of this one."""
_BLANK = 64
"""Bytes of zeros with which no packet of compressed video begins."""
_LATEST = 0.5
"""Seconds by which a frame may be behind those before it; if it is more, the file begins to count its times anew."""
_NO_VIDEO = (
    errno.ENOENT,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EINVAL,
)  # EINVAL: a damaged file states impossible offsets.


class Decoded(NamedTuple):
    """A frame as FFmpeg decodes it."""

    number: int
    seconds: float
    image: Any  # PyAV's frame; None if there is a fault
    fault: str = ""  # DAMAGED, TRACES or MISSING


class CutOffError(ClipError):
    """The file ends before its video does; the frames up to there were read."""


@contextmanager
def open_video(file: str | Path) -> Iterator[tuple[Any, Any]]:
    """Yield PyAV's container and its stream of frames. FFmpeg can reach no other file and no network.

    Raises:
        ClipError: the file is no video, or its frames are too large.
    """
    import av

    options, opened = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}, False
    kind = av.stream.Disposition
    still = kind.attached_pic | kind.timed_thumbnails | kind.still_image
    try:
        with open(file, "rb") as source, av.open(source, options=options, metadata_errors="replace") as container:
            moving = [s for s in container.streams.video if s.codec_context and not s.disposition & still]
            if not moving:
                raise ClipError(f"video {file} holds no moving pictures, or its codec is not supported")
            # A cover may also come as a video of one frame; `frames` is 0 if the file states no number.
            moving = [stream for stream in moving if stream.frames != 1] or moving
            best = container.streams.best("video")
            stream = best if best in moving else moving[0]
            check_size(stream.codec_context.width, stream.codec_context.height, f"video {file}")
            opened = True
            yield container, stream
    except (av.error.FFmpegError, OSError) as error:
        of_file = isinstance(error, av.error.FFmpegError) or error.errno in _NO_VIDEO
        if not of_file or (opened and isinstance(error, MemoryError)):  # A damaged header may claim any memory.
            raise
        message = f"video {file} cannot be opened: missing, damaged, or its codec is not supported"
        raise ClipError(message) from error


class Times(NamedTuple):
    """The times of a video's frames, by its packets, of which none is decoded."""

    steps: np.ndarray  # float [n - 1], seconds between frames
    stated: float  # frames per second that the file states; 0 if it states none
    interval: float | None  # seconds of a frame at a constant rate; None if it varies, or no frame can be missing
    gaps: set[int]  # times after each gap, in units of the stream
    lacking: int  # frames that the file states but does not have, nor gaps for them


def read_times(file: str | Path) -> Times:
    """Return the times of a video's frames.

    Frames that come at a constant rate are missing where the next one is late. In MP4 and MOV, which list their frames,
    none can be lost, so that each step is as long as the camera made it.

    Raises:
        ClipError: the file cannot be opened as a video.
    """
    packets, stamps, cut = 0, set(), False
    with open_video(file) as (container, stream):
        name, unit, rate = container.format.name, float(stream.time_base), float(stream.guessed_rate or 0)
        for packet in container.demux(stream):
            packets, cut = packets + (packet.size > 0), cut or packet.is_corrupt
            if packet.size and not packet.is_discard:
                stamps.add(packet.dts if name == "avi" else packet.pts)
        stated = {"avi": stream.frames, "mxf": round((stream.duration or 0) * unit * rate)}.get(name, 0)
    in_order = sorted(stamps - {None})
    steps = np.diff(in_order) * unit
    interval = None if name.startswith("mov") else _constant_interval(steps, rate)
    missing = [_missing(step, interval) for step in steps]
    gaps = {stamp for stamp, count in zip(in_order[1:], missing, strict=True) if count}
    return Times(steps, rate, interval, gaps, 0 if cut else max(0, stated - packets - sum(missing)))


def _constant_interval(steps: np.ndarray, rate: float) -> float | None:
    """Return the interval of frames that come at a constant rate, of which some may be missing; None if it varies.

    The ``rate`` that the file states counts if it is lower: fields may be packets of their own.
    """
    if not len(steps):
        return None
    usual = float(np.median(steps))
    near = np.abs(steps - usual) <= 0.1 * usual + 0.001
    constant = near.mean() >= 0.8 and all(_late(step, usual) for step in steps[~near])
    return max(float(steps[near].mean()), 1 / rate if rate else 0) if constant else None


def _late(step: float, interval: float) -> bool:
    """Return whether a step is so much longer than the usual interval, both in seconds, that frames are missing."""
    return step > 1.5 * interval + 0.001


def _missing(step: float, interval: float | None) -> int:
    """Return how many frames are missing between two that are ``step`` seconds apart."""
    return max(1, round(min(step, _MOST_MISSING) / interval) - 1) if interval and _late(step, interval) else 0


def decode(file: str | Path, container: Any, stream: Any, times: Times) -> Iterator[Decoded]:
    """Yield the frames in the order in which they are shown; those that are damaged or missing have their numbers.

    Raises:
        CutOffError: the file ends before the video does.
    """
    return _without_traces(_decoded(file, container, stream, _Numbering(container, stream, times)))


def _without_traces(frames: Iterable[Decoded]) -> Iterator[Decoded]:
    """Yield the frames; those that may build on a frame with a fault have one too: no decoder reports them.

    These are the frames up to the next key frame, and bidirectional ones directly before the fault.
    """
    from av.video.frame import PictureType

    whole, unsure = True, []
    for frame in frames:
        whole = frame.image is not None and (whole or frame.image.key_frame)
        if whole and frame.image.pict_type == PictureType.B:
            unsure.append(frame)
            continue
        for each in (*unsure, frame):
            yield each if whole or each.image is None else each._replace(image=None, fault=TRACES)
        unsure = []
    yield from unsure


class _Numbering:
    """Gives frames their numbers and times, in the order in which they are shown."""

    def __init__(self, container: Any, stream: Any, times: Times) -> None:
        import av

        self.interval, self.gaps = times.interval, times.gaps
        self.regular = False  # Whether a frame came after the interval; if none does, two packets may make a frame.
        self.start = None if container.start_time is None else container.start_time / av.time_base
        self.unit, self.rate = float(stream.time_base), times.stated or 25.0
        self.decoding: deque[int] = deque()  # Times of decoding; frames without other times have them in this order.
        self.number = 0  # Of the next frame.
        self.shown: int | None = None  # Latest time of a frame in units of the stream.
        self.absent: deque[float] = deque(maxlen=64)  # Times of frames without a picture.

    def frames(self, stamp: int | None, image: Any, fault: str = "") -> Iterator[Decoded]:
        """Yield the frames that are missing before the next one, and that one."""
        stamp = self.decoding.popleft() if stamp is None and self.decoding else stamp
        seconds = self.number / self.rate
        if stamp is not None:
            self.start = stamp * self.unit if self.start is None else self.start
            step = 0.0 if self.shown is None else (stamp - self.shown) * self.unit
            if self.shown is not None and step <= -_LATEST:  # As where recordings were joined.
                self.start += step - (self.interval or 1 / self.rate)
                self.absent.clear()
            seconds = stamp * self.unit - self.start
            behind = self.shown is not None and -_LATEST < step <= 0
            near = (self.interval or 0.0) / 2 / self.unit
            if behind and any(abs(time - stamp) <= near for time in self.absent):
                return  # A decoder may give a frame so late after damage that its number was used.
            missing = _missing(step, self.interval) if self.regular or stamp in self.gaps else 0
            for index in range(missing):
                late = step * (1 - (index + 1) / (missing + 1))
                self.absent.append(stamp - late / self.unit)
                yield Decoded(self.number, seconds - late, None, MISSING)
                self.number += 1
            if image is None:
                self.absent.append(stamp)
            self.regular = self.regular or bool(step > 0 and self.interval and not _late(step, self.interval))
            self.shown = self.shown if behind else stamp
        yield Decoded(self.number, seconds, image, fault)
        self.number += 1


def _decoded(file: str | Path, container: Any, stream: Any, numbering: _Numbering) -> Iterator[Decoded]:
    """Yield the frames in the order in which they are shown; a fault of one is DAMAGED or MISSING.

    What lies before the first key frame and refers to frames that the file lacks is no frame, as in players.

    Raises:
        CutOffError: the file ends before the video does.
    """
    import av

    context = stream.codec_context
    # One thread: of 24 damaged files of a kind, two threads (slices or frames) gave other pictures or flags in 1 to 12
    # of H.264 and 2 to 4 of MPEG-4, often different ones in each run. They missed damage that one thread reports.
    context.thread_type = "NONE"
    context.flags |= av.codec.context.Flags.output_corrupt
    # MJPEG reports damage only if asked to; other decoders would then refuse frames that are whole.
    context.options = {"max_pixels": str(MAX_SIDE**2)} | ({"err_detect": "explode"} if context.name == "mjpeg" else {})
    unit = float(stream.time_base)
    timeless = container.format.name == "avi"  # It has no times but those of decoding; FFmpeg would guess others.
    marks_cuts = timeless or container.format.name.split(",")[0] in ("flv", "mov")
    waiting: list[int] = []  # Times of packets whose frame did not come yet, a heap.
    incomplete: set[int] = set()  # Times of packets of which a part is lost.
    failed: deque[int] = deque()  # Indices of packets without a time that cannot be decoded.
    first_key, hurt = np.inf, -np.inf
    errors = packets = 0
    end, cut, pictureless = 0.0, False, False

    def lost(before: float) -> Iterator[Decoded]:
        """Yield the frames that should have come by now if packets are damaged; some packets have no picture."""
        nonlocal errors, pictureless
        while waiting and waiting[0] < before:
            stamp = heapq.heappop(waiting)
            pictureless = pictureless or not errors
            if errors and stamp >= first_key and (numbering.shown is None or stamp > numbering.shown):
                errors -= pictureless
                yield from numbering.frames(stamp, None, DAMAGED)
        while failed and (failed[0] <= numbering.number or before == np.inf):
            failed.popleft()
            yield from numbering.frames(None, None, DAMAGED)

    for packet in container.demux():
        if packet.is_corrupt and marks_cuts:
            cut = True  # The file ends within this packet.
            continue
        if packet.stream.index != stream.index:
            continue
        stamp = None if timeless else packet.pts
        if packet.size and stamp is None and packet.dts is not None:
            numbering.decoding.append(packet.dts)
        if packet.size and not packet.is_discard:
            packets += 1
            end = max(end, ((stamp or 0) + (packet.duration or 0)) * unit)
            if stamp is not None:
                heapq.heappush(waiting, stamp)
                if packet.is_corrupt:
                    incomplete.add(stamp)
            if packet.is_keyframe:
                first_key = min(first_key, -np.inf if stamp is None else stamp)
        blank = packet.size > 0 and not any(memoryview(packet)[:_BLANK])
        try:
            images = packet.decode()
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            images, errors, hurt = [], errors + 1, -np.inf if stamp is None else stamp
            if stamp is None:
                failed.append(packets - 1)
        if blank and not images and stamp is not None and not errors:
            errors, hurt = 1, stamp  # Not every decoder reports a packet of zeros, as a bad disk gives.
        for image in images:
            stamp = None if timeless else image.pts
            shown = -np.inf if stamp is None else stamp
            yield from lost(shown)
            if waiting and waiting[0] == shown:
                heapq.heappop(waiting)
            damaged = image.is_corrupt or stamp in incomplete
            incomplete.discard(stamp)
            if damaged and shown < first_key:
                continue
            first_key = min(first_key, shown)
            if image.key_frame and not damaged and shown > hurt:
                errors = 0
            yield from numbering.frames(stamp, None if damaged else image, DAMAGED if damaged else "")
    yield from lost(np.inf)
    # Matroska states the end of each stream, or its duration, in a tag.
    stated = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    missing = np.dot([3600, 60, 1], [float(part) for part in stated.groups()]) - end if stated else 0
    if numbering.number and (cut or missing > 1.5 / numbering.rate):
        raise CutOffError(f"video {file} is cut off after frame {numbering.number - 1}; copy it again")
