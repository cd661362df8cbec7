"""Truncated videos are detected by the sizes that their top-level parts state."""

import struct

import cv2
import numpy as np
import pytest

from merflow.errors import ClipError
from merflow.footage.frames import grey_frames
from merflow.footage.video import SLACK, missing_bytes

KINDS = [("avi", "MJPG"), ("avi", "mp4v"), ("mkv", "MJPG"), ("webm", "VP80"), ("mp4", "mp4v"), ("mov", "mp4v")]


def write_video(path, codec, frames=20):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 30, (128, 96))
    assert writer.isOpened()
    for noise in np.random.default_rng(0).integers(0, 255, (frames, 96, 128, 3), np.uint8):
        writer.write(noise)
    writer.release()


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
def test_truncated_video_is_refused(tmp_path, suffix, codec):
    """OpenCV returns the remaining frames without an error; MP4 and MOV, whose directory is last, do not open."""
    video = tmp_path / f"v.{suffix}"
    write_video(video, codec)
    assert missing_bytes(video) == 0 and len(list(grey_frames(str(video)))) == 20
    data = video.read_bytes()
    video.write_bytes(data[: len(data) // 2])
    assert missing_bytes(video) > SLACK
    with pytest.raises(ClipError, match=rf"v\.{suffix} (is cut off after frame \d+: .*copy it again|cannot be opened)"):
        list(grey_frames(str(video)))
    if suffix not in ("mp4", "mov"):
        assert len(list(grey_frames(str(video), 0, 2))) == 3, "what is wanted is there"


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        (b"RIFF" + struct.pack("<I", 1_000_004) + b"AVI " + bytes(500_000), 500_000),
        (b"RIFF" + struct.pack("<I", 0) + b"AVI " + bytes(500_000), 0),  # A recording that was never closed.
        (b"RIFF" + struct.pack("<I", 104) + b"AVI " + bytes(100) + b"RIFF" + struct.pack("<I", 9_004) + b"AVIX", 9_000),
        (b"RIFF" + struct.pack("<I", 2_004) + b"AVI ", 0),  # Less than the slack.
        (struct.pack(">I4s8x", 16, b"ftyp") + struct.pack(">I4sQ", 1, b"mdat", 6_000_000_016), 6_000_000_000),
        (struct.pack(">I4s8x", 16, b"ftyp") + struct.pack(">I4s", 0, b"mdat") + bytes(9), 0),  # Up to the end.
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\x01" + (9_000).to_bytes(7, "big"), 9_000),
        (b"\x1a\x45\xdf\xa3\x82ab\x18\x53\x80\x67\x01" + b"\xff" * 7 + bytes(50), 0),  # Live: no size.
        (b"\0\0\1\xba" + bytes(100), 0),
        (b"", 0),
    ],
)  # fmt: skip
def test_what_outermost_parts_claim(tmp_path, data, missing):
    (tmp_path / "v").write_bytes(data)
    assert missing_bytes(tmp_path / "v") == missing
