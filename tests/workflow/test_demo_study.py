"""The demo study as it is shipped, with fewer people, shorter clips, and figures of its results: the whole workflow."""

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from repository import REPO
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from training_jobs import run_linear, split_files, train_clip_network

from merflow.evaluation.metrics import bootstrap_subjects, mean_rates, score
from merflow.protocols.settings import ClipSettings
from merflow.study.config import load_config
from merflow.study.study import Study
from merflow.systems.clip_images import SIDE, read_clip_images
from merflow.systems.tsdgcn import finetune as finetuning

SUBJECTS = 12
SYSTEMS = ("tsdgcn", "msjfn", "mersiamc3d")
FLOORS = ("majority", "linear-svm", "softmax", "ststnet")
FIGURES = {
    "methods": {"kind": "methods", "of": ["tsdgcn"]},
    "stages": {"kind": "stages", "of": "tsdgcn", "title": "Three stages"},
    "confusion": {"kind": "confusion", "of": "tsdgcn"},
    "flow": {"kind": "flow-statistics", "of": "tsdgcn"},
}
TABLES = {"branches": {"of": "tsdgcn", "rows": {"branches": [["spatial"], ["temporal"]]}}}
CLASSES = ["happiness", "surprise", "disgust", "fear", "sadness"]


DIVIDED = {"system": "majority", "micro": "demo-micro", "protocol": "paper-holdout", "test_clips": SUBJECTS}
"""A floor under the protocol whose leak is asked for."""


