"""Speed and error of TV-L1 against what a user would take instead. Never run by the tests.

    pip install -r bench/requirements.txt
    python bench/flow.py [--sizes 128 231 400] [--people 2] [--no-scaling] [--json]

All methods get the same pairs of uint8 crops and give a flow in pixels:

- `opencv_defaults`: `DualTVL1OpticalFlow` as it comes, on the frames as they are;
- `skimage`: scikit-image's `optical_flow_tvl1` as it comes (float32), on the frames as they are;
- `opencv`, `numba`: ours, `merflow.preprocessing.flow.pair_flow` with the study's defaults. Their time counts
  everything from the uint8 frames on: contrast normalisation of both frames, coarse DIS start, solver, smoothing. (In
  a clip the onset is normalised once for all its pairs; here it is not.)

The pairs are onset and apex of the demo's micro clips (480 px frames, 120 px between the pupils), expression and head
drift together, so that the flow is known. Of the frames, before they are cropped, `clean` shows nothing but the motion;
`noise` has camera noise of 2 grey levels; `hard` has noise, changing light (the demo's; from -4 % to +4 % across the
second frame), skin that darkens where it is pushed together, and JPEG of quality 90. The error is the mean end-point
error over the face; `still` is that of assuming no motion.

Times are CPU times (process_time) on one thread; methods take turns on each pair; medians. Compilation is done before,
and reported separately. The scaling is the throughput of two processes over that of one (`numba`, 231 px), by the wall
clock, in turns.
"""

import functools
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
os.environ.update(THREADS)

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import yaml  # noqa: E402
from common import REPO, parser, show  # noqa: E402

from merflow.preprocessing.settings import FlowSettings, PreparationSettings  # noqa: E402

OURS = ("opencv", "numba")
PEERS = ("opencv_defaults", "skimage")
CONDITIONS = ("clean", "noise", "hard")
EMOTIONS = ("happiness", "surprise", "disgust")
TARGETS = {
    "numba_vs_opencv_defaults_231": 50,
    "opencv_vs_opencv_defaults_231": 4,
    "two_processes_scaling": 1.9,
}
"""What must be reached, with no larger error than `opencv_defaults` in any column."""


@functools.cache
def settings_of(backend: str) -> FlowSettings:
    """Default settings of the stage with another backend."""
    config = yaml.safe_load((REPO / "config.yaml").read_text(encoding="utf-8"))
    return replace(PreparationSettings.from_block(config["preparations"]["default"]).flow, backend=backend)


@functools.cache
def pairs(size: int, people: int) -> list[dict]:
    """Clip by clip, onset and apex by condition, uint8 [size, size], and the true flow, float32 [2, size, size]."""
    from merflow.datasets.settings import STANDARD_MICRO
    from merflow.datasets.synthetic import render
    from merflow.datasets.synthetic.draw import eye_midpoint
    from merflow.datasets.synthetic.plan import plan_subject
    from merflow.datasets.synthetic.truth import crop_flow, true_flow
    from merflow.preprocessing.geometry import crop_transform, warp

    shading = render._SHADING
    settings = replace(STANDARD_MICRO, subjects=people, clips_per_emotion=1, emotions=tuple(EMOTIONS))
    apart = np.array([[-settings.interocular_px / 2, 0], [settings.interocular_px / 2, 0]])
    made = []
    for subject in settings.subject_names:
        base = render.base_picture(subject, settings)
        for performance in plan_subject(subject, settings):
            motion = render.clip_motion(base, performance, settings)
            pose = motion.pose(performance.onset)
            eyes = (eye_midpoint(settings.frame_size) + apart) @ pose[:, :2].T + pose[:, 2]
            transform = crop_transform(eyes, size)
            pair = {"truth": crop_flow(true_flow(motion, performance.apex, performance.onset), transform, size)}
            for condition in CONDITIONS:
                hard, noise = condition == "hard", 0 if condition == "clean" else 2
                render._SHADING = shading if hard else 0
                clip = render.render_frames(base, motion, performance, noise=noise, light=hard)
                frames = [frame for number, frame in enumerate(clip) if number in (performance.onset, performance.apex)]
                frames = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames]
                pair[condition] = [warp(frame, transform, size) for frame in (worn(*frames) if hard else frames)]
            made.append(pair)
    render._SHADING = shading
    return made


