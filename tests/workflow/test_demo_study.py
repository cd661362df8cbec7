"""The demo study as it is shipped, with fewer people, through the whole workflow."""

import re
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from conftest import REPO
from merflow.metrics import score

SUBJECTS = 14


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run config.yaml in a folder of its own; returns the folder and the command."""
    folder = tmp_path_factory.mktemp("demo")
    overlay = folder / "fewer.yaml"
    overlay.write_text(yaml.safe_dump({"demo": {"subjects": SUBJECTS}}))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(REPO / "Snakefile")]
    command += [
        "--directory",
        str(folder),
        "--configfile",
        str(overlay),
        "--workflow-profile",
        str(REPO / "profiles/default"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return folder, command, done


def clearly_above_the_floor(metrics: pd.DataFrame, experiment: str, chance: float) -> bool:
    """The gate: the whole 95 % interval of accuracy and of UF1 lies above one and a half times chance."""
    rows = metrics[(metrics["experiment"] == experiment) & (metrics["scope"] == "pooled")].set_index("metric")
    return bool((rows.loc[["accuracy", "uf1"], "ci_low"] > 1.5 * chance).all())


def test_leave_one_subject_out_accuracy_is_clearly_above_the_majority_floor(demo):
    folder, *_ = demo
    metrics = pd.read_csv(folder / "results/demo/metrics.csv")
    assert clearly_above_the_floor(metrics, "tsdgcn", 0.2)
    assert clearly_above_the_floor(metrics, "linear-svm", 0.2)
    assert not clearly_above_the_floor(metrics, "majority", 0.2), "a constant answer fails the gate"


def test_metrics_follow_from_the_predictions_alone(demo):
    folder, *_ = demo
    predictions = pd.read_csv(folder / "results/demo/predictions.csv")
    metrics = pd.read_csv(folder / "results/demo/metrics.csv")
    classes = ["happiness", "surprise", "disgust", "fear", "sadness"]
    for experiment, rows in predictions.groupby("experiment"):
        assert rows["fold"].equals(rows["subject"]), "each subject is left out whole"
        assert not rows.duplicated(["repeat", "clip"]).any() and len(rows) == SUBJECTS // 2 * 10
        again = score(rows["truth"], rows["predicted"], classes)
        said = metrics[(metrics["experiment"] == experiment) & (metrics["scope"] == "pooled")].set_index("metric")[
            "value"
        ]
        assert said.to_dict() == pytest.approx({name: again[name] for name in said.index}, abs=1e-8)


def test_macro_people_are_not_the_micro_people(demo):
    folder, *_ = demo
    import h5py

    def portraits(dataset):
        faces = sorted((folder / f"results/data/{dataset}/default/faces").glob("*.h5"))
        for file in faces:
            with h5py.File(file) as clips:
                yield next(iter(clips.values()))["frames"][0].astype(float)

    macro, micro = list(portraits("demo-macro")), list(portraits("demo-micro"))
    between = min(abs(a - b).mean() for a in macro for b in micro)
    assert len(macro) == len(micro) == SUBJECTS // 2 and between > 3, (
        "grey levels; one person twice would be near the noise"
    )


def test_the_report_says_what_the_data_are(demo):
    folder, *_ = demo
    page = (folder / "results/demo/report.html").read_text()
    assert "synthetic" in page and "no claim about people" in page.replace("\n", " ")
    assert not re.search(r"""(src|href)=["']https?:""", page)


def test_the_run_ends_with_the_headline_and_a_second_one_does_nothing(demo):
    folder, command, done = demo
    assert "tsdgcn" in done.stdout and "results/demo/report.html" in done.stdout
    again = subprocess.run(command, capture_output=True, text=True)
    assert "Nothing to be done" in again.stderr + again.stdout


@pytest.mark.slow
def test_photographs_take_the_place_of_drawn_faces(tmp_path, faces_folder):
    overlay = tmp_path / "portraits.yaml"
    settings = {
        "demo": {"subjects": 6, "clips_per_emotion": 1, "frames": 20, "portraits": str(faces_folder / "composite")}
    }
    overlay.write_text(yaml.safe_dump(settings | {"pretrain": {"epochs": 2}, "graph": {"side": 32}}))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(REPO / "Snakefile")]
    command += ["--directory", str(tmp_path), "--configfile", str(overlay)]
    subprocess.run(command, check=True, capture_output=True)
    quality = pd.read_csv(tmp_path / "results/data/demo-micro/default/quality.csv")
    assert len(quality) == 15 and (quality["status"] == "ok").all()
    assert "synthetic" in (tmp_path / "results/demo/report.html").read_text()
