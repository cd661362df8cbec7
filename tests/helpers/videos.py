"""Small videos of known content, written with PyAV."""

from fractions import Fraction

import av
import numpy as np

from merflow.footage.frames import read_frames

CLOCK = Fraction(1, 10_000)
FIRST_FIELDS = {2: "tff", 3: "bff", 4: "tff", 5: "bff"}
"""Field that is shown first in each interlaced field order of FFmpeg."""


def waves(count=12, height=96, width=128):
    """Return grey pictures, uint8 [H, W], in which a smooth pattern moves by two pixels a frame."""
    return [wave(number, height, width) for number in range(count)]


def wave(time, height=96, width=128):
    rows, columns = np.mgrid[:height, :width]
    return np.round(128 + 60 * np.sin((columns + 2 * time) / 14) + 40 * np.cos(rows / 11)).astype(np.uint8)


def noise(count, height=96, width=128):
    """Return grey pictures of noise, which cannot be compressed."""
    return list(np.random.default_rng(0).integers(0, 255, (count, height, width), np.uint8))


def fields(count, first, height=96, width=128):
    """Return interlaced pictures: the ``first`` field (0: top) shows a time, the other one half a frame later."""
    pictures = []
    for number in range(count):
        picture = wave(number, height, width)
        picture[1 - first :: 2] = wave(number + 0.5, height, width)[1 - first :: 2]
        pictures.append(picture)
    return pictures


def interlaced_frame(frame, order):
    """Return a frame that is marked as interlaced, for encoders that take the field order from the frames."""
    graph = av.filter.Graph()
    source = graph.add_buffer(None, frame.width, frame.height, frame.format, time_base=frame.time_base)
    graph.link_nodes(source, graph.add("setfield", FIRST_FIELDS[order]), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()


def luma_frame(picture, pixels):
    """Return a frame without colour whose luma is a grey picture, in the range of its format."""
    if pixels == "uyvy422":
        return luma_frame(picture, "yuv422p").reformat(format=pixels)
    frame = av.VideoFrame(picture.shape[1], picture.shape[0], pixels)
    bits = frame.format.components[0].bits
    full = pixels.startswith(("yuvj", "gray"))
    low, high = (0, 2**bits - 1) if full else (16 << bits - 8, 235 << bits - 8)
    kind = np.uint8 if bits == 8 else np.dtype("<u2")
    for number, plane in enumerate(frame.planes):
        rows = np.full((plane.height, plane.line_size // np.dtype(kind).itemsize), 1 << bits - 1, kind)
        if number == 0:
            rows[:, : picture.shape[1]] = np.round(low + picture.astype(float) * (high - low) / 255)
        plane.update(rows.tobytes())
    return frame


def write_video(
    file, pictures, encoder="libx264", pixels="yuv420p", *, rate=25, times=None, order=None, aspect=None, turn=None,
    options=None, container_options=None,
):  # fmt: skip
    """Write grey pictures as a video.

    Args:
        times: seconds of the frames.
        order: FFmpeg's number of the field order, in the container and the codec.
        aspect: width of a pixel by its height.
        turn: degrees by which players turn the pictures, counter-clockwise.
        options: of the encoder.
        container_options: of the container.
    """
    with av.open(str(file), "w", options=container_options or {}) as container:
        stream = container.add_stream(encoder, rate=rate, options=dict(options or {}))
        stream.height, stream.width = pictures[0].shape
        stream.pix_fmt = pixels
        context = stream.codec_context
        if encoder in ("mpeg4", "mpeg2video", "mjpeg", "wmv2", "dvvideo"):
            context.bit_rate = 4_000_000
        if times is not None:
            context.time_base = CLOCK
        if aspect is not None:
            context.sample_aspect_ratio = Fraction(aspect)
        if order is not None:
            context.field_order = order
        if turn is not None:
            stream.set_display_rotation(turn)
        for number, picture in enumerate(pictures):
            frame = luma_frame(picture, pixels)
            frame.pts, frame.time_base = number, 1 / Fraction(rate)
            if times is not None:
                frame.pts, frame.time_base = round(times[number] / CLOCK), CLOCK
            container.mux(stream.encode(frame if order is None else interlaced_frame(frame, order)))
        container.mux(stream.encode())
    return file


def write_with_cover(file, pictures, attached=True):
    """Write a video, or a second of silence if there are no pictures, with a cover of 64x64."""
    with av.open(str(file), "w", format="mp4") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        if attached:
            cover.disposition = av.stream.Disposition.attached_pic
        packets = cover.encode(luma_frame(np.full((64, 64), 200, np.uint8), "yuvj420p")) + cover.encode()
        stream = container.add_stream("libx264", rate=25) if pictures else container.add_stream("aac", rate=44_100)
        if pictures:
            stream.height, stream.width, stream.pix_fmt = *pictures[0].shape, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(luma_frame(picture, "yuv420p")))
        if not pictures:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate = 44_100
            container.mux(stream.encode(silence))
        container.mux(stream.encode())
        container.mux(packets)


def rewrite(source, target, change):
    """Copy a video packet by packet; ``change`` gets the number of a packet and its bytes and returns the new bytes."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in old.demux(stream) if packet.size):
            changed = av.Packet(change(number, bytes(packet)))
            for name in ("pts", "dts", "time_base", "is_keyframe", "duration"):
                setattr(changed, name, getattr(packet, name))
            changed.stream = copy
            new.mux(changed)
    return target


def damage(source, target, number, how="zeros"):
    """Copy a video with one damaged packet: ``zeros`` from its start, or a ``cut`` or ``noise`` in its second half."""

    def change(index, data):
        if index != number:
            return data
        half = len(data) // 2
        noise = np.random.default_rng(0).integers(0, 256, len(data) - half, np.uint8).tobytes()
        return {"zeros": bytes(len(data)), "cut": data[:half], "noise": data[:half] + noise}[how]

    return rewrite(source, target, change)


def read(file, first=None, last=None):
    """Return numbers, seconds, pictures and notes."""
    notes = []
    frames = list(read_frames(str(file), first, last, notes=notes, skip_damaged=True))
    return [f.number for f in frames], [f.seconds for f in frames], [f.picture for f in frames], notes


def error(picture, expected, margin=4):
    """Return the mean difference of two pictures without their margin."""
    inside = slice(margin, -margin)
    return np.abs(picture[inside, inside].astype(float) - expected[inside, inside]).mean()