def shorter() -> dict:
    """What is laid over config.yaml: fewer people, clips and epochs."""
    experiments = yaml.safe_load((REPO / "config.yaml").read_text())["experiments"]
    experiments["tsdgcn"]["pretrain"]["epochs"] = 15
    experiments["msjfn"]["network"] = {"side": 28, "width": 8, "epochs": 15, "refit": False}
    experiments["mersiamc3d"]["network"] |= {"side": 20, "epochs": 15, "prior_epochs": 2}
    network = {"epochs": 40, "learning_rate": 0.002}
    return {"demo": {"subjects": SUBJECTS, "frames": 20}, "network": network, "experiments": experiments}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run config.yaml in a folder of its own; returns the folder and the command."""
    folder = tmp_path_factory.mktemp("demo")
    overlay = folder / "fewer.yaml"
    study = shorter() | {"figures": FIGURES, "tables": TABLES}
    study["experiments"]["divided"] = DIVIDED
    overlay.write_text(yaml.safe_dump(study))
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
    for system in (*SYSTEMS, "linear-svm"):
        assert clearly_above_the_floor(metrics, system, 0.2), system
    assert not clearly_above_the_floor(metrics, "majority", 0.2), "a constant answer fails the gate"


def test_metrics_follow_from_the_predictions_alone(demo):
    folder, *_ = demo
    predictions = pd.read_csv(folder / "results/demo/predictions.csv")
    metrics = pd.read_csv(folder / "results/demo/metrics.csv")
    for experiment, rows in predictions[predictions["experiment"] != "divided"].groupby("experiment"):
        assert rows["fold"].equals(rows["subject"]), "each subject is left out whole"
        assert not rows.duplicated(["repeat", "clip"]).any() and len(rows) == SUBJECTS // 2 * 10
        again = score(rows["truth"], rows["predicted"], CLASSES)
        said = metrics[(metrics["experiment"] == experiment) & (metrics["scope"] == "pooled")].set_index("metric")[
            "value"
        ]
        assert said.to_dict() == pytest.approx({name: again[name] for name in said.index}, abs=1e-8)


def test_macro_people_are_not_the_micro_people(demo):
    folder, *_ = demo

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
    assert page.count("our reading of the abstract</span>") == 4, "two systems, in the results and at their confusion"
    assert "Pairs: mersiamc3d" in page and "Fine-tuning: mersiamc3d" in page


def test_every_figure_and_table_lies_there_as_numbers_and_as_a_drawing(demo):
    folder, *_ = demo
    made = sorted(file.name for file in (folder / "results/demo/figures").iterdir())
    assert made == sorted(f"{name}.{end}" for name in [*FIGURES, *TABLES] for end in ("csv", "svg"))
    page = (folder / "results/demo/report.html").read_text()
    for name in [*FIGURES, *TABLES]:
        svg = (folder / f"results/demo/figures/{name}.svg").read_text()
        assert ElementTree.fromstring(svg).tag.endswith("svg") and "Synthetic demo data" in svg
        title = FIGURES.get(name, {}).get("title", name)
        assert f"<h3>{title}" in page and (title in svg)
    assert "5 configurations were tried" in page and "2 configurations of tsdgcn were tried" in page
    assert "Only our numbers are shown" in page


def test_numbers_of_the_figures_follow_from_the_tables_of_the_study(demo):
    folder, *_ = demo
    figures, own = folder / "results/demo/figures", folder / "results/demo"
    predictions, metrics = pd.read_csv(own / "predictions.csv"), pd.read_csv(own / "metrics.csv")
    mine = predictions[predictions["experiment"] == "tsdgcn"]
    accuracy = metrics.query("experiment == 'tsdgcn' and scope == 'pooled' and metric == 'accuracy'").iloc[0]
    for name in ("methods", "stages"):
        tested = pd.read_csv(figures / f"{name}.csv").query("metric == 'accuracy'")
        assert tested[["value", "ci_low", "ci_high"]].to_numpy().tolist() == [
            accuracy[["value", "ci_low", "ci_high"]].tolist()
        ]
    stages = pd.read_csv(figures / "stages.csv").set_index("metric")
    trained = pd.read_csv(own / "accuracy_train.csv").query("experiment == 'tsdgcn'")
    pretrained = trained.query("stage == 'pretrain'")["accuracy"]
    assert len(pretrained) == 2 and stages.loc["accuracy_pretrain", "value"] == pytest.approx(pretrained.mean())
    assert stages["column"].to_dict() == {
        "accuracy_pretrain": "demo-macro", "accuracy_finetune": "demo-micro", "accuracy": "demo-micro"
    }  # fmt: skip
    confusion = pd.read_csv(figures / "confusion.csv").pivot(index="row", columns="column", values="count")
    reference = confusion_matrix(mine["truth"], mine["predicted"], labels=CLASSES)
    assert (confusion.loc[CLASSES, CLASSES].to_numpy() == reference).all()
    flow = pd.read_csv(figures / "flow.csv").set_index("clip")
    assert set(flow.index) == set(mine["clip"]) and flow["label"].value_counts().eq(SUBJECTS).all()
    with h5py.File(folder / "results/data/demo-micro/default/cache.h5") as file:
        u, v = np.moveaxis(file["flow"][:, :, :2].astype(float), 2, 0)
        clips = file["clip"].asstr()[:]
    length = np.sqrt(u**2 + v**2).reshape(len(clips), -1)
    assert flow.loc[clips, "mean"].to_numpy() == pytest.approx(length.mean(axis=1))
    assert flow.loc[clips, "variance"].to_numpy() == pytest.approx(length.var(axis=1))


def test_all_systems_share_one_file_of_splits_and_test_what_it_says(demo):
    folder, *_ = demo
    own = folder / "results/demo"
    files = sorted(file.name.split("-demo")[0] for file in (own / "splits").iterdir())
    assert files == ["loso", "paper-holdout"], "one for the experiment, its floors and the cells of its table"
    splits = {file.name.split("-demo")[0]: pd.read_csv(file) for file in (own / "splits").iterdir()}
    tables = [pd.read_csv(own / "predictions.csv"), pd.read_csv(own / "tables/branches/predictions.csv")]
    for experiment, rows in pd.concat(tables).groupby("experiment"):
        split = splits["paper-holdout" if experiment == "divided" else "loso"]
        tested = split[split["part"] == "test"]
        assert set(zip(tested["fold"], tested["clip"], strict=True)) == set(
            zip(rows["fold"], rows["clip"], strict=True)
        )
    assert all((split.groupby("fold").size() == SUBJECTS // 2 * 10).all() for split in splits.values())


def test_the_audit_is_clean_but_for_the_leak_that_was_asked_for(demo):
    folder, *_ = demo
    audit = pd.read_csv(folder / "results/demo/audit.csv")
    assert set(audit["experiment"]) == {*SYSTEMS, *FLOORS, "divided", "table branches"}
    found = audit[audit["size"] > 0]
    assert set(found["experiment"]) == {"divided"} and set(found["allowed"]) == {"yes"}
    split = next(pd.read_csv(f) for f in (folder / "results/demo/splits").iterdir() if "holdout" in f.name)
    people = {part: set(rows["subject"]) for part, rows in split.groupby("part")}
    sizes = found.set_index("check")["size"].to_dict()
    assert sizes["subjects: train and test"] == len(people["train"] & people["test"]) > 0
    page = (folder / "results/demo/report.html").read_text()
    assert f'class="clean">tsdgcn: clean, 8 checks in {SUBJECTS // 2} folds' in page
    assert (
        f'class="leak">divided: people of the test have clips that train: {len(people["train"] & people["test"])} in'
        in page
    )


def test_real_differences_are_between_what_learnt_and_what_did_not(demo):
    folder, *_ = demo
    table = pd.read_csv(folder / "results/demo/differences.csv").query("metric == 'uf1'")
    pairs = {(row["first"], row["second"]): row["verdict"] for row in table.to_dict("records")}
    assert len(pairs) == 21 and not any("divided" in pair for pair in pairs), "it answered for other clips"
    better = {
        frozenset(pair): pair[0] if verdict == "first" else pair[1] if verdict == "second" else ""
        for pair, verdict in pairs.items()
    }
    for system in ("linear-svm", "softmax", "ststnet", *SYSTEMS):
        assert better[frozenset((system, "majority"))] in (system, "")
    assert (table["p_holm"] >= table["p"]).all() and (table["n_subjects"] == SUBJECTS // 2).all()


def test_the_run_ends_with_the_headline_and_a_second_one_does_nothing(demo):
    folder, command, done = demo
    assert "tsdgcn" in done.stdout and "results/demo/report.html" in done.stdout
    again = subprocess.run(command, capture_output=True, text=True)
    assert "Nothing to be done" in again.stderr + again.stdout


def test_the_trained_study_answers_a_video_and_says_why_a_clip_without_a_face_is_not(demo):
    folder, command, _ = demo
    clips = folder / "clips"
    (clips / "wall").mkdir(parents=True)
    for number in range(4):
        cv2.imwrite(str(clips / "wall" / f"{number}.png"), np.full((90, 120), 90 + number, np.uint8))
    frames = sorted((folder / "results/data/demo-micro/source/s01").glob("s01_happiness_1/*.jpg"))
    writer = cv2.VideoWriter(str(clips / "face.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 60, (480, 480))
    for file in frames:
        writer.write(cv2.imread(str(file)))
    writer.release()
    # With onset and offset nothing is searched, so that no search is measured.
    table = clips / "table.csv"
    table.write_text("clip,frames,onset,offset\nface,face.mp4,0,19\nwall,wall,,\n")
    config = ["--config", f"clips={table}", "predict={experiments: [msjfn, tsdgcn]}"]
    asked = [*command[:3], "predict", *command[3:], *config]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    trained = r"^Job \d+: (Train|Fine-tune|Pre-train|Align the faces of demo).*$"
    assert not re.findall(trained, done.stdout + done.stderr, re.MULTILINE), "nothing is trained twice"
    out = folder / "results/demo/predict/table.csv"
    answers = pd.read_csv(out / "answers.csv").set_index("source")
    assert "no face found" in answers.loc["wall", "reason"] and answers.loc["wall", "status"] == "failed"
    face = answers.loc["face"].set_index("experiment")
    assert list(face.index) == ["msjfn", "tsdgcn"] and (face["status"] == "ok").all()
    chances = face[[f"p_{name}" for name in CLASSES]].astype(float)
    assert np.allclose(chances.sum(axis=1), 1) and (chances.max(axis=1) == face["p_top"]).all()
    assert (face["n_members"] == SUBJECTS // 2).all() and face["onset"].eq(0).all() and face["offset"].eq(19).all()
    page = (out / "index.html").read_text()
    assert "only seen drawn people" in page and "no face found" in page
    assert not re.search(r"""(src|href)=["']https?:""", page)
    assert json.loads((out / "answers.json").read_text())["input"] == str(table)
    again = subprocess.run(asked, capture_output=True, text=True)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_leak_that_nobody_asked_for_stops_the_study(demo, tmp_path):
    """A clip that was copied to another person in the cache: the audit alone is run again on it."""
    folder, command, _ = demo
    cache = folder / "results/data/demo-micro/default/cache.h5"
    kept = shutil.copy2(cache, tmp_path / "cache.h5")
    with h5py.File(cache, "r+") as file:
        people = file["subject"].asstr()[:]
        other = int(np.flatnonzero(people != people[0])[0])
        file["spatial"][other], file["flow"][other] = file["spatial"][0], file["flow"][0]
        names = file["clip"].asstr()[[0, other]]
    try:
        audit = ["--forcerun", "audit_leakage", "--allowed-rules", "audit_leakage", "--", "results/demo/audit.csv"]
        done = subprocess.run([*command, *audit], capture_output=True, text=True)
    finally:
        shutil.copy2(kept, cache)
    assert done.returncode != 0
    assert "the configuration does not ask for it" in done.stderr + done.stdout
    assert "contents: train, validation and test: 1" in done.stderr + done.stdout
    assert all(name in done.stderr + done.stdout for name in names)
    assert not (folder / "results/demo/audit.csv").exists()


