"""Video files: the number, the time and the grey picture of every frame, decoded by FFmpeg through PyAV."""

import atexit
import os
from collections.abc import Generator, Iterator
from functools import lru_cache
from inspect import GEN_CLOSED, getgeneratorstate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from merflow.errors import ClipError
from merflow.footage.decoding import Decoded, decode, open_video, read_times
from merflow.footage.images import check_size

INTERLACED = "interlaced; deinterlaced to one picture per frame"
_FIRST_FIELD = {2: "tff", 3: "bff", 4: "tff", 5: "bff"}
"""Field that is shown first, by FFmpeg's number of the field order; its own programs write 4 and 5 in this sense."""
_FULL_RANGE = 2
_MAX_SPEED = 4
"""Limit of ``fastest`` of a :class:`FrameRate`, in rates of the median frame: the search has a tick for each."""


class TimedFrame(NamedTuple):
    """One frame of a clip."""

    number: int  # of an image, or index in a video from 0, damaged and missing frames included
    seconds: float  # time in the video, as players show it; NaN for images
    picture: np.ndarray | None  # grey, uint8 [H, W], upright, with square pixels; None if there is a fault
    fault: str = ""  # DAMAGED, TRACES or MISSING of merflow.footage.decoding


class FrameRate(NamedTuple):
    """Frames per second; ``fastest`` differs from ``mean`` if the frames do not all last equally long."""

    mean: float
    fastest: float


def read_video(file: str | Path, notes: list[str], skip_damaged: bool = False) -> Generator[TimedFrame, None, None]:
    """Yield the frames of a video in the order in which they are shown, one in memory at a time.

    Interlaced frames are deinterlaced (bwdif), pixels made square, and pictures turned as the file says; 10 bits and
    more are scaled by their range. A cover picture is no frame. ``notes`` receives what a user should know. If frames
    are missing at unknown times, it is an error unless ``skip_damaged``.

    Raises:
        ClipError: the file is no video; its frames are too large, or none can be decoded; frames are missing.
        CutOffError: the file is cut off.
    """
    times, usable, now = read_times(file), False, -np.inf
    if times.lacking:
        text = f"video {file} lacks {times.lacking} of the frames that it states, at unknown times; copy it again"
        if not skip_damaged:
            raise ClipError(text)
        notes.append(text)
    with open_video(file) as (container, stream):
        aspect = float(stream.sample_aspect_ratio or 1)
        frames = decode(file, container, stream, times)
        for number, seconds, image, fault in _deinterlaced(frames, stream, notes, f"video {file}"):
            now = max(now, seconds)  # A broken file may step back.
            picture = None if image is None else _upright(image, aspect, f"video {file}")
            usable = usable or picture is not None
            yield TimedFrame(number, now, picture, fault)
    if not usable:
        raise ClipError(f"video {file} has no frame that can be decoded: it is damaged or its codec is not supported")


class _Reading(NamedTuple):
    """A video that was read up to some frame."""

    frames: Generator[TimedFrame, None, None]  # those that follow
    notes: list[str]
    faulty: list[TimedFrame]  # those that were read and have a fault


_readings: dict[tuple[Any, ...], tuple[int, _Reading]] = {}
"""The video that was read last, and the number of its next frame."""
atexit.register(_readings.clear)  # Later, when modules are gone, closing it prints errors.


def resume_video(
    file: str | Path, first: int | None, last: int | None, notes: list[str], skip_damaged: bool = False
) -> Iterator[TimedFrame]:
    """Yield the frames of :func:`read_video` up to ``last``; of those before ``first``, at least the ones with a fault.

    The decoder of the last call goes on if it stopped before ``first``, so that clips of a long video in the order of
    their onsets decode it once. FFmpeg's seek would be faster but does not know the number of the frame it finds.
    """
    stat = os.stat(file) if os.path.isfile(file) else None
    key = (str(file), skip_damaged, stat and (stat.st_ino, stat.st_size, stat.st_mtime_ns))
    number, reading = _readings.get(key, (0, None))
    if reading is None or number > (first or 0):
        said: list[str] = []
        number, reading = 0, _Reading(read_video(file, said, skip_damaged), said, [])
    _readings.clear()  # Nobody else may go on with it now.
    try:
        yield from list(reading.faulty)
        for frame in reading.frames:
            number = frame.number + 1
            if frame.picture is None:
                reading.faulty.append(frame)
            yield frame
            if frame.number == last:
                break
    finally:
        notes += reading.notes
        if getgeneratorstate(reading.frames) != GEN_CLOSED:  # It neither ended nor failed.
            _readings[key] = number, reading


