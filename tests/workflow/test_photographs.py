"""Real photographs and videos of people, from index to flow, through a manifest."""

import subprocess
import sys

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from repository import REPO, copy_repository, snakemake

PEOPLE = 8
"""Of the thirty: enough to see what fails, before all are taken."""


def template(path):
    """Points of a PsychoMorph template, float [189, 2]; 0 and 1 are the pupils."""
    lines = path.read_text().split("\n")
    return np.array([[float(v) for v in line.split()[:2]] for line in lines[1 : int(lines[0]) + 1]])


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[PEOPLE, 99], ids=["some", "all"])
def study(request, tmp_path_factory, faces_folder):
    folder = copy_repository(tmp_path_factory.mktemp("photographs"))
    root = folder / "pairs"
    rows = ["clip,subject,label,frames,onset,apex,offset"]
    names = sorted(f.stem[:3] for f in (faces_folder / "neutral").glob("*.jpg"))[: request.param]
    for name in names:
        (root / name).mkdir(parents=True)
        for number, source in enumerate((f"neutral/{name}_03.jpg", f"smiling/{name}_08.jpg")):
            (root / name / f"{number}.jpg").symlink_to(faces_folder / source)
        rows.append(f"smile-{name},{name},happiness,{name},0,1,1")
    for label, video in (("none", "no_face"), ("other", "single_face")):
        (root / f"{video}.mp4").symlink_to(faces_folder / "video" / f"{video}.mp4")
        rows.append(f"{video},video,{label},{video}.mp4,,,")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    config = {
        "study": "photographs",
        "datasets": {"pairs": {"layout": "manifest", "root": str(root)}},
        "experiments": {"svm": {"system": "linear-svm", "micro": "pairs"}},
    }
    snakemake(folder, "--until", "build_cache", config=config)
    return folder / "results/data/pairs/default", names


def test_faces_are_found_in_photographs_but_not_in_empty_video(study):
    folder, names = study
    quality = pd.read_csv(folder / "quality.csv").set_index("clip")
    assert (quality.loc[[f"smile-{name}" for name in names], "status"] == "ok").all()
    assert quality.loc["single_face", "status"] == "ok" and quality.loc["single_face", "frames"] == 72
    assert quality.loc["no_face", "status"] == "failed" and "no face" in quality.loc["no_face", "reason"]


def test_aligned_pupils_are_within_3_px_of_their_position(study, faces_folder):
    folder, names = study
    size = 128
    half = size / 2.6 / 2
    target = np.array([[size / 2 - half, 0.36 * size], [size / 2 + half, 0.36 * size]])
    worst, unaligned = 0.0, 0.0
    for name in names:
        pupils = template(faces_folder / "neutral" / f"{name}_03.tem")[:2]
        pupils = pupils[np.argsort(pupils[:, 0])]
        with h5py.File(folder / "faces" / f"{name}.h5") as file:
            transform = file[f"smile-{name}"].attrs["transform"]
        mapped = pupils @ transform[:, :2].T + transform[:, 2]
        worst = max(worst, np.linalg.norm(mapped - target, axis=1).max())
        unaligned = max(unaligned, np.linalg.norm(pupils * size / 1350 - target, axis=1).max())
    assert worst < 3
    assert unaligned > 3, "the photograph as it is, made smaller, would not do"


def test_smile_moves_mouth_corners_outward(study, faces_folder):
    folder, names = study
    outward = []
    for name in names:
        with h5py.File(folder / "flow" / f"{name}.h5") as file:
            flow = file[f"smile-{name}"]["flow"][-1].astype(float)
        # Mouth corners of a face whose eyes lie at 36 % of the height, half an inter-ocular distance to either side.
        rows, left, right = slice(88, 108), slice(36, 56), slice(72, 92)
        outward.append(flow[0, rows, right].mean() - flow[0, rows, left].mean())
    outward = np.array(outward)
    # One of the thirty smiles with closed lips that do not widen. A flow of zero would fail both.
    assert (outward <= 0).sum() <= 1 and np.median(outward) > 1.5, outward


def test_picture_of_smiles_is_written(study):
    from merflow.preprocessing.flow import flow_image

    folder, names = study
    pictures = []
    for name in names[:8]:
        with h5py.File(folder / "faces" / f"{name}.h5") as faces, h5py.File(folder / "flow" / f"{name}.h5") as file:
            pair = [cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB) for frame in faces[f"smile-{name}"]["frames"][:]]
            flow = flow_image(file[f"smile-{name}"]["flow"][-1].astype(np.float32))
        pictures.append(np.vstack([*pair, flow]))
    target = REPO / "results" / "tests" / "smiles.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(target), cv2.cvtColor(np.hstack(pictures), cv2.COLOR_RGB2BGR))
    assert target.stat().st_size > 10_000


def test_demo_animates_photographs(tmp_path, faces_folder):
    overlay = tmp_path / "portraits.yaml"
    settings = {
        "demo": {"subjects": 6, "clips_per_emotion": 1, "fps": 50, "portraits": str(faces_folder / "composite")}
    }
    overlay.write_text(yaml.safe_dump(settings | {"pretrain": {"epochs": 2}, "graph": {"side": 32}}))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(REPO / "Snakefile")]
    command += ["--directory", str(tmp_path), "--configfile", str(overlay)]
    subprocess.run(command, check=True, capture_output=True)
    quality = pd.read_csv(tmp_path / "results/data/demo-micro/default/quality.csv")
    assert len(quality) == 9 and (quality["status"] == "ok").all()
    assert "synthetic" in (tmp_path / "results/demo/report.html").read_text()