# --- chance -----------------------------------------------------------------------------------------------------------

PERMUTATIONS = 50
CHANCE = 1 / len(CLASSES)
MICRO = "demo-micro"
NETWORK = {"refit": False, "patience": 20, "batch": 256, "weight_decay": 0.0, "validation": 0.2}
NETWORKS = {
    "ststnet": NETWORK | {"epochs": 40, "learning_rate": 2e-3, "dropout": 0.5},
    "off-apexnet": NETWORK | {"epochs": 5, "learning_rate": 5e-4, "dropout": 0.0},
}
"""Fewer epochs with bigger steps than shipped: 350 networks each; the epochs are enough to learn the true labels."""


def at_chance(uar) -> bool:
    """The gate on permuted labels: the mean UAR is within two standard errors of chance, or below it.

    Below, because a clip's own class is rarer among the others, which are all that trains.
    """
    return bool(np.mean(uar) <= CHANCE + 2 * np.std(uar, ddof=1) / np.sqrt(len(uar)))


def above_chance(table: pd.DataFrame) -> bool:
    """The gate on the true labels: the 95 % interval of UAR lies above chance."""
    return bool(bootstrap_subjects(table, CLASSES)["uar"][0] > CHANCE)


def uar_of(table: pd.DataFrame) -> float:
    return float(mean_rates(table, CLASSES)["uar"])


