"""The code of docs/from-python.md, run in the folder of a study."""

import re

import cv2
import numpy as np
import pandas as pd
import people
import pytest
import yaml
from flow_caches import balanced, make_cache
from repository import REPO
from sklearn.metrics import f1_score, recall_score

import merflow
from merflow.evaluation.significance import compare
from merflow.storage.tables import PREDICTIONS, write_table

PAGE = (REPO / "docs" / "from-python.md").read_text()
CLASSES = ["disgust", "happiness", "surprise"]
SYSTEMS = {"tsdgcn": 0.6, "msjfn": 0.9, "linear-svm": 0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of a study with the names of the page, made up."""
    folder = tmp_path_factory.mktemp("clone")
    rng = np.random.default_rng(0)
    for name in re.findall(r'"(results/[^"]+)"', PAGE) + ["mine.csv"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    make_cache(folder / "results/data/demo-micro/default/cache.h5", *balanced(people=2))
    rows = [
        {"experiment": name, "repeat": repeat, "fold": f"d/{n // 6}", "dataset": "d", "subject": f"d/{n // 6}",
         "clip": str(n), "truth": CLASSES[n % 3], "predicted": CLASSES[n % 3] if rng.random() < skill else "surprise"}
        for name, skill in SYSTEMS.items() for repeat in range(2) for n in range(72)
    ]  # fmt: skip
    write_table(rows, folder / "results/demo/predictions.csv", PREDICTIONS)
    (table,) = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)
    (folder / "mine.csv").write_text(table)
    clip = people.draw(folder / "people", "micro", 1, 0, emotions=("happiness",))[0]
    frames = sorted((folder / "people").glob(f"*/{clip.clip}/*.jpg"))
    video = cv2.VideoWriter(str(folder / "people/video.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 100, (480, 480))
    for file in frames:
        video.write(cv2.imread(str(file)))
    video.release()
    return folder


@pytest.fixture(scope="module")
def names(folder):
    """What the code of the page leaves in its names, block after block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        namespace = {}
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(block.replace("/data/people", f"{folder}/people"), namespace)
    return namespace


def test_page_reads_a_dataset_and_computes_flow(names, folder):
    assert names["index"].classes == ["happiness"] and len(names["usable"]) == 1
    assert [problem.effect for problem in names["index"].problems] == ["noted"], "a class of one person"
    frames = len(list((folder / "people").glob("*/*/*.jpg")))
    assert names["aligned"].frames.shape == (names["aligned"].frame_numbers.size, 128, 128)
    assert names["flow"].shape == (len(names["aligned"].frames) - 1, 2, 128, 128)
    motion = np.hypot(*np.moveaxis(names["flow"], 1, 0)).mean(axis=(1, 2))
    apex = list(names["aligned"].frame_numbers).index(names["aligned"].apex)
    assert motion[apex - 1] > 0.8 * motion.max() > 2 * motion[0], "the face has moved most at the apex"
    assert len(names["video"].frames) == frames and names["video"].placement.alignment == "detected"


def test_names_of_the_page_are_in_the_reference():
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    used = {f"merflow.{name}" for name in re.findall(r"merflow\.(\w+)\(", code)}
    for module, imported in re.findall(r"from (merflow[\w.]*) import (.*)", code):
        used |= {f"{module}.{name.strip()}" for name in imported.split(",")}
    reference = (REPO / "docs" / "api.md").read_text()
    shown = {*re.findall(r"heading: ([\w.]+)", reference), *re.findall(r"^::: ([\w.]+)", reference, re.MULTILINE)}
    assert used <= shown and {f"merflow.{name}" for name in merflow.PUBLIC} <= shown and len(used) >= 10


def test_page_reads_the_arrays_of_the_clips(names):
    clips = names["clips"]
    assert clips["clip"][0] == "c000" and set(clips["subject"]) == {"people/s0", "people/s1"}
    assert len(clips) == len(names["images"]) == len(names["flows"]) == len(names["dataset"]) == 12
    assert set(clips["label"]) == set(CLASSES) and names["images"].shape[1:] == (3, 28, 28)


def test_page_predicts_every_clip_once(names, folder):
    written = pd.read_csv(folder / "predictions.csv")
    assert sorted(written["clip"]) == sorted(names["clips"]["clip"]) and set(written["predicted"]) <= set(CLASSES)


def test_page_scores_as_sklearn_does(names):
    truth, predicted = ["fear", "fear", "joy"], ["fear", "joy", "joy"]
    expected = f1_score(truth, predicted, average="macro"), recall_score(truth, predicted, average="macro")
    assert (names["scores"]["uf1"], names["scores"]["uar"]) == pytest.approx(expected)
    (result,) = names["results"]
    assert result["uf1"] == pytest.approx(expected[0]) and result["intervals"] == {}


def test_page_compares_as_the_study_does(names, folder, tmp_path):
    compare(folder / "results/demo/predictions.csv", tmp_path / "d.csv", dict.fromkeys(SYSTEMS, CLASSES))
    expected = pd.read_csv(tmp_path / "d.csv").query("metric == 'uf1'")
    pairs = list(zip(expected["first"], expected["second"], strict=True))
    assert list(names["differences"]) == pairs and len(pairs) == 3
    got = [[*names["differences"][pair]["uf1"][:3], p] for pair, p in zip(pairs, names["corrected"], strict=True)]
    np.testing.assert_allclose(got, expected[["difference", "ci_low", "ci_high", "p_holm"]], rtol=1e-6)
    assert names["low"] < f1_mean(folder, "linear-svm") < names["high"], "the interval of the last system"


def f1_mean(folder, name):
    rows = pd.read_csv(folder / "results/demo/predictions.csv").query("experiment == @name")
    return np.mean([f1_score(r["truth"], r["predicted"], average="macro") for _, r in rows.groupby("repeat")])


def test_page_names_systems_and_datasets_of_the_demo():
    demo = yaml.safe_load((REPO / "config.yaml").read_text())
    assert set(SYSTEMS) <= {*demo["experiments"], *demo["floors"]}
    (shown,) = re.findall(r"for name in \((.*?)\)\}", PAGE)
    assert set(SYSTEMS) == set(re.findall(r'"([\w-]+)"', shown))
    datasets = set(re.findall(r"results/data/([\w-]+)/default", PAGE))
    assert datasets == {"demo-micro"} <= set(demo["datasets"])
