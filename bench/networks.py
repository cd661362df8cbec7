"""Time and numbers of the networks on flow images, on a composite as large as that of MEGC2019: 442 clips, 68 people.

    python bench/networks.py --json            # the whole leave-one-subject-out of STSTNet through the workflow

The images are synthetic (a class has a place and a direction of motion, a person a strength, the rest is noise), so UF1
says only that the networks learn; the time is that of real images of 28 x 28 pixels.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import yaml

REPO = Path(__file__).parents[1]
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


def run(folder: Path, system: str, cores: int) -> dict:
    """Seconds of a study of one system from the images to the report, and its UF1 in full."""
    draw(folder / "flows")
    experiment = {"system": system, "micro": "flows", "protocol": "composite-loso"}
    study = {
        "study": "bench",
        "results": str(folder / "results"),
        "floors": ["majority"],
        "datasets": {"flows": {"layout": "flow-images", "root": str(folder / "flows"), "classes": "megc2019"}},
        "experiments": {"network": experiment},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--no-hooks", "--quiet", "all"]
    start = time.monotonic()
    subprocess.run([*command, "--configfile", str(folder / "study.yaml")], cwd=REPO, check=True)
    seconds = time.monotonic() - start
    with open(folder / "results" / "bench" / "metrics.csv", newline="", encoding="utf-8") as file:
        found = {
            row["experiment"]: float(row["value"])
            for row in csv.DictReader(file)
            if row["scope"] == "pooled" and row["metric"] == "uf1"
        }
    return {"system": system, "cores": cores, "seconds": round(seconds, 1), "uf1": found}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", default="ststnet", help="ststnet or off-apexnet")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), arguments.system, arguments.cores)
    if not arguments.json:
        print(f"{found['system']}: 68 folds of 442 clips in {found['seconds']} s on {found['cores']} cores")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