def cache_of(folder):
    return folder / f"results/data/{MICRO}/default/cache.h5"


def permuted(folder, count: int = PERMUTATIONS) -> list[dict[str, dict[str, str]]]:
    """Labels permuted over all clips."""
    with h5py.File(cache_of(folder)) as file:
        clips, labels = file["clip"].asstr()[:], file["label"].asstr()[:]
    rng = np.random.default_rng(0)
    return [{MICRO: dict(zip(clips, rng.permutation(labels), strict=True))} for _ in range(count)]


def head_predictions(folder, labels: list[dict], work) -> list[pd.DataFrame]:
    """Predictions of the study's heads, trained on its features once for each set of labels."""
    study = Study(load_config(REPO / "config.yaml", overlay=shorter() | {"results": str(folder / "results")}))
    settings, features = study.finetune_settings("tsdgcn"), study.feature_plan("tsdgcn")
    files, tables = [group[0] for group in next(iter(features.values()))], []
    for relabelled in labels:
        # New splits: validation subjects are drawn so that training lacks no class.
        clips = replace(settings.clips, labels=relabelled)
        splits = split_files(files, clips, {"protocol": "loso"}, list(features), work)
        results = finetuning.train_repeats(features, replace(settings, clips=clips, splits=splits))
        tables.append(pd.DataFrame([row for result in results for row in result.prediction_rows("tsdgcn")]))
    return tables


@pytest.fixture(scope="module")
def images(demo, tmp_path_factory):
    """A cache with the flow images of the demo and nothing else of it, as it is read some thousand times."""
    samples = read_clip_images([cache_of(demo[0])], ClipSettings([MICRO], CLASSES, {}), in_memory=True)
    clips = samples.clips_with_truth
    path = tmp_path_factory.mktemp("images") / "cache.h5"
    with h5py.File(path, "w") as file:
        for name, column in (("clip", "clip"), ("subject", "subject"), ("label", "truth")):
            file.create_dataset(name, data=[clip[column] for clip in clips], dtype=h5py.string_dtype())
        file["flow"] = samples.rows.reshape(-1, 1, 3, SIDE, SIDE)
        file["apex_index"] = np.zeros(len(clips), int)
        file.attrs.update(dataset=MICRO, classes=CLASSES)
    return path


def floor_answers(cache, system: str, work, labels: dict | None = None) -> pd.DataFrame:
    """Answers of a floor, or of a network on flow images."""
    settings = {"experiment": system, "system": system, "protocol": "loso", "classes": CLASSES}
    settings |= {"labels": labels} if labels else {}
    if system not in NETWORKS:
        run_linear([cache], system, work / "p.csv", work / "a.csv", settings)
        return pd.read_csv(work / "p.csv")
    files = {"predictions": work / "p.csv", "accuracy_train": work / "a.csv", "curves": work / "c.csv"}
    settings |= {"network": NETWORKS[system], "loss": {"name": "cross-entropy"}}
    parts = []
    with h5py.File(cache) as file:
        people = sorted(set(file["subject"].asstr()[:]))
    for fold in people:
        train_clip_network([cache], **files, settings=settings, seed=0, fold=fold)
        parts.append(pd.read_csv(work / "p.csv"))
    return pd.concat(parts)


