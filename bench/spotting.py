"""Time of the search of long videos against the dense flow of OpenCV on every frame. Never run by the tests.

    python bench/spotting.py [--json]

The videos are synthetic people who talk, 640x480 with 120 px between the pupils, at 25 and 200 frames per second. Ours
is `track_motion` as `predict` uses it: face detection, flow both ways without head motion, peaks with onset and offset.
The peers are what a user would write first: the flow from each frame to the next, by Farnebäck (the arguments of
OpenCV's tutorial) and by DIS (preset medium); neither of them yields an interval yet. All get decoded grey frames, in
turns, on one core. Figures are CPU seconds per minute of video; `_vs_` is the peer's time over ours: above 1 ours is
faster.
"""

import os
import time
from collections.abc import Callable
from itertools import islice, pairwise

THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
os.environ.update(THREADS)

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import yaml  # noqa: E402
from common import REPO, parser, show  # noqa: E402

from merflow.datasets.settings import LongPeopleSettings  # noqa: E402
from merflow.datasets.synthetic.long_people import film_person, plan_person  # noqa: E402
from merflow.inference.motion import track_motion  # noqa: E402
from merflow.inference.settings import SpottingSettings  # noqa: E402

SECONDS = {25: 6.0, 200: 2.0}
"""Seconds of video at each frame rate."""
PERSON = 2_000_300
"""Of those on whom the defaults of the search were chosen."""
PEER_FRAMES = 40  # Enough for the peers, whose time per frame is constant.


def film(fps: int) -> list[np.ndarray]:
    """Return grey frames of a person who talks, uint8 [480, 640] each."""
    settings = LongPeopleSettings(fps=fps, seconds=20.0, frame_size=480, interocular_px=120, macro=0, micro=0)
    plan = plan_person(PERSON, settings)
    start = int(np.flatnonzero(plan.talks)[0]) if plan.talks.any() else 0
    frames = islice(film_person(plan), start, start + round(SECONDS[fps] * fps))
    return [cv2.copyMakeBorder(cv2.cvtColor(f, cv2.COLOR_BGR2GRAY), 0, 0, 80, 80, cv2.BORDER_REFLECT) for f in frames]


def farneback(first: np.ndarray, second: np.ndarray) -> None:
    cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    options = parser(__doc__ or "").parse_args()
    cv2.setNumThreads(1)
    config = yaml.safe_load((REPO / "config.yaml").read_text(encoding="utf-8"))
    settings = SpottingSettings(**config["predict"]["spotting"], detector="hog")
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    peers: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
        "farneback": farneback,
        "dis": lambda first, second: dis.calc(first, second, None),  # type: ignore[call-overload]
    }
    figures: dict[str, float] = {}
    for fps in SECONDS:
        frames = film(fps)
        per_minute = 60 * fps / len(frames)
        figures[f"ours_{fps}"] = per_minute * cpu_seconds(lambda: track_motion(enumerate(frames), fps, settings))  # noqa: B023
        pairs = list(pairwise(frames[: PEER_FRAMES + 1]))
        for name, flow in peers.items():
            cpu = cpu_seconds(lambda: [flow(*pair) for pair in pairs])  # noqa: B023
            figures[f"{name}_{fps}"] = 60 * fps / len(pairs) * cpu
            figures[f"{name}_vs_ours_{fps}"] = figures[f"{name}_{fps}"] / figures[f"ours_{fps}"]
    show(figures, options.json)
