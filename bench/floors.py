"""Time of heads and floors on a composite as large as that of MEGC2019: 442 clips of 68 people in three databases.

    python bench/floors.py --json                                       # clips with five key-frames, both branches
    python bench/floors.py --keyframes 1 --branches temporal --json     # flow images, one per clip, as MEGC2019's are

Feature files and caches are made up first, not counted, in the sizes that the workflow makes them: two graphs of 512
features each, flow at 128 x 128 pixels. A class and a person have a direction each among the features, and three
quarters of these are silent after their ReLU, as in the demo study. Jobs come one after the other as the workflow would
run them on some cores: the head, whose repeats take all of them, then the floors side by side. The head has the
settings of config.yaml.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from merflow.runtime.script_context import THREADS  # noqa: E402

os.environ.update(THREADS)

import cv2  # noqa: E402
import h5py  # noqa: E402
import numpy as np  # noqa: E402
import yaml  # noqa: E402
from networks import DATABASES, picture  # noqa: E402

from merflow.protocols.splits import make_splits  # noqa: E402
from merflow.systems.linear import SYSTEMS  # noqa: E402
from merflow.systems.linear import run as run_floor  # noqa: E402
from merflow.systems.tsdgcn.finetune import finetune  # noqa: E402

CLASSES = ["negative", "positive", "surprise"]
WIDTH, GRAPHS, SIZE = 512, 2, 128
"""Features of a network, networks, side of the cached flow in pixels."""
HIDDEN = 64
"""Directions in which the input of the made-up last layer varies."""
SILENT = 0.75
"""Share of features that are 0 for every clip: 0.68 to 0.76 in the demo study."""
HEAD = "tsdgcn"
TARGET = 120.0
"""Seconds."""


def people() -> dict[str, tuple[list[str], list[str]]]:
    """Labels and subjects of the clips of each database."""
    rng = np.random.default_rng(0)
    found = {}
    for database, (count, clips) in DATABASES.items():
        labels = rng.permutation([label for label, number in clips.items() for _ in range(number)]).tolist()
        found[database] = labels, [f"{database}/{n % count + 1:02d}" for n in range(len(labels))]
    return found


def write_clips(file: h5py.File, database: str, labels: list[str], subjects: list[str]) -> None:
    """What caches and feature files say of their clips."""
    columns = {"clip": [f"{n:03d}" for n in range(len(labels))], "subject": subjects, "label": labels}
    for name, values in columns.items():
        file.create_dataset(name, data=values, dtype=h5py.string_dtype())
    file.attrs.update(dataset=database, classes=CLASSES)


def write_cache(path: Path, database: str, labels: list[str], subjects: list[str], keyframes: int) -> Path:
    """A cache whose flow shows the class at the apex and noise elsewhere."""
    rng = np.random.default_rng(len(database))
    with h5py.File(path, "w") as file:
        write_clips(file, database, labels, subjects)
        shape = (keyframes, 3, SIZE, SIZE)
        flow = file.create_dataset("flow", (len(labels), *shape), np.float16, chunks=(1, *shape))
        noise = rng.normal(0, 0.1, shape)
        for n, label in enumerate(labels):
            noise[-1] = cv2.resize(picture(label, 0.8, 0.7, rng) / 255.0, (SIZE, SIZE)).transpose(2, 0, 1)
            flow[n] = noise
        file["apex_index"] = np.full(len(labels), keyframes - 1)
    return path


def write_features(
    path: Path, database: str, labels: list[str], subjects: list[str], keyframes: int, seed: tuple[int, int]
) -> Path:
    """Made-up features of one network: a layer with ReLU over directions of classes, people and noise."""
    layer = np.random.default_rng((1, *seed))
    weights = layer.normal(0, 1, (HIDDEN, WIDTH)) / np.sqrt(HIDDEN)
    bias, speaks = layer.normal(3, 3, WIDTH), layer.random(WIDTH) >= SILENT
    directions = {name: layer.normal(0, 1, HIDDEN) for name in [*CLASSES, *sorted(set(subjects))]}
    rng = np.random.default_rng((2, *seed, len(database)))
    inputs = np.stack([0.5 * directions[a] + directions[b] for a, b in zip(labels, subjects, strict=True)])
    with h5py.File(path, "w") as file:
        write_clips(file, database, labels, subjects)
        for branch in ("spatial", "temporal"):
            noisy = inputs[:, None] + rng.normal(0, 1, (len(labels), keyframes, HIDDEN))
            file[branch] = (np.maximum(noisy @ weights + bias, 0) * speaks).astype(np.float32)
        file.attrs["rows_per_flow"] = 1
    return path


def prepare(folder: Path, seeds: int, keyframes: int) -> dict[str, Any]:
    """Caches, feature files by seed and splits by seed, with the settings that head and floors share."""
    clips = people()
    caches = [write_cache(folder / f"{name}.h5", name, *own, keyframes) for name, own in clips.items()]
    features = {
        seed: [
            [write_features(folder / f"{name}-{seed}-{g}.h5", name, *own, keyframes, (seed, g)) for g in range(GRAPHS)]
            for name, own in clips.items()
        ]
        for seed in range(seeds)
    }
    head = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["head"]
    head["learning_rate"] = head["learning_rate"] or 1e-5
    common = {"protocol": "composite-loso", "datasets": list(clips), "classes": CLASSES, "seeds": list(range(seeds))}
    splits = {seed: folder / f"splits-{seed}.csv" for seed in range(seeds)}
    for seed, file in splits.items():
        make_splits(caches, file, common | {"validation": head["validation"]}, seed)
    return {"caches": caches, "features": features, "settings": common | {"splits": splits, "head": head}}


def work(system: str, made: Mapping[str, Any], folder: Path, branches: tuple[str, ...], cores: int) -> float:
    """One job, the head or a floor; its seconds by the clock."""
    start = time.monotonic()
    settings = made["settings"] | {"experiment": system}
    files = [folder / f"{system}-{name}.csv" for name in ("predictions", "accuracy", "curves")]
    if system in SYSTEMS:
        run_floor(made["caches"], system, files[0], files[1], settings)
    else:
        own = {"branches": branches, "fusion": "stack", "loss": {"name": "focal", "alpha": 1.0, "gamma": 1.0}}
        finetune(made["features"], *files, settings | own, processes=cores)
    return round(time.monotonic() - start, 1)


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Wall time of all jobs, and of each."""
    made, own = prepare(folder, arguments.seeds, arguments.keyframes), (tuple(arguments.branches), arguments.cores)
    start, each = time.monotonic(), {}
    if HEAD in arguments.systems:
        each[HEAD] = work(HEAD, made, folder, *own)
    with ProcessPoolExecutor(arguments.cores, multiprocessing.get_context("spawn")) as pool:
        running = {name: pool.submit(work, name, made, folder, *own) for name in arguments.systems if name != HEAD}
        each |= {name: job.result() for name, job in running.items()}
    wall = round(time.monotonic() - start, 1)
    found = {name: getattr(arguments, name) for name in ("seeds", "cores", "keyframes", "branches")}
    found |= {"wall_s": wall, "each_s": each}
    return found | {"missed": [f"wall_s {wall} > {TARGET}"] if wall > TARGET else []}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--keyframes", type=int, default=5, help="rows of a clip in each branch")
    parser.add_argument("--systems", nargs="+", default=[HEAD, "linear-svm", "softmax", "majority"])
    parser.add_argument("--branches", nargs="+", default=["spatial", "temporal"])
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments)
    each = ", ".join(f"{name} {seconds} s" for name, seconds in found["each_s"].items())
    print(f"68 folds x {found['seeds']} seeds on {found['cores']} cores: {found['wall_s']} s ({each})")
    print("missed: " + (", ".join(found["missed"]) or "nothing"))
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