@pytest.mark.slow  # Made-up data stand in for the demo in test_finetune.py and test_baselines.py.
def test_heads_on_permuted_labels_are_at_chance(demo, tmp_path):
    folder, *_ = demo
    found = head_predictions(folder, permuted(folder), tmp_path)
    assert len(found) == PERMUTATIONS and all(len(table) == SUBJECTS // 2 * 10 for table in found)
    assert at_chance([uar_of(table) for table in found])
    copied = [table.assign(predicted=table["truth"]) for table in found]
    assert not at_chance([uar_of(table) for table in copied]), "an answer that is the permuted truth fails the gate"
    honest = head_predictions(folder, [{}], tmp_path)[0]
    assert above_chance(honest), "the same settings, so they do learn"
    told = pd.read_csv(folder / "results/demo/predictions.csv").query("experiment == 'tsdgcn'")
    assert above_chance(told)


@pytest.mark.slow
def test_chance_bound_rejects_heads_that_train_on_test_clips(demo, tmp_path, monkeypatch):
    folder, *_ = demo
    honest = finetuning.read_folds

    def leaking(*arguments):
        return (replace(fold, train=np.union1d(fold.train, fold.test)) for fold in honest(*arguments))

    monkeypatch.setattr(finetuning, "read_folds", leaking)
    assert not at_chance([uar_of(table) for table in head_predictions(folder, permuted(folder, 3), tmp_path)])


@pytest.mark.slow
@pytest.mark.parametrize("system", ["majority", "linear-svm", "softmax"])
def test_baselines_on_permuted_labels_are_at_chance(demo, images, tmp_path, system):
    folder, *_ = demo
    found = [floor_answers(images, system, tmp_path, labels) for labels in permuted(folder)]
    assert len({tuple(table["truth"]) for table in found}) == PERMUTATIONS
    assert at_chance([uar_of(table) for table in found])
    told = pd.read_csv(folder / "results/demo/predictions.csv").query("experiment == @system")
    assert above_chance(told) is (system != "majority"), "a constant answer fails the gate"


@pytest.mark.slow  # Each system trains 357 networks: some three minutes.
@pytest.mark.parametrize("system", NETWORKS)
def test_networks_on_permuted_labels_are_at_chance(demo, images, tmp_path, system):
    assert above_chance(floor_answers(images, system, tmp_path)), "so many epochs are enough to learn"
    assert at_chance([uar_of(floor_answers(images, system, tmp_path, labels)) for labels in permuted(demo[0])])


# --- an independent run of the floors ---------------------------------------------------------------------------------


INDEPENDENT = {
    "linear-svm": SVC(kernel="linear", C=1e-3, class_weight="balanced", random_state=11),
    "softmax": LogisticRegression(C=1e-3, class_weight="balanced", solver="newton-cg", random_state=11),
}
"""Other solvers; libsvm sets one class against another, with another loss."""


@pytest.mark.parametrize("system", INDEPENDENT)
def test_the_interval_of_a_floor_holds_the_value_of_an_independent_run(demo, system):
    folder, *_ = demo
    with h5py.File(folder / f"results/data/{MICRO}/default/cache.h5") as file:
        label, people = file["label"].asstr()[:], file["subject"].asstr()[:]
        fields = (file["flow"][n, apex].astype(np.float32) for n, apex in enumerate(file["apex_index"]))
        images = [cv2.resize(field.transpose(1, 2, 0), (28, 28), interpolation=cv2.INTER_AREA) for field in fields]
    images, predicted = np.stack(images).reshape(len(label), -1), label.copy()
    for train, test in LeaveOneGroupOut().split(images, label, people):
        model = make_pipeline(StandardScaler(), clone(INDEPENDENT[system]))
        predicted[test] = model.fit(images[train], label[train]).predict(images[test])
    table = pd.read_csv(folder / "results/demo/metrics.csv")
    row = table.query("experiment == @system and scope == 'pooled' and metric == 'uf1'").iloc[0]
    shuffled = np.random.default_rng(0).permutation(label)

    def inside(answer):
        return row["ci_low"] - 1e-9 <= f1_score(label, answer, average="macro") <= row["ci_high"] + 1e-9

    assert inside(predicted)
    assert not inside(shuffled) and not inside(np.full(len(label), CLASSES[0])), "trivial answers"


# --- other faces ------------------------------------------------------------------------------------------------------


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
