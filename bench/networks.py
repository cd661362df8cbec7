"""Time of leave-one-subject-out of a network on flow images: a composite as large as MEGC2019, 442 clips, 68 people.

    python bench/networks.py [--system ststnet] [--cores 2] [--json]

The images are synthetic: a class has a place and a direction of motion, a person has a strength, the rest is noise. So
UF1 shows only that the networks learn; the time is that of real images of 28 x 28 pixels.
"""

import csv
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import parser, show, snakemake, write_study

DATABASES = {
    "smic": (16, {"negative": 70, "positive": 51, "surprise": 43}),
    "casme2": (24, {"negative": 88, "positive": 32, "surprise": 25}),
    "samm": (28, {"negative": 92, "positive": 26, "surprise": 15}),
}
"""Subjects and clips of each database of the MEGC2019 composite."""
PLACES = {"negative": ((9, 8), (0.7, 0.7)), "positive": ((9, 20), (1.0, -0.5)), "surprise": ((14, 7), (0.0, -1.0))}
"""Column and row of the left half of the motion of a class, and its direction there."""
SIDE = 28


def picture(label: str, strength: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """One flow image, uint8 [28, 28, 3 (u, v, strain)], each channel scaled to 0..255 as such sets have it."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    (x, y), (u, v) = PLACES[label]
    field = np.stack([cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)), (0, 0), 3) for _ in range(2)])
    field *= noise / field.std()
    x, y = x + rng.normal(0, 1.5), y + rng.normal(0, 1.5)
    for centre, side in ((x, 1), (SIDE - 1 - x, -1)):
        bump = strength * np.exp(-((columns - centre) ** 2 + (rows - y) ** 2) / 18)
        field += np.stack([side * u * bump, v * bump])
    (uy, ux), (vy, vx) = (np.gradient(part) for part in field)
    strain = np.sqrt(ux**2 + vy**2 + (uy + vx) ** 2 / 2)
    channels = [(part - part.min()) / (part.max() - part.min()) for part in (*field, strain)]
    return np.round(255 * np.stack(channels, axis=2)).astype(np.uint8)


def draw(folder: Path, noise: float = 0.7, seed: int = 0) -> None:
    """442 flow images and their table, in the layout ``flow-images``."""
    rng = np.random.default_rng(seed)
    rows = []
    for database, (people, counts) in DATABASES.items():
        (folder / database).mkdir(parents=True, exist_ok=True)
        strength = rng.uniform(0.3, 1.5, people)
        labels = rng.permutation([label for label, count in counts.items() for _ in range(count)])
        for n, label in enumerate(labels):
            person, file = n % people, f"{database}/{n:03d}.png"
            image = picture(label, strength[person], noise, rng)
            cv2.imwrite(str(folder / file), image[:, :, ::-1])
            rows.append([database, f"{person + 1:02d}", f"{n:03d}", label, file])
    with open(folder / "flows.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["dataset", "subject", "clip", "label", "image"], *rows])


def measure(folder: Path, system: str, cores: int) -> dict[str, Any]:
    """Return the seconds of a study of one system from the images to the report, and its UF1."""
    draw(folder / "flows")
    overlay = {
        "study": "bench",
        "floors": ["majority"],
        "datasets": {"flows": {"layout": "flow-images", "root": str(folder / "flows"), "classes": "megc2019"}},
        "experiments": {"network": {"system": system, "micro": "flows", "protocol": "composite-loso"}},
    }
    write_study(folder, overlay)
    run = snakemake(folder, "--quiet", "all", cores=cores)
    with open(folder / "results" / "bench" / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["scope"] == "pooled" and row["metric"] == "uf1"]
    uf1 = {f"uf1_{row['experiment']}": float(row["value"]) for row in rows}
    return {"system": system, "cores": cores, "seconds": round(run.seconds, 1)} | uf1


def main() -> None:
    """Command line."""
    options = parser(__doc__)
    options.add_argument("--system", default="ststnet", help="ststnet or off-apexnet")
    options.add_argument("--cores", type=int, default=2)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        show(measure(Path(folder), arguments.system, arguments.cores), arguments.json)


if __name__ == "__main__":
    main()
