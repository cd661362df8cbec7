"""Time of reading a video as grey frames: merflow (PyAV) over OpenCV's `VideoCapture`. Never run by the tests.

    python bench/video.py [--json]

The videos are made here: 300 frames of 640x480, waves that move, with camera noise. The readers take turns, OpenCV as
it comes, and the least time of nine counts. `vs_opencv` is the ratio of CPU times: below 1 merflow is faster.
`wall_vs_opencv` is that of the wall clock: OpenCV has a decoding thread per core, merflow one, because its jobs run
side by side and several threads of FFmpeg do not report every damaged frame.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
from common import parser, show

from merflow.footage.frames import grey_frames

KINDS = {"h264.mp4": ("libx264", "yuv420p"), "mjpeg.avi": ("mjpeg", "yuvj420p"), "mpeg4.mp4": ("mpeg4", "yuv420p")}
"""Encoder and pixel format of each video."""
FRAMES, ROUNDS = 300, 9


def write(file: Path, encoder: str, pixels: str) -> None:
    rows, columns = np.mgrid[:480, :640]
    chance = np.random.default_rng(0)
    with av.open(str(file), "w") as container:
        stream = container.add_stream(encoder, rate=30)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 640, 480, pixels, 4_000_000
        for number in range(FRAMES):
            waves = 128 + 60 * np.sin((columns + 3 * number) / 40) + 40 * np.sin(rows / 30)
            picture = np.clip(waves + chance.normal(0, 2, waves.shape), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.dstack([picture] * 3), "rgb24")))
        container.mux(stream.encode())


def read(file: Path, opencv: bool) -> tuple[float, float]:
    """CPU time and wall clock of one reading."""
    start, count = (time.process_time(), time.perf_counter()), 0
    if opencv:
        capture = cv2.VideoCapture(str(file))
        while (frame := capture.read()[1]) is not None:
            cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
            count += 1
    else:
        count = sum(1 for _ in grey_frames(str(file)))
    assert count == FRAMES
    return time.process_time() - start[0], time.perf_counter() - start[1]


if __name__ == "__main__":
    figures: dict[str, float] = {}
    options = parser(__doc__ or "").parse_args()
    with TemporaryDirectory() as folder:
        for name, kind in KINDS.items():
            write(Path(folder, name), *kind)
            times = [[read(Path(folder, name), opencv) for opencv in (False, True)] for _ in range(ROUNDS)]
            (cpu, wall), (opencv_cpu, opencv_wall) = np.min(times, axis=0)
            codec = name.split(".")[0]
            figures |= {f"{codec}_ms": 1000 * cpu / FRAMES, f"{codec}_vs_opencv": cpu / opencv_cpu}
            figures[f"{codec}_wall_vs_opencv"] = wall / opencv_wall
    show(figures, options.json)
