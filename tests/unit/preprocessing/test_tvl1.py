"""The backends of TV-L1: agreement, reproducibility, and lazy imports."""

import shutil
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from typing import get_args

import cv2
import h5py
import numpy as np
import pytest
from demo_clips import film_micro_clips, subject_file
from repository import REPO
from stage_settings import flow_settings, preparation

from merflow.datasets.settings import STANDARD_MICRO
from merflow.datasets.synthetic.plan import plan_subject
from merflow.datasets.synthetic.render import base_picture, clip_motion, render_frames
from merflow.footage.images import read_grey
from merflow.preprocessing import flow as flow_module
from merflow.preprocessing.cache import build_cache
from merflow.preprocessing.detection import find_face
from merflow.preprocessing.flow import subject_flow
from merflow.preprocessing.geometry import crop_transform, warp
from merflow.preprocessing.tvl1 import numba_backend
from merflow.preprocessing.tvl1.backends import BACKENDS, backend
from merflow.runtime.code_hash import needed
from merflow.storage.tables import KEYFRAMES, write_table
from merflow.study.config_data import FlowBlock

OTHERS = ["numba"]
AGREEMENT_PX = 0.05


def tvl1(first, second, **changes):
    return flow_module.pair_flow(first, second, flow_settings(**{"backend": "opencv"} | changes))


