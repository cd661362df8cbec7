"""Caches whose apex flow shows the class, for the systems that read flow images."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from merflow.evaluation.metrics import score

CLASSES = ["happiness", "surprise", "disgust"]


SIZE = 32


def make_cache(
    path: Path, labels: list[str], subjects: list[str], *, strength: float = 1.0, seed: int = 0, dataset: str = "people"
) -> Path:
    """A cache whose flow at the apex shows the class in its place; at the other key-frames it shows another class."""
    rng = np.random.default_rng(seed)
    flow = rng.normal(0, 0.2, (len(labels), 3, 3, SIZE, SIZE))
    apex = rng.integers(0, 3, len(labels))
    for n, label in enumerate(labels):
        for m in range(3):
            index = CLASSES.index(label) if label in CLASSES else 0
            index = index if m == apex[n] else (index + 1) % len(CLASSES)
            flow[n, m, 0, 4 : SIZE - 4, 10 * index : 10 * index + 8] += strength
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file.create_dataset("clip", data=[f"c{n:03d}" for n in range(len(labels))], dtype=text)
        file.create_dataset("subject", data=subjects, dtype=text)
        file.create_dataset("label", data=labels, dtype=text)
        file["flow"] = flow.astype(np.float16)
        file["apex_index"] = apex
        file.attrs.update(dataset=dataset, classes=CLASSES, preparation="default")
    return path


def balanced(people: int = 6, each: int = 2) -> tuple[list[str], list[str]]:
    labels = CLASSES * each * people
    return labels, [f"people/s{i}" for i in range(people) for _ in range(each * len(CLASSES))]


def accuracy(table: pd.DataFrame) -> float:
    return score(table["truth"], table["predicted"], CLASSES)["accuracy"]
