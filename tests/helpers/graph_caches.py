"""Caches in which the position of a blob shows the class, and short settings, for the graph networks."""

from pathlib import Path

import h5py
import numpy as np

CLASSES = ["up", "down", "left"]


SIZE = 32


PRETRAIN = {
    "epochs": 14,
    "patience": 6,
    "learning_rate": 2e-3,
    "decay": 1e-6,
    "batch": 16,
    "dropout": 0.3,
    "frames": "peak",
    "validation": 0.25,
}


HEAD = {
    "hidden": 32,
    "dropout": 0.3,
    "learning_rate": 3e-3,
    "decay": 1e-6,
    "epochs": 30,
    "patience": 8,
    "batch": 64,
    "weight_decay": 0.0,
    "validation": 0.25,
}


SETTINGS = {
    "experiment": "try",
    "branches": ["spatial", "temporal"],
    "fusion": "stack",
    "loss": {"name": "focal", "alpha": 1.0, "gamma": 1.0},
    "head": HEAD,
    "protocol": "loso",
}


def make_cache(path: Path, subjects: int, each: int, seed: int, dataset: str, frames: int = 3) -> Path:
    """A cache in which the place of a bright blob, and of a motion, tells the class."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    places = {"up": (8, 16), "down": (24, 16), "left": (16, 8)}
    spatial, flow, table = [], [], []
    for subject in range(subjects):
        for label in CLASSES:
            for clip in range(each):
                y, x = np.array(places[label]) + rng.normal(0, 1, 2)
                blob = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 40)
                strength = np.linspace(0.4, 1, frames)[:, None, None]
                image = 90 + 90 * blob * strength + rng.normal(0, 8, (frames, SIZE, SIZE))
                spatial.append(np.clip(image, 0, 255).astype(np.uint8))
                motion = 0.4 * blob * strength
                both = np.stack([motion, -motion, 0.1 * motion], axis=1) + rng.normal(0, 0.01, (frames, 3, SIZE, SIZE))
                flow.append(both.astype(np.float16))
                table.append((f"s{subject}-{label}-{clip}", f"{dataset}/s{subject}", label))
    clips, people, labels = (list(column) for column in zip(*table, strict=True))
    with h5py.File(path, "w") as file:
        for name, values in (("clip", clips), ("subject", people), ("label", labels)):
            file.create_dataset(name, data=values, dtype=h5py.string_dtype())
        file["spatial"], file["flow"] = np.stack(spatial), np.stack(flow)
        file["apex_index"] = np.full(len(clips), frames - 1)
        file.attrs.update(dataset=dataset, classes=CLASSES, size=SIZE)
    return path


FAST = PRETRAIN | {"epochs": 6}


OWN = SETTINGS | {
    "transfer": "end-to-end",
    "signal": "magnitude",
    "classes": ["up", "down", "left"],
    "datasets": ["micro"],
    "pretrain": FAST,
    "network_seeds": [3],
    "head": HEAD | {"epochs": 12, "batch": 16},
}