def clip_flow(frames, pairs, **changes):
    return flow_module.clip_flow(frames, pairs, flow_settings(**changes))


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance of two fields [2, H, W], pixels."""
    return float(np.hypot(*(first - second)).mean())


@lru_cache
def demo_pair(condition: str, number: int, size: int) -> np.ndarray:
    """Onset and apex of a demo clip, uint8 [2, size, size], as it is filmed, or without noise and changing light."""
    noisy = film_micro_clips(1, whole=False)[number]
    if condition == "noise":
        return noisy.aligned(size)
    settings = replace(STANDARD_MICRO, clips_per_emotion=1)
    (subject,) = settings.subject_names
    base, performance = base_picture(subject, settings), plan_subject(subject, settings)[number]
    clip = render_frames(base, clip_motion(base, performance, settings), performance, noise=0, light=False)
    chosen = [frame for place, frame in enumerate(clip) if place in (performance.onset, performance.apex)]
    transform = crop_transform(noisy.eyes, size)
    return np.stack([warp(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), transform, size) for frame in chosen])


@lru_cache
def real_pair(folder, name: str, size: int) -> np.ndarray:
    """A neutral and a smiling photograph of one person, uint8 [2, size, size]."""
    first, second = read_grey(folder / "neutral" / f"{name}_03.jpg"), read_grey(folder / "smiling" / f"{name}_08.jpg")
    _, face = find_face([first], 5)
    transform = crop_transform(face.eyes, size)
    return np.stack([warp(first, transform, size), warp(second, transform, size)])


# ---------------------------------------------------------------- one meaning


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("condition", ["clean", "noise"])
@pytest.mark.parametrize("size", [128, 231])
def test_gate_backends_agree_on_demo(name, condition, size):
    """Gate: mean difference from OpenCV of at most 0.05 px; it is a hundredth of that."""
    for number in range(2):
        pair = demo_pair(condition, number, size)
        reference = tvl1(*pair)
        assert apart(tvl1(*pair, backend=name), reference) <= AGREEMENT_PX
        assert apart(np.zeros_like(reference), reference) > AGREEMENT_PX  # No motion is no answer.


@pytest.mark.parametrize("name", OTHERS)
def test_gate_backends_agree_on_real_faces(name, faces_folder):
    """Gate: mean difference from OpenCV of at most 0.05 px; the smiles move faces by pixels."""
    for person in ("001", "002", "004"):
        pair = real_pair(faces_folder, person, 231)
        reference = tvl1(*pair)
        assert apart(tvl1(*pair, backend=name), reference) <= AGREEMENT_PX
        assert apart(np.zeros_like(reference), reference) > AGREEMENT_PX


CHANGES = [
    {"tau": 0.1},
    {"lambda_": 0.3},
    {"theta": 0.15},
    {"scales": 1},
    {"scales": 5, "step": 0.8},
    {"step": 0.7},
    {"warps": 5},
    {"epsilon": 0.005},
    {"normalise": False},
    {"smooth": 0},
    {"smooth": 0.05},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "-".join(change))
@pytest.mark.parametrize("name", OTHERS)
def test_backends_agree_for_every_setting(name, change):
    pairs = [demo_pair("noise", number, 128) for number in range(3)]
    plain, changed = ([tvl1(*pair, **chosen) for pair in pairs] for chosen in ({}, change))
    differences = [apart(tvl1(*pair, **change, backend=name), same) for pair, same in zip(pairs, changed, strict=True)]
    # Whether to iterate again is a yes or no: if rounding changes it, the field differs by hundredths of a pixel.
    assert max(differences) <= AGREEMENT_PX and np.median(differences) < 0.003
    # The setting has an effect, so a backend that ignored it would fail.
    assert min(map(apart, plain, changed)) > 0.006


@pytest.mark.parametrize("name", OTHERS)
def test_tvl1_of_small_rectangular_images(name):
    """A pyramid of five levels of 37 x 50 pixels ends where a side would be under 16."""
    pair = demo_pair("noise", 1, 128)[:, 40:77, 30:80]
    chosen = {"scales": 5, "step": 0.7}
    reference = tvl1(*pair, **chosen)
    assert reference.shape == (2, 37, 50)
    assert apart(tvl1(*pair, **chosen, backend=name), reference) < 0.01


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("name", BACKENDS)
def test_clip_flow_bits_are_independent_of_threads_and_pairs(name):
    frames = np.concatenate([demo_pair("noise", number, 128) for number in (0, 1)])
    together = clip_flow(frames, [(0, 1), (2, 3), (0, 1), (3, 3)], backend=name)[0]
    np.testing.assert_array_equal(together[0], together[2])
    assert together[0].any() and not together[3].any()
    threads = cv2.getNumThreads()
    try:
        for count in (1, 2):
            cv2.setNumThreads(count)
            alone = clip_flow(frames[2:], [(0, 1)], backend=name)[0]
            np.testing.assert_array_equal(alone[0], together[1])
    finally:
        cv2.setNumThreads(threads)


@pytest.fixture
def package_copy(tmp_path):
    """The package, and the home of its user, in folders that nobody can write to."""
    shutil.copytree(REPO / "merflow", tmp_path / "code" / "merflow", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "work").mkdir()
    return tmp_path


SOLVE = """
import sys, time, numpy as np
sys.path.insert(0, sys.argv[1])
import numba.core.caching as caching
for locator in caching.CacheImpl._locator_classes[1:]:
    locator.ensure_cache_path = lambda self: (_ for _ in ()).throw(OSError("read-only"))
