"""Video files: the number, the time and the grey picture of every frame, decoded by FFmpeg through PyAV."""

import errno
import heapq
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from merflow.errors import ClipError
from merflow.footage.images import MAX_SIDE, check_size

CONTAINERS = "asf,avi,dv,flv,gif,matroska,mov,mpeg,mpegts,mpegvideo,mxf,ogg"
"""FFmpeg's names of the formats that are read; none of them is a playlist or a list of other files."""
INTERLACED = "interlaced; deinterlaced to one picture per frame"
_FIRST_FIELD = {2: "tff", 3: "bff", 4: "tff", 5: "bff"}
"""Field that is shown first, by FFmpeg's number of the field order; its own programs write 4 and 5 in this sense."""
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_MAX_SPEED = 4
"""Limit of ``fastest`` of a :class:`FrameRate`, in rates of the median frame: the search has a tick for each."""
_NO_VIDEO = (
    errno.ENOENT,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EINVAL,
)  # EINVAL: a damaged file states impossible places.


class TimedFrame(NamedTuple):
    """One frame of a clip."""

    number: int  # of an image, or place in a video from 0, damaged frames included
    seconds: float  # time in the video, as players show it; NaN for images
    picture: np.ndarray | None  # grey, uint8 [H, W], upright, with square pixels; None if the frame is damaged
    key: bool = True  # whether it was coded without reference to other frames


class CutOffError(ClipError):
    """The file ends before its video does; the frames up to there were read."""


class FrameRate(NamedTuple):
    """Frames per second; ``fastest`` differs from ``mean`` if the frames do not all last equally long."""

    mean: float
    fastest: float


def unequal(shortest: float, longest: float) -> bool:
    """Return whether two durations of frames, in seconds, differ by more than rounded times do."""
    return longest > 1.5 * shortest + 0.001


def read_video(file: str | Path, notes: list[str]) -> Iterator[TimedFrame]:
    """Yield the frames of a video in the order in which they are shown, one in memory at a time.

    Interlaced frames are deinterlaced (bwdif), pixels made square, and pictures turned as the file says; 10 bits and
    more are scaled by their range. A cover picture is no frame. ``notes`` receives what a user should know.

    Raises:
        ClipError: the file is no video; its frames are too large, or none can be decoded.
        CutOffError: the file is cut off.
    """
    usable, now = False, -np.inf
    with _open(file) as (container, stream):
        aspect = float(stream.sample_aspect_ratio or 1)
        for number, seconds, image in _deinterlaced(_decoded(file, container, stream), stream, notes):
            now = max(now, seconds)  # A broken file may step back.
            if image is None:
                yield TimedFrame(number, now, None, False)
            else:
                usable = True
                yield TimedFrame(number, now, _upright(image, aspect, f"video {file}"), image.key_frame)
    if not usable:
        raise ClipError(f"video {file} has no frame that can be decoded: it is damaged or its codec is not supported")


def frame_rate(file: str | Path) -> FrameRate | None:
    """Return the frames per second by the times of the frames, of which none is decoded; None if the file has no times.

    Raises:
        ClipError: the file cannot be opened as a video.
    """
    with _open(file) as (container, stream):
        packets = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
        times = {packet.dts if container.format.name == "avi" else packet.pts for packet in packets} - {None}
        steps, stated = np.diff(sorted(times)) * float(stream.time_base), float(stream.guessed_rate or 0)
    if not len(steps):
        return FrameRate(stated, stated) if stated else None
    mean, shortest = len(steps) / float(steps.sum()), float(np.percentile(steps, 5))
    if unequal(shortest, float(steps.max())):
        return FrameRate(mean, 1 / max(shortest, float(np.median(steps)) / _MAX_SPEED))
    return FrameRate(stated, stated) if abs(stated / mean - 1) < 0.01 else FrameRate(mean, mean)


@contextmanager
def _open(file: str | Path) -> Iterator[tuple[Any, Any]]:
    """Yield PyAV's container and its stream of frames. FFmpeg can reach no other file and no network."""
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


_Decoded = tuple[int, float, Any]
"""Number, seconds, and PyAV's frame, None if it is damaged."""