def varies(shortest: float, longest: float) -> bool:
    """Return whether durations of frames, in seconds, differ by over a tenth; times may be rounded to 1 ms."""
    return longest > 1.1 * shortest + 0.0011


def frame_rate(file: str | Path) -> FrameRate | None:
    """Return the frames per second by the times of the frames, of which none is decoded; None if the file has no times.

    Raises:
        ClipError: the file cannot be opened as a video.
    """
    times = read_times(file)
    steps, stated = times.steps, times.stated
    if not len(steps):
        return FrameRate(stated, stated) if stated else None
    mean, shortest = len(steps) / float(steps.sum()), float(np.percentile(steps, 5))
    if times.gaps and times.interval:  # Frames are missing, but the rate does not vary.
        mean = 1 / times.interval
    elif varies(shortest, float(steps.max())):
        return FrameRate(mean, 1 / max(shortest, float(np.median(steps)) / _MAX_SPEED))
    return FrameRate(stated, stated) if abs(stated / mean - 1) < 0.01 else FrameRate(mean, mean)


def _deinterlaced(frames: Iterator[Decoded], stream: Any, notes: list[str], what: str) -> Iterator[Decoded]:
    """Yield the frames; from the first interlaced one on, those that are interlaced are deinterlaced.

    Raises:
        ClipError: each frame is one field.
    """
    import av

    graph: Any = None
    kind: tuple[Any, ...] | None = None  # Size and pixel format of the frames in the graph.
    pending: Decoded | None = None  # The frame that the graph returns when it gets the next one.
    for frame in frames:
        image = frame.image
        now = image and (image.width, image.height, image.format.name)
        if graph is not None and now != kind:  # A frame with a fault or of another kind ends the graph.
            graph.vpush(None)
            assert pending is not None
            yield pending._replace(image=graph.vpull())
            graph = pending = None
        order = stream.codec_context.field_order
        if graph is None and image is not None and (image.interlaced_frame or order in _FIRST_FIELD):
            if image.interlaced_frame and stream.codec_context.name == "hevc":
                raise ClipError(
                    f"{what} is interlaced HEVC, whose fields FFmpeg gives as frames of half the height; "
                    "convert it to a progressive video"
                )
            graph, kind = av.filter.Graph(), now
            nodes = [graph.add_buffer(None, image.width, image.height, image.format, time_base=stream.time_base)]
            if not image.interlaced_frame:  # Otherwise the frames say which field is first.
                nodes.append(graph.add("setfield", _FIRST_FIELD[order]))
            nodes += [graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")]
            graph.link_nodes(*nodes).configure()
            notes += [] if INTERLACED in notes else [INTERLACED]
        if graph is None:
            yield frame
            continue
        graph.vpush(image)
        if pending:
            yield pending._replace(image=graph.vpull())
        pending = frame
    if pending:
        graph.vpush(None)
        yield pending._replace(image=graph.vpull())


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
    # As FFmpeg converts: formats without colour are of full range whatever the file says (libx265 calls them limited),
    # others only if the file says so. H.264 decodes to others: without its flag of full range, it is limited.
    levels = _grey_levels(bits, image.color_range == _FULL_RANGE or kind.name.startswith(("yuvj", "gray")))
    sample = np.dtype(np.uint8 if bits == 8 else ">u2" if kind.is_big_endian else "<u2")
    rows: np.ndarray = np.frombuffer(plane, sample).reshape(-1, plane.line_size // sample.itemsize)
    luma = rows[: image.height, : image.width]
    return np.asarray(cv2.LUT(luma.view(np.uint8), levels) if bits == 8 else levels[luma])


@lru_cache
def _grey_levels(bits: int, full: bool) -> np.ndarray:
    """Return the grey level of each luma, uint8 [2 ** bits]; unless full, 16 to 235 of 8 bits is the range (BT.709)."""
    low, high = (0, 2**bits - 1) if full else (16 << (bits - 8), 235 << (bits - 8))
    return np.round(np.clip((np.arange(2**bits) - low) * 255 / (high - low), 0, 255)).astype(np.uint8)
