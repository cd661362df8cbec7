"""The finished demo study: its numbers, tables, figures, report and audit, and predictions of its networks."""

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from demo_study import CLASSES, CLIPS, DIVIDING, FIGURES, FLOORS, SUBJECTS, SYSTEMS, TABLES, run_demo
from sklearn.metrics import confusion_matrix

from merflow.evaluation.metrics import score


def above_floor(metrics: pd.DataFrame, experiment: str) -> bool:
    """The gate: the whole 95 % intervals of accuracy and of UF1 lie above those of a constant answer."""
    pooled = metrics[metrics["scope"] == "pooled"].set_index(["experiment", "metric"])
    return all(
        pooled.loc[(experiment, metric), "ci_low"] > pooled.loc[("majority", metric), "value"]
        for metric in ("accuracy", "uf1")
    )


def test_systems_are_above_the_majority_floor(demo):
    folder = demo
    metrics = pd.read_csv(folder / "results/demo/metrics.csv")
    for system in (*SYSTEMS, *FLOORS[1:]):
        assert above_floor(metrics, system), system
    assert not above_floor(metrics, "majority"), "a constant answer fails the gate"


def test_metrics_follow_from_predictions(demo):
    folder = demo
    predictions = pd.read_csv(folder / "results/demo/predictions.csv")
    metrics = pd.read_csv(folder / "results/demo/metrics.csv")
    for experiment, rows in predictions[~predictions["experiment"].isin(DIVIDING)].groupby("experiment"):
        assert rows["fold"].equals(rows["subject"]), "each subject is left out whole"
        assert not rows.duplicated(["repeat", "clip"]).any() and len(rows) == SUBJECTS // 2 * CLIPS
        again = score(rows["truth"], rows["predicted"], CLASSES)
        said = metrics[(metrics["experiment"] == experiment) & (metrics["scope"] == "pooled")].set_index("metric")[
            "value"
        ]
        assert said.to_dict() == pytest.approx({name: again[name] for name in said.index}, abs=1e-8)


def test_macro_and_micro_people_differ(demo):
    folder = demo

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


def test_report_says_that_data_are_synthetic(demo):
    folder = demo
    page = (folder / "results/demo/report.html").read_text()
    assert "synthetic" in page and "no claim about people" in page.replace("\n", " ")
    assert not re.search(r"""(src|href)=["']https?:""", page)
    assert page.count("our reading of the abstract") == 4, "two systems, in the results and at their confusion"
    assert "Pairs: mersiamc3d" in page and "Fine-tuning: mersiamc3d" in page


def test_figures_and_tables_are_written_as_csv_and_svg(demo):
    folder = demo
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


