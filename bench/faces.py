"""Faces found with `align.detector: hog` and `auto`, and the time, on photographs made harder. Never run by the tests.

    python bench/faces.py [--folder ../shared/faces] [--photographs 40] [--json]

Photographs with the places of their pupils beside them (WebMorph's NAME.tem) are read. A face counts as found if both
eyes are within half an inter-ocular distance of their places and `align: auto` uses the clip; errors are in this unit;
times are CPU times of a thread that aligns a still.
`tight`: the picture ends at brows, cheeks and chin, 224 px; others have 400 px. `glasses`: thick dark frames; `turned`:
by 35 degrees; `blur`: by a tenth of the inter-ocular distance, tight 0.06; `dark`: a tenth of the light, with noise.
"""

import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd
from common import REPO, parser, show

from merflow.errors import ClipError
from merflow.footage.clip import Clip
from merflow.footage.images import read_grey
from merflow.preprocessing.detection import Face
from merflow.preprocessing.faces import align_clip
from merflow.preprocessing.geometry import interocular_distance, map_points
from merflow.preprocessing.settings import AlignSettings
from merflow.study.config_data import AlignBlock

CONDITIONS = ["plain", "tight", "dark", "glasses", "blur", "turned", "tight dark", "tight glasses", "tight blur"]
CONDITIONS += ["tight turned", "dark blur", "tight glasses dark", "tight glasses turned", "tight glasses blur"]
DETECTORS = ("hog", "auto")
SETTINGS = AlignSettings(**AlignBlock().model_dump())


def harder(picture: np.ndarray, eyes: np.ndarray, condition: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture and its eyes, [2, 2], as a condition says."""
    apart, tight = interocular_distance(eyes), "tight" in condition
    if "glasses" in condition:
        picture, thickness = picture.copy(), round(0.1 * apart)
        for eye in eyes.round().astype(int).tolist():
            cv2.ellipse(picture, eye, (round(0.4 * apart), round(0.3 * apart)), 0, 0, 360, 15, thickness)
        bridge = (eyes + [[0.4 * apart, 0], [-0.4 * apart, 0]]).round().astype(int).tolist()
        cv2.line(picture, *bridge, 15, thickness)
    if "turned" in condition:
        turn = cv2.getRotationMatrix2D((eyes.mean(axis=0) + [0, apart / 2]).tolist(), 35, 1)
        picture = cv2.warpAffine(picture, turn, picture.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        eyes = map_points(turn, eyes)
    if tight:
        corners = eyes.mean(axis=0) + apart * np.array([[-0.9, -0.45], [0.9, 1.35]])
        (left, top), (right, bottom) = corners.round().astype(int).clip(0).tolist()
        picture, eyes = picture[top:bottom, left:right], eyes - [left, top]
    scale = (224 if tight else 400) / max(picture.shape)
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if "blur" in condition:
        picture = cv2.GaussianBlur(picture, (0, 0), (0.06 if tight else 0.1) * scale * apart)
    if "dark" in condition:
        noise = np.random.default_rng(0).normal(0, 2, picture.shape)
        picture = (0.1 * picture + noise).clip(0, 255).astype(np.uint8)
    return picture, (eyes + 0.5) * scale - 0.5


def photograph(template: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a grey photograph and its pupils, left of the image first."""
    eyes = np.array([line.split()[:2] for line in template.read_text().splitlines()[1:3]], float)
    return read_grey(template.with_suffix(".jpg")), eyes[np.argsort(eyes[:, 0])]


def used_face(file: Path, detector: str) -> Face | None:
    """Return the face of a picture that `align: auto` uses; None if no face is found or the picture is left out."""
    try:
        clip = Clip("still", "somebody", "", "still", str(file), align="auto")
        return align_clip(clip, replace(SETTINGS, detector=detector)).placement.face
    except ClipError:
        return None


def main() -> None:
    """Command line."""
    options = parser(__doc__)
    options.add_argument("--folder", type=Path, default=REPO.parent / "shared" / "faces")
    options.add_argument("--photographs", type=int, default=40, help="number of photographs, evenly chosen")
    arguments = options.parse_args()
    cv2.setNumThreads(1)
    templates = sorted(arguments.folder.glob("*/*.tem"))
    if not templates:
        sys.exit(f"no photographs with NAME.tem in {arguments.folder}")
    pictures = [photograph(file) for file in templates[:: -(-len(templates) // arguments.photographs)]]
    finds = []
    with TemporaryDirectory() as folder:
        file = Path(folder, "picture.png")
        cv2.imwrite(str(file), np.zeros((100, 100), np.uint8))
        used_face(file, "auto")  # Load the models.
        for condition, known in product(CONDITIONS, pictures):
            picture, eyes = harder(*known, condition)
            cv2.imwrite(str(file), picture)
            for name in DETECTORS:
                start = time.process_time()
                face = used_face(file, name)
                milliseconds = 1000 * (time.process_time() - start)
                off = np.hypot(*(face.eyes - eyes).T).max() / interocular_distance(eyes) if face else np.inf
                finds.append((condition, name, off < 0.5, milliseconds, off if off < 0.5 else np.nan))
    table = pd.DataFrame(finds, columns=["condition", "detector", "found", "ms", "error"])
    means = table.groupby(["condition", "detector"], sort=False).mean().unstack()
    print(means.round(3).to_string())
    hog, auto = (table.loc[table["detector"] == name, "found"].to_numpy(bool) for name in DETECTORS)
    figures = {"hog_lost": float((~hog).mean()), "auto_lost": float((~auto).mean())}
    show(figures | {"found_by_hog_alone": int((hog & ~auto).sum())}, arguments.json)


if __name__ == "__main__":
    main()