def _decoded(file: str | Path, container: Any, stream: Any) -> Iterator[_Decoded]:
    """Yield the frames in the order in which they are shown.

    What lies before the first key frame and refers to frames that the file lacks is no frame, as in players.

    Raises:
        CutOffError: the file ends before the video does.
    """
    import av

    context = stream.codec_context
    context.thread_type = "NONE"  # Several threads do not say which frame is damaged, and sometimes not that one is.
    context.flags |= av.codec.context.Flags.output_corrupt
    # MJPEG reports damage only if asked to; other decoders would then refuse frames that are whole.
    context.options = {"max_pixels": str(MAX_SIDE**2)} | ({"err_detect": "explode"} if context.name == "mjpeg" else {})
    start, unit = container.start_time, float(stream.time_base)
    start = None if start is None else start / av.time_base
    rate = float(stream.guessed_rate or 25)
    timeless = container.format.name == "avi"  # It has no times but those of decoding; FFmpeg would guess others.
    marks_cuts = timeless or container.format.name.split(",")[0] in ("flv", "mov")
    waiting: list[int] = []  # Times of packets whose frame did not come yet, a heap.
    decoding: deque[int] = deque()  # Times of decoding; frames without other times have them in this order.
    failed: deque[int] = deque()  # Places of packets without a time that cannot be decoded.
    first_key, hurt = np.inf, -np.inf
    errors = number = packets = 0
    end, cut, pictureless = 0.0, False, False

    def seconds(stamp: int | None) -> float:
        """Return the time of the next frame."""
        nonlocal start
        stamp = decoding.popleft() if stamp is None and decoding else stamp
        if stamp is None:
            return number / rate
        start = stamp * unit if start is None else start
        return stamp * unit - start

    def lost(before: float) -> Iterator[_Decoded]:
        """Yield the frames that should have come by now if packets are damaged; some packets have no picture."""
        nonlocal number, errors, pictureless
        while waiting and waiting[0] < before:
            stamp = heapq.heappop(waiting)
            pictureless = pictureless or not errors
            if errors and stamp >= first_key:
                errors -= pictureless
                yield number, seconds(stamp), None
                number += 1
        while failed and (failed[0] <= number or before == np.inf):
            failed.popleft()
            yield number, seconds(None), None
            number += 1

    for packet in container.demux():
        if packet.is_corrupt and marks_cuts:
            cut = True  # The file ends within this packet.
            continue
        if packet.stream.index != stream.index:
            continue
        stamp = None if timeless else packet.pts
        if packet.size and stamp is None and packet.dts is not None:
            decoding.append(packet.dts)
        if packet.size and not packet.is_discard:
            packets += 1
            end = max(end, ((stamp or 0) + (packet.duration or 0)) * unit - (start or 0))
            if stamp is not None:
                heapq.heappush(waiting, stamp)
            if packet.is_keyframe:
                first_key = min(first_key, -np.inf if stamp is None else stamp)
        try:
            images = packet.decode()
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            images, errors, hurt = [], errors + 1, -np.inf if stamp is None else stamp
            if stamp is None:
                failed.append(packets - 1)
        for image in images:
            stamp = None if timeless else image.pts
            place = -np.inf if stamp is None else stamp
            yield from lost(place)
            if waiting and waiting[0] == place:
                heapq.heappop(waiting)
            if image.is_corrupt and place < first_key:
                continue
            first_key = min(first_key, place)
            if image.key_frame and not image.is_corrupt and place > hurt:
                errors = 0
            yield number, seconds(stamp), None if image.is_corrupt else image
            number += 1
    yield from lost(np.inf)
    # Matroska states the duration of each stream in a tag.
    stated = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    missing = np.dot([3600, 60, 1], [float(part) for part in stated.groups()]) - end if stated else 0
    if number and (cut or missing > 1.5 / rate):
        raise CutOffError(f"video {file} is cut off after frame {number - 1}; copy it again")


def _deinterlaced(frames: Iterator[_Decoded], stream: Any, notes: list[str]) -> Iterator[_Decoded]:
    """Yield the frames; from the first interlaced one on, those that are interlaced are deinterlaced."""
    import av

    graph: Any = None
    pending: tuple[int, float] | None = None  # The frame that the graph returns when it gets the next one.
    for number, seconds, image in frames:
        order = stream.codec_context.field_order
        if graph is None and image is not None and (image.interlaced_frame or order in _FIRST_FIELD):
            graph = av.filter.Graph()
            nodes = [graph.add_buffer(None, image.width, image.height, image.format, time_base=stream.time_base)]
            if not image.interlaced_frame:  # Otherwise the frames say which field is first.
                nodes.append(graph.add("setfield", _FIRST_FIELD[order]))
            nodes += [graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")]
            graph.link_nodes(*nodes).configure()
            notes += [] if INTERLACED in notes else [INTERLACED]
        if graph is None:
            yield number, seconds, image
            continue
        graph.vpush(image)
        if pending:
            yield *pending, graph.vpull()
        pending = (number, seconds)
        if image is None:  # It ended the graph; the next frame begins another one.
            graph = pending = None
            yield number, seconds, None
    if pending:
        graph.vpush(None)
        yield *pending, graph.vpull()


def _upright(image: Any, aspect: float, what: str) -> np.ndarray:
    """Return a frame as grey, its pixels of ``aspect`` made square, turned as the file says, uint8 [H, W]."""
    import cv2

    grey = _grey(image)
    height, width = grey.shape[0], max(1, round(grey.shape[1] * aspect))
    if width != grey.shape[1]:
        check_size(width, height, f"{what} with square pixels")
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if aspect < 1 else cv2.INTER_LINEAR)
    return np.ascontiguousarray(np.rot90(grey, round(image.rotation / 90)))


def _grey(image: Any) -> np.ndarray:
    """Return the luma of a frame by its true range, uint8 [H, W]; if it has none, OpenCV's grey of its colours."""
    import cv2

    kind, plane, bits = image.format, image.planes[0], image.format.components[0].bits
    if not kind.name.startswith(("yuv4", "yuvj4", "yuva4", "gray")) or bits > 16 or plane.line_size < 0:
        return np.asarray(cv2.cvtColor(image.to_ndarray(format="rgb24"), cv2.COLOR_RGB2GRAY))
    grey_alone = kind.name.startswith("gray") and image.color_range != _LIMITED_RANGE
    levels = _grey_levels(bits, image.color_range == _FULL_RANGE or kind.name.startswith("yuvj") or grey_alone)
    sample = np.dtype(np.uint8 if bits == 8 else ">u2" if kind.is_big_endian else "<u2")
    rows: np.ndarray = np.frombuffer(plane, sample).reshape(-1, plane.line_size // sample.itemsize)
    luma = rows[: image.height, : image.width]
    return np.asarray(cv2.LUT(luma.view(np.uint8), levels) if bits == 8 else levels[luma])


@lru_cache
def _grey_levels(bits: int, full: bool) -> np.ndarray:
    """Return the grey level of each luma, uint8 [2 ** bits]; unless full, 16 to 235 of 8 bits is the range (BT.709)."""
    low, high = (0, 2**bits - 1) if full else (16 << (bits - 8), 235 << (bits - 8))
    return np.round(np.clip((np.arange(2**bits) - low) * 255 / (high - low), 0, 255)).astype(np.uint8)