def test_figures_follow_from_tables_of_the_study(demo):
    folder = demo
    figures, results = folder / "results/demo/figures", folder / "results/demo"
    predictions, metrics = pd.read_csv(results / "predictions.csv"), pd.read_csv(results / "metrics.csv")
    mine = predictions[predictions["experiment"] == "tsdgcn"]
    accuracy = metrics.query("experiment == 'tsdgcn' and scope == 'pooled' and metric == 'accuracy'").iloc[0]
    for name in ("methods", "stages"):
        tested = pd.read_csv(figures / f"{name}.csv").query("metric == 'accuracy'")
        assert tested[["value", "ci_low", "ci_high"]].to_numpy().tolist() == [
            accuracy[["value", "ci_low", "ci_high"]].tolist()
        ]
    stages = pd.read_csv(figures / "stages.csv").set_index("metric")
    trained = pd.read_csv(results / "accuracy_train.csv").query("experiment == 'tsdgcn'")
    pretrained = trained.query("stage == 'pretrain'")["accuracy"]
    assert len(pretrained) == 2 and stages.loc["accuracy_pretrain", "value"] == pytest.approx(pretrained.mean())
    assert stages["column"].to_dict() == {
        "accuracy_pretrain": "demo-macro", "accuracy_finetune": "demo-micro", "accuracy": "demo-micro"
    }  # fmt: skip
    confusion = pd.read_csv(figures / "confusion.csv").pivot(index="row", columns="column", values="count")
    reference = confusion_matrix(mine["truth"], mine["predicted"], labels=CLASSES)
    assert (confusion.loc[CLASSES, CLASSES].to_numpy() == reference).all()
    flow = pd.read_csv(figures / "flow.csv").set_index("clip")
    assert set(flow.index) == set(mine["clip"])
    assert flow["label"].value_counts().eq(SUBJECTS // 2 * CLIPS // len(CLASSES)).all()
    with h5py.File(folder / "results/data/demo-micro/default/cache.h5") as file:
        u, v = np.moveaxis(file["flow"][:, :, :2].astype(float), 2, 0)
        clips = file["clip"].asstr()[:]
    length = np.sqrt(u**2 + v**2).reshape(len(clips), -1)
    assert flow.loc[clips, "mean"].to_numpy() == pytest.approx(length.mean(axis=1))
    assert flow.loc[clips, "variance"].to_numpy() == pytest.approx(length.var(axis=1))


def test_systems_share_one_file_of_splits(demo):
    folder = demo
    results = folder / "results/demo"
    files = sorted(file.name.split("-demo")[0] for file in (results / "splits").iterdir())
    assert files == ["loso", "paper-holdout"], "one for the experiment, its floors and the cells of its table"
    splits = {file.name.split("-demo")[0]: pd.read_csv(file) for file in (results / "splits").iterdir()}
    tables = [pd.read_csv(results / "predictions.csv"), pd.read_csv(results / "tables/branches/predictions.csv")]
    for experiment, rows in pd.concat(tables).groupby("experiment"):
        split = splits["paper-holdout" if experiment in DIVIDING else "loso"]
        tested = split[split["part"] == "test"]
        assert set(zip(tested["fold"], tested["clip"], strict=True)) == set(
            zip(rows["fold"], rows["clip"], strict=True)
        )
    assert all((split.groupby("fold").size() == SUBJECTS // 2 * CLIPS).all() for split in splits.values())


def test_audit_finds_only_the_allowed_leak(demo):
    folder = demo
    audit = pd.read_csv(folder / "results/demo/audit.csv")
    assert set(audit["experiment"]) == {*SYSTEMS, *FLOORS, *DIVIDING, "table branches"}
    leaks = audit[audit["size"] > 0]
    assert set(leaks["experiment"]) == DIVIDING and set(leaks["allowed"]) == {"yes"}
    split = next(pd.read_csv(f) for f in (folder / "results/demo/splits").iterdir() if "holdout" in f.name)
    people = {part: set(rows["subject"]) for part, rows in split.groupby("part")}
    sizes = leaks.set_index("check")["size"].to_dict()
    assert sizes["subjects: train and test"] == len(people["train"] & people["test"]) > 0
    page = (folder / "results/demo/report.html").read_text()
    assert f'class="clean">tsdgcn: clean, 8 checks in {SUBJECTS // 2} folds' in page
    assert (
        f'class="leak">divided: people of the test have clips that train: {len(people["train"] & people["test"])} in'
        in page
    )


def test_differences_favour_trained_systems_over_majority(demo):
    folder = demo
    table = pd.read_csv(folder / "results/demo/differences.csv").query("metric == 'uf1'")
    pairs = {(row["first"], row["second"]): row["verdict"] for row in table.to_dict("records")}
    assert {len(DIVIDING.intersection(pair)) for pair in pairs} == {0, 2}, "they predicted other clips"
    pairs = {pair: verdict for pair, verdict in pairs.items() if not DIVIDING.intersection(pair)}
    assert len(pairs) == 21
    better = {
        frozenset(pair): pair[0] if verdict == "first" else pair[1] if verdict == "second" else ""
        for pair, verdict in pairs.items()
    }
    for system in ("linear-svm", "softmax", "ststnet", *SYSTEMS):
        assert better[frozenset((system, "majority"))] in (system, "")
    assert (table["p_holm"] >= table["p"]).all()
    loso = ~table["first"].isin(DIVIDING)
    assert (table.loc[loso, "n_subjects"] == SUBJECTS // 2).all()


def test_run_prints_summary_and_second_run_does_nothing(demo):
    printed = (demo / "printed.txt").read_text()
    assert "tsdgcn" in printed and "results/demo/report.html" in printed
    again = run_demo(demo)
    assert "Nothing to be done" in again.stderr + again.stdout


def test_predict_answers_video_and_gives_reason_for_failure(demo):
    folder, clips = demo, demo / "clips"
    (clips / "wall").mkdir(parents=True)
    for number in range(4):
        cv2.imwrite(str(clips / "wall" / f"{number}.png"), np.full((90, 120), 90 + number, np.uint8))
    frames = sorted((folder / "results/data/demo-micro/source/s01").glob("s01_positive_1/*.jpg"))
    writer = cv2.VideoWriter(str(clips / "face.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 60, (480, 480))
    for file in frames:
        writer.write(cv2.imread(str(file)))
    writer.release()
    # A clip with onset and offset is not searched, so the accuracy of the search is not measured.
    table = clips / "table.csv"
    last = len(frames) - 1
    table.write_text(f"clip,frames,onset,offset\nface,face.mp4,0,{last}\nwall,wall,,\n")
    arguments = ["predict", "--config", f"clips={table}", "predict={experiments: [msjfn, tsdgcn]}"]
    done = run_demo(folder, *arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    trained = r"^Job \d+: (Train|Fine-tune|Pre-train|Align the faces of demo).*$"
    assert not re.findall(trained, done.stdout + done.stderr, re.MULTILINE), "nothing is trained twice"
    out = folder / "results/demo/predict/table.csv"
    answers = pd.read_csv(out / "answers.csv").set_index("source")
    assert "no face found" in answers.loc["wall", "reason"] and answers.loc["wall", "status"] == "failed"
    face = answers.loc["face"].set_index("experiment")
    assert list(face.index) == ["msjfn", "tsdgcn"] and (face["status"] == "ok").all()
    probs = face[[f"p_{name}" for name in CLASSES]].astype(float)
    assert np.allclose(probs.sum(axis=1), 1) and (probs.max(axis=1) == face["p_top"]).all()
    assert (face["n_members"] == SUBJECTS // 2).all() and face["onset"].eq(0).all() and face["offset"].eq(last).all()
    page = (out / "index.html").read_text()
    assert "trained on synthetic people only" in page and "no face found" in page
    assert not re.search(r"""(src|href)=["']https?:""", page)
    assert json.loads((out / "answers.json").read_text())["input"] == str(table)
    again = run_demo(folder, *arguments)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_leak_that_is_not_allowed_stops_the_study(demo, tmp_path):
    """The cache of a copy of the study has one clip under two people; only the audit runs again."""
    folder = shutil.copytree(demo, tmp_path / "demo")
    cache = folder / "results/data/demo-micro/default/cache.h5"
    with h5py.File(cache, "r+") as file:
        people = file["subject"].asstr()[:]
        other = int(np.flatnonzero(people != people[0])[0])
        file["spatial"][other], file["flow"][other] = file["spatial"][0], file["flow"][0]
        names = file["clip"].asstr()[[0, other]]
    audit = ["--forcerun", "audit_leakage", "--allowed-rules", "audit_leakage", "--", "results/demo/audit.csv"]
    done = run_demo(folder, *audit)
    assert done.returncode != 0
    assert "the configuration does not request it" in done.stderr + done.stdout
    assert "contents: train, validation and test: 1" in done.stderr + done.stdout
    assert all(name in done.stderr + done.stdout for name in names)
    assert not (folder / "results/demo/audit.csv").exists()