from merflow.preprocessing.settings import FlowSettings
from merflow.preprocessing.tvl1 import numba_backend
image = np.random.default_rng(0).random((32, 32), np.float32)
start = time.perf_counter()
settings = FlowSettings("numba", "onset", 0.25, 0.05, 0.4, 2, 0.5, 2, 0.055, True, 0.02, True)
numba_backend.solve(image, image, np.zeros((2, 32, 32), np.float32), settings)
print(time.perf_counter() - start, sum(numba_backend._iterate.stats.cache_hits.values()))
"""


def test_numba_caches_in_work_folder_if_only_it_is_writable(package_copy):
    """The second job loads what the first one compiled."""
    command = [sys.executable, "-c", SOLVE, package_copy / "code"]
    outputs = [
        subprocess.run(command, cwd=package_copy / "work", capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert [int(hits) for _, hits in outputs] == [0, 1]
    assert float(outputs[1][0]) < 0.5 * float(outputs[0][0])
    assert list((package_copy / "work" / ".snakemake" / "numba").rglob("*.nbi"))


def test_numba_compiles_without_any_writable_folder(monkeypatch):
    asked = []

    def njit(cache=False, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(numba_backend.numba, "njit", njit)
    monkeypatch.setattr(numba_backend.numba.config, "CACHE_DIR", "")
    assert numba_backend._compiled(len) is len and asked == [True, True, False]


# ---------------------------------------------------------------- only what is used, and on record


@pytest.mark.parametrize("name", BACKENDS)
def test_backend_imports_only_its_dependencies(name):
    program = (
        "import sys, numpy as np\nfrom merflow.preprocessing.flow import pair_flow\n"
        "from merflow.preprocessing.settings import FlowSettings\n"
        f"settings = FlowSettings({name!r}, 'onset', 0.25, 0.05, 0.4, 2, 0.5, 2, 0.055, True, 0.02, True)\n"
        "assert not {'numba', 'torch'} & set(sys.modules)\n"
        "pair_flow(*np.zeros((2, 32, 32), np.uint8), settings)\n"
        "print(*({'numba', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPO, check=True)
    assert done.stdout.split() == [name] * (name == "numba")


def test_only_the_flow_job_hashes_the_backends():
    scripts = REPO / "workflow" / "scripts"
    ours = set((REPO / "merflow" / "preprocessing" / "tvl1").glob("*.py"))
    assert len(ours) == 4
    ours.add(REPO / "merflow" / "preprocessing" / "farneback.py")
    assert ours <= set(needed(scripts / "compute_flow.py"))
    for other in ("select_keyframes", "build_cache", "write_report"):
        modules = set(needed(scripts / f"{other}.py"))
        assert REPO / "merflow" / "preprocessing" / "flow.py" in modules and not ours & modules


def test_flow_backends_setting_lists_all_backends():
    assert tuple(BACKENDS) == get_args(FlowBlock.model_fields["backend"].annotation)
    assert all(callable(backend(name)) for name in BACKENDS)


@pytest.fixture
def subject(tmp_path):
    """Two aligned clips of three frames, as the flow stage takes them."""
    pair = demo_pair("noise", 1, 64)
    subject_file(tmp_path / "faces.h5", {"a": (pair[[0, 1, 0]], 5, {}), "b": (pair[[1, 0, 1]], 0, {})}, 64)
    rows = [
        {
            "clip": clip,
            "index": index - 1 if index else None,
            "frame": first + index,
            "magnitude_px": 0.0,
            "apex_spotted": first + 1,
        }
        | {"apex_source": "spotted"}
        for clip, first in (("a", 5), ("b", 0))
        for index in range(3)
    ]
    write_table(rows, tmp_path / "keyframes.csv", KEYFRAMES)
    return tmp_path


@pytest.mark.parametrize("name", BACKENDS)
def test_backend_is_recorded_in_flow_and_cache(subject, name):
    settings = preparation(align={"size": 64}, keyframes={"count": 2}, flow={"backend": name, "rigid": False})
    subject_flow(subject / "faces.h5", subject / "keyframes.csv", subject / "flow.h5", settings.flow)
    clips = [{"clip": clip, "subject": "demo/s01", "label": "x", "kind": "micro"} for clip in "ab"]
    build_cache(
        clips,
        [subject / "faces.h5"],
        [subject / "keyframes.csv"],
        [subject / "flow.h5"],
        cache=subject / "cache.h5",
        quality=subject / "quality.csv",
        dataset="demo",
        preparation="default",
        settings=settings,
        classes=["x"],
        code="0",
    )
    with h5py.File(subject / "flow.h5") as flow, h5py.File(subject / "cache.h5") as cache:
        assert {group.attrs["backend"] for group in flow.values()} == {name}
        assert cache.attrs["flow_backend"] == name
        np.testing.assert_array_equal(cache["flow"][0, :, :2], flow["a"]["flow"])
        moved, still = np.abs(flow["a"]["flow"][()]).max(axis=(1, 2, 3))
        # OpenCV's Farnebäck sees some motion at the border of equal images.
        assert moved > 0.1 and still <= 0.1 * (name == "farneback")
