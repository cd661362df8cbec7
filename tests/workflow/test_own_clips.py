"""A manifest with good and bad clips: bad ones are named with a reason, good ones are processed."""

import re
import shutil

import cv2
import h5py
import numpy as np
import pandas as pd
import people
import pytest
from repository import copy_repository, snakemake, yaml_blocks


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Nine synthetic clips of three people and six bad ones."""
    folder = copy_repository(tmp_path_factory.mktemp("own"))
    clips = people.draw(folder / "people", "micro", 3, 3)
    people.draw(folder / "posed", "macro", 2, 0)
    rows = [people.row_of(clip, folder / "people") for clip in clips]
    source = folder / "people" / rows[0][3]
    for name in ("corrupt", "truncated", "two-sizes", "wrong onset"):
        shutil.copytree(source, folder / "people" / name)
    onset = f"{clips[0].onset:04d}.jpg"
    (folder / "people" / "corrupt" / "0010.jpg").write_bytes(b"this is no image")
    frame = folder / "people" / "truncated" / "0012.jpg"
    frame.write_bytes(frame.read_bytes()[:200])
    cv2.imwrite(str(folder / "people" / "two-sizes" / "0010.jpg"), np.zeros((100, 100, 3), np.uint8))
    assert (source / onset).is_file()
    (folder / "people" / "empty").mkdir()
    (folder / "people" / "wall").mkdir()
    rng = np.random.default_rng(0)
    for n in range(6):
        image = cv2.GaussianBlur(rng.integers(0, 255, (240, 320, 3), np.uint8), (0, 0), 9)
        cv2.imwrite(str(folder / "people" / "wall" / f"{n}.png"), image)
    bad = [
        ["bad-corrupt", "s01", "happiness", "corrupt", *rows[0][4:]],
        ["bad-truncated", "s01", "happiness", "truncated", *rows[0][4:]],
        ["bad-two-sizes", "s02", "happiness", "two-sizes", *rows[0][4:]],
        ["bad-empty", "s02", "surprise", "empty", None, None, None, None],
        ["bad-wall", "s03", "disgust", "wall", None, None, None, None],
        ["bad-onset", "s04", "disgust", "wrong onset", 15, 8, 18, None],
    ]
    people.write_manifest(folder / "people", rows + bad)
    before = {file: file.read_bytes() for file in (folder / "people").rglob("*") if file.is_file()}
    done = snakemake(folder, config=people.config(folder, floors=["majority"]))
    return folder, done, [row[0] for row in rows], before


def test_dry_run_prints_bad_clips_and_people_by_name(tmp_path):
    folder = copy_repository(tmp_path)
    people.write_manifest(folder, [[f"c{n}", name, "fear", "none", *[None] * 4] for n, name in enumerate("ab")])
    for n, name in enumerate(("Zoë M", "Ann", "Li")):
        (folder / f"{n}").mkdir()
        (folder / f"{n}" / "1.png").write_bytes(b"not looked into")
        (folder / f"{n}" / "2.png").write_bytes(b"not looked into")
        with open(folder / "manifest.csv", "a") as table:
            table.write(f"good{n},{name},{'happiness' if n else 'fear'},{n},,,,\n")
    dataset = {"layout": "manifest", "root": str(folder), "kind": "micro"}
    config = {"study": "mine", "datasets": {"people": dataset}, "floors": []}
    config["experiments"] = {"svm": {"system": "linear-svm", "micro": "people"}}
    done = snakemake(folder, "-n", config=config)
    assert "dataset people: 2 of 5 clips cannot be used" in done.stderr
    assert re.search(r"row 3 +c1 +frames +left out +.*none does not exist", done.stderr)
    assert "Align the faces of people/Zoë M\n" in done.stdout + done.stderr
    for n in "12":
        shutil.rmtree(folder / n)
    done = snakemake(folder, "-n", config=config, ok=False)
    assert "4 of 5 clips cannot be used" in done.stderr
    assert "labelled clips of people/Zoë M only" in done.stdout + done.stderr


@pytest.mark.parametrize(("path", "name"), [("take #2", "take%20%232"), ("006_1_2", "006_1_2"), ("001", "001")])
def test_predict_plans_clips_as_typed(tmp_path, path, name):
    folder = copy_repository(tmp_path)
    for inside in {path, path.split(" #")[0]}:
        (folder / inside).mkdir()
        for n in "123":
            (folder / inside / f"{n}.png").write_bytes(b"not looked into")
    done = snakemake(folder, "-n", "predict", "--config", f"clips={path}")
    assert f"results/demo/predict/{name}/index.html" in done.stdout + done.stderr


REASONS = {
    "bad-corrupt": "corrupt/0010.jpg is not an image",
    "bad-truncated": "truncated/0012.jpg",
    "bad-two-sizes": "frame 10 is 100x100",
    "bad-empty": "empty holds no image",
    "bad-wall": "no face",
    "bad-onset": "onset 15 comes after apex 8",
}


def test_bad_clips_have_reasons_and_good_ones_are_processed(study):
    folder, _, good, _ = study
    quality = pd.read_csv(folder / "results/data/people/default/quality.csv").set_index("clip")
    assert set(quality.index) == set(good) | set(REASONS)
    assert set(quality.index[quality["status"] == "ok"]) == set(good)
    for clip, reason in REASONS.items():
        assert reason in quality.loc[clip, "reason"], clip
    with h5py.File(folder / "results/data/people/default/cache.h5") as cache:
        assert sorted(cache["clip"].asstr()[:]) == sorted(good)
        assert (np.abs(cache["flow"][:]).max(axis=(1, 2, 3, 4)) > 0).all()


def test_problems_of_the_table_are_reported_with_row(study):
    folder, done, good, _ = study
    problems = pd.read_csv(folder / "results/data/people/problems.csv").set_index("clip")
    assert problems["row"].to_dict() == {"bad-empty": len(good) + 5, "bad-onset": len(good) + 7}
    line = rf"row {len(good) + 7} +bad-onset +onset +left out +onset 15 comes after apex 8"
    assert re.search(line, done.stdout + done.stderr)


def test_report_names_every_failed_clip(study):
    folder, _, good, _ = study
    page = (folder / "results/mine/report.html").read_text()
    for clip in REASONS:
        assert clip in page
    assert "synthetic" not in page.lower(), "the clips are those of a user"
    predictions = pd.read_csv(folder / "results/mine/predictions.csv")
    assert set(predictions["clip"]) == set(good)


def test_folder_of_the_user_is_unchanged(study):
    folder, _, _, before = study
    assert {file: file.read_bytes() for file in (folder / "people").rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"studdy": "x"}, "studdy: unknown key (did you mean `study`?)"),
        ({"experiments": {"a": {"system": "tsdgcn", "macro": "posed", "micro": "people", "graphs": ["8+"]}}}, "'8+'"),
        ({"datasets": {"people": {"layout": "manifest", "root": "gone"}}}, "folder gone does not exist"),
    ],
)
def test_bad_configuration_is_one_message_before_any_job(study, changes, message):
    folder, *_ = study
    done = snakemake(folder, config=people.config(folder, **changes), ok=False)
    text = done.stdout + done.stderr
    assert done.returncode and message in text
    assert "Traceback" not in text and "rule " not in text


def test_on_problem_stop_lists_all_problems(study):
    folder, *_ = study
    settings = people.config(folder)
    settings["datasets"]["people"]["on_problem"] = "stop"
    done = snakemake(folder, config=settings, ok=False)
    text = done.stdout + done.stderr
    assert done.returncode and "bad-empty" in text and "bad-onset" in text and "Traceback" not in text


@pytest.mark.slow
def test_floors_need_no_macro_clips(study):
    folder, *_ = study
    settings = people.config(folder, study="floors", floors=["majority", "softmax"]) | {
        "experiments": {
            "svm": {"system": "linear-svm", "micro": "people"},
            "most": {"system": "majority", "micro": "people"},
            "two": {"system": "majority", "micro": "people", "classes": ["surprise", "disgust"]},
        }
    }
    snakemake(folder, config=settings)
    metrics = pd.read_csv(folder / "results/floors/metrics.csv")
    beside = {"softmax-people-default-loso", "softmax-people-default-loso-surprise-disgust"}
    assert set(metrics["experiment"]) == {"svm", "most", "two"} | beside
    predictions = pd.read_csv(folder / "results/floors/predictions.csv")
    assert set(predictions.loc[predictions["experiment"] == "two", "truth"]) == {"surprise", "disgust"}


@pytest.mark.slow
def test_page_without_macro_clips_runs_as_it_stands(study):
    folder, *_ = study
    (settings,) = (block for block in yaml_blocks("own-clips.md") if "floors" in block)
    settings["datasets"]["people"]["root"] = str(folder / "people")
    for experiment in settings["experiments"].values():
        experiment["seeds"] = [0]  # Three take as long again, twice.
    snakemake(folder, config=settings | {"study": "networks"})
    metrics = pd.read_csv(folder / "results/networks/metrics.csv")
    assert set(metrics["experiment"]) == {"ststnet", "msjfn", "majority", "linear-svm"}
    assert "No two systems" not in (folder / "results/networks/report.html").read_text()