def worn(first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
    """Two grey frames as JPEG keeps them, the second under light that has turned."""
    second = np.clip(np.round(second * np.linspace(0.96, 1.04, second.shape[1])), 0, 255).astype(np.uint8)
    files = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1] for frame in (first, second)]
    return [cv2.imdecode(file, cv2.IMREAD_GRAYSCALE) for file in files]


def methods() -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Every method, from two crops to the flow [2, H, W]."""
    from skimage.registration import optical_flow_tvl1

    from merflow.preprocessing.flow import pair_flow

    def defaults(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.moveaxis(cv2.optflow.DualTVL1OpticalFlow_create().calc(first, second, None), 2, 0)

    def skimage(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return optical_flow_tvl1(first, second, dtype=np.float32)[::-1]

    ours = {name: lambda first, second, name=name: pair_flow(first, second, settings_of(name)) for name in OURS}
    return {"opencv_defaults": defaults, **ours, "skimage": skimage}


def measure(size: int, people: int) -> dict[str, float]:
    """Milliseconds and errors of every method at one size."""
    from merflow.preprocessing.geometry import face_weights

    clips, flow_methods, figures = pairs(size, people), methods(), {}
    face = face_weights(size) > 0
    for name in OURS:  # Compiled, imported, warm.
        start = time.perf_counter()
        flow_methods[name](*clips[0]["clean"])
        figures[f"{name}_first_call_s"] = round(time.perf_counter() - start, 2)
    times: dict[str, list[float]] = {name: [] for name in flow_methods}
    errors: dict[tuple[str, str], list[float]] = {}
    for pair in clips:
        for condition in CONDITIONS:
            flows = {"still": np.zeros_like(pair["truth"])}
            for name, method in flow_methods.items():
                start = time.process_time()
                flows[name] = method(*pair[condition])
                times[name].append(1000 * (time.process_time() - start))
            for name, flow in flows.items():
                errors.setdefault((name, condition), []).append(float(np.hypot(*(flow - pair["truth"]))[face].mean()))
    milliseconds = {name: statistics.median(values) for name, values in times.items()}
    figures = figures if size == 231 else {}
    figures |= {f"{name}_ms_{size}": round(value, 2) for name, value in milliseconds.items()}
    figures |= {f"{n}_error_{c}_{size}": round(statistics.mean(values), 4) for (n, c), values in errors.items()}
    for name in OURS:
        for peer in PEERS:
            figures[f"{name}_vs_{peer}_{size}"] = round(milliseconds[peer] / milliseconds[name], 2)
    return figures


def pairs_per_second(seconds: float) -> float:
    """Rate of one process of the scaling."""
    from merflow.preprocessing.flow import pair_flow

    (first, second), settings = pairs(231, 1)[0]["hard"], settings_of("numba")
    pair_flow(first, second, settings)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        pair_flow(first, second, settings)
        done += 1
    return done / (time.perf_counter() - start)


def scaling(rounds: int = 4, seconds: float = 3.0) -> dict[str, float]:
    """Throughput of two processes over that of one, in turns."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(pairs_per_second, [seconds] * 2, chunksize=1)  # Draws the pairs and compiles.
        rates = [
            [sum(pool.map(pairs_per_second, [seconds] * workers, chunksize=1)) for workers in (1, 2)]
            for _ in range(rounds)
        ]
    one_process, two_processes = np.median(rates, axis=0)
    return {
        "one_process_pairs_per_s": round(one_process, 1),
        "two_processes_pairs_per_s": round(two_processes, 1),
        "two_processes_scaling": round(two_processes / one_process, 2),
        "load_average": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Command line."""
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=[128, 231, 400])
    options.add_argument("--people", type=int, default=2)
    options.add_argument("--no-scaling", action="store_true", help="leave the two processes out")
    arguments = options.parse_args()
    if find_spec("skimage") is None:
        sys.exit("the peer is not installed: pip install -r bench/requirements.txt")
    cv2.setNumThreads(1)
    figures: dict[str, object] = {}
    for size in arguments.sizes:
        figures |= measure(size, arguments.people)
    if not arguments.no_scaling:
        figures |= scaling()
    missed = [
        f"{name}_error_{condition}_{size} > opencv_defaults"
        for name in OURS
        for size in arguments.sizes
        for condition in CONDITIONS
        if figures[f"{name}_error_{condition}_{size}"] > figures[f"opencv_defaults_error_{condition}_{size}"]
    ]
    show(figures | {"missed": missed}, arguments.json, TARGETS)


if __name__ == "__main__":
    main()
