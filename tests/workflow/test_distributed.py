"""Datasets as they are distributed, through the whole workflow: synthetic frames, invented annotation."""

import dataset_files
import dataset_trees
import h5py
import numpy as np
import pandas as pd
import people
import pytest
from people import MEGC, takes
from repository import copy_repository, planned, snakemake

pytestmark = pytest.mark.slow
WHOLE = dataset_files.Faces(size=240, interocular=60, grey=True)
CROP = dataset_files.Faces(size=240, interocular=60, crop=140, wide=2.0)


def build(root):
    """Five datasets, each with an error that must not stop the study."""
    casme2 = takes((1, 2), lambda s, e, n: f"EP0{n}_01f", first=18, last=36)
    casme2[0] = dataset_files.Take(1, "EP01_01f", "disgust", 21, "/", 33, first=18, last=36)
    casme2[4] = dataset_files.Take(2, "EP02_01f", "happiness", 21, 27, 41, first=18, last=36)  # offset corrected below
    samm = takes((6, 7), lambda s, e, n: f"{s:03d}_{n}_1")
    samm[5] = dataset_files.Take(7, "007_3_1", "surprise", 21, 99, 33, objective=3)  # apex outside
    smic = takes((1, 2), lambda s, e, n: f"s{s}_{dataset_trees.SMIC_CODES[MEGC[e]]}_01")
    smic = [dataset_files.Take(t.subject, t.name, MEGC[t.emotion], 21, 27, 33) for t in smic]
    mmew = takes(
        (1, 2), lambda s, e, n: dataset_trees.mmew_name(s, e, n), onset=101, apex=107, offset=113, first=1, last=13
    )
    posed = takes((1, 2, 3), lambda s, e, n: f"00{n}", onset=1, apex=9, offset=9)
    posed = [
        dataset_files.Take(t.subject, t.name, "happy" if t.emotion == "happiness" else t.emotion, 1, 9, 9)
        for t in posed
    ]
    posed.append(dataset_files.Take(3, "004", "", 1, 9, 9))
    return {
        "casme2": dataset_trees.casme2(root / "CASME II", casme2, write=WHOLE),
        "samm": dataset_trees.samm(root / "SAMM", samm, write=WHOLE),
        "smic": dataset_trees.smic_hs(root / "SMIC", smic, cropped=True, write=CROP),
        "mmew": dataset_trees.mmew_micro(root / "MMEW", mmew, order="subject", write=CROP),
        "ck": dataset_trees.ck_plus(
            root / "CK+", posed, write=dataset_files.Faces(size=240, interocular=60, amplitude=8)
        ),
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = copy_repository(tmp_path_factory.mktemp("distributed"))
    built = build(folder / "data")
    for tree in built.values():
        dataset_files.write_hidden_files(tree.root)
    (folder / "fixes.csv").write_text(
        "dataset,subject,clip,field,value,reason\ncasme2,2,EP02_01f,offset,33,the last frame is 36\n"
    )
    before = {file: file.read_bytes() for file in (folder / "data").rglob("*") if file.is_file()}
    config = {
        "study": "composite",
        "corrections": "fixes.csv",
        "datasets": {
            "casme2": built["casme2"].settings | {"classes": "megc2019"},
            "samm": built["samm"].settings | {"classes": "samm-5-objective"},
            "smic": built["smic"].settings | {"classes": "megc2019"},
            "mmew": built["mmew"].settings
            | {"classes": {"map": {"disgust": "down", "happiness": "up", "surprise": "up"}}},
            "ck": built["ck"].settings | {"classes": "ck-plus-5"},
        },
        "experiments": {
            "composite": {
                "system": "tsdgcn",
                "macro": "ck",
                "micro": ["casme2", "samm", "smic"],
                "classes": "megc2019",
                "protocol": "composite-loso",
            },
            "mmew": {"system": "linear-svm", "micro": "mmew"},
        },
        **people.SMALL,
    }
    done = snakemake(folder, config=config)
    return folder, done, config, before


def table(folder, name):
    return pd.read_csv(folder / "results" / name, keep_default_na=False)


def test_composite_is_scored_pooled_and_by_database(study):
    folder, *_ = study
    predictions = table(folder, "composite/predictions.csv").query("experiment == 'composite'")
    assert predictions.groupby("dataset")["subject"].nunique().to_dict() == {"casme2": 2, "samm": 2, "smic": 2}
    assert set(predictions["truth"]) == {"negative", "positive", "surprise"}
    assert len(predictions) == 18 and predictions["fold"].nunique() == 6
    metrics = table(folder, "composite/metrics.csv").query("experiment == 'composite'")
    assert {"pooled", "dataset:casme2", "dataset:samm", "dataset:smic"} <= set(metrics["scope"])
    assert set(metrics["protocol"]) == {"composite-loso"}


def test_class_set_of_experiment_overrides_datasets(study):
    folder, *_ = study
    labels = table(folder, "data/samm/clips.csv")
    assert labels["label"].tolist() == ["happiness", "surprise", "anger"] * 2, "Objective Classes, as the dataset asks"
    of_samm = table(folder, "composite/predictions.csv").query("experiment == 'composite' and dataset == 'samm'")
    assert of_samm["truth"].tolist() == ["negative", "positive", "surprise"] * 2, "Estimated Emotion, as MEGC2019 asks"


def test_impossible_annotation_is_spotted_or_corrected(study):
    folder, done, *_ = study
    chosen = {
        clip: rows.iloc[0]
        for name in ("casme2/default/keyframes/sub01", "samm/default/keyframes/007", "smic/default/keyframes/s01")
        for clip, rows in table(folder, f"data/{name}.csv").groupby("clip")
    }
    for clip, truth in {"sub01/EP01_01f": 27, "007_3_1": 27, "s1_ne_01": 27}.items():
        assert chosen[clip]["apex_source"] == "spotted" and abs(int(chosen[clip]["apex_spotted"]) - truth) <= 3, clip
    assert chosen["007_1_1"]["apex_source"] == "annotated" and int(chosen["007_1_1"]["apex_annotated"]) == 27
    problems = pd.concat([table(folder, f"data/{name}/problems.csv") for name in ("casme2", "samm", "mmew")])
    effects = dict(zip(problems["clip"], problems["effect"], strict=True))
    assert effects["sub01/EP01_01f"] == effects["007_3_1"] == "apex spotted"
    assert effects["EP02_01f"] == "corrected" and effects["S01-03-001"] == "renumbered"
    assert table(folder, "data/casme2/clips.csv").set_index("clip").loc["sub02/EP02_01f", "offset"] == 33
    assert "apex 99 is outside onset 21..offset 33" in done.stderr
    page = (folder / "results/composite/report.html").read_text()
    assert "Corrections to casme2" in page and "41 -&gt; 33: the last frame is 36" in page
    assert "250" in page and "109" in page, "published counts beside those of the data"


def test_crops_are_used_whole_and_full_frames_are_aligned(study):
    folder, *_ = study
    for name, way in {"smic": "crop", "mmew": "crop", "samm": "detected", "casme2": "detected"}.items():
        quality = table(folder, f"data/{name}/default/quality.csv")
        assert (quality["status"] == "ok").all(), quality[["clip", "reason"]]
        assert set(quality["alignment"]) == {way}, name


def test_unlabelled_ck_plus_sequences_are_not_trained_on(study):
    folder, *_ = study
    clips = table(folder, "data/ck/clips.csv").set_index("clip")
    assert clips.loc["S003_004", "label"] == "" and clips["label"].ne("").sum() == 9
    assert clips.loc["S001_001", ["onset", "apex", "offset"]].tolist() == [1, 9, 9]


def test_user_defined_map_names_the_classes(study):
    folder, *_ = study
    truths = table(folder, "composite/predictions.csv").query("experiment == 'mmew'")["truth"]
    assert truths.value_counts().to_dict() == {"up": 4, "down": 2}


def test_dataset_folders_are_unchanged(study):
    folder, *_, before = study
    assert before == {file: file.read_bytes() for file in (folder / "data").rglob("*") if file.is_file()}


def test_new_correction_reruns_only_its_subject(study):
    folder, _, config, _ = study
    assert "Nothing to be done" in snakemake(folder, "-n", config=config).stdout
    fixes = folder / "fixes.csv"
    text = fixes.read_text()
    fixes.write_text(text + "samm,7,007_3_1,apex,28,seen by eye\n")
    done = snakemake(folder, "-n", "--quiet", "host", config=config)
    fixes.write_text(text)
    aligned = [line for line in (done.stdout + done.stderr).splitlines() if "Align the faces of" in line]
    assert len(aligned) == 1 and aligned[0].endswith("samm/007")


def test_added_dataset_reruns_no_other_dataset(study):
    folder, _, config, _ = study
    more = config["datasets"] | {"twin": config["datasets"]["mmew"]}
    experiments = config["experiments"] | {"twin": {"system": "majority", "micro": "twin"}}
    done = snakemake(folder, "-n", config=config | {"datasets": more, "experiments": experiments})
    text = done.stdout + done.stderr
    assert "List the clips of twin" in text and "Gather the cache of twin" in text
    for name in ("casme2", "samm", "smic", "mmew", "ck"):
        assert f"List the clips of {name}" not in text and f"Gather the cache of {name}" not in text


def test_changed_reason_reruns_only_index_and_report(study):
    folder, _, config, _ = study
    fixes = folder / "fixes.csv"
    text = fixes.read_text()
    fixes.write_text(text.replace("the last frame is 36", "frame 36 is the last"))
    jobs = planned(folder, config)
    fixes.write_text(text)
    assert {job.split()[0] for job in jobs} <= {"List", "Write"} and "List the clips of casme2" in jobs, jobs


# --- Flow images ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    """Flow images of three databases, one of them damaged, and a macro set for the weights."""
    folder = copy_repository(tmp_path_factory.mktemp("flows"))
    tree = people.flow_images(folder / "flows", {"casme2": (1, 2), "samm": (6, 7)})
    damaged = next(iter(tree.folders.values()))
    damaged.write_bytes(damaged.read_bytes()[:60])
    posed = takes((11, 12), lambda s, e, n: f"00{n}", onset=1, apex=7, offset=7)
    posed = [
        dataset_files.Take(t.subject, t.name, "happy" if t.emotion == "happiness" else t.emotion, 1, 7, 7)
        for t in posed
    ]
    ck = dataset_trees.ck_plus(folder / "CK+", posed, write=dataset_files.Faces(size=240, interocular=60, amplitude=8))
    config = {
        "study": "flows",
        "datasets": {
            "flows": tree.settings | {"classes": "megc2019"},
            "ck": ck.settings | {"classes": "ck-plus-5"},
        },
        "experiments": {
            "svm": {"system": "linear-svm", "micro": "flows", "protocol": "composite-loso"},
            "tsdgcn": {
                "system": "tsdgcn",
                "macro": "ck",
                "micro": "flows",
                "branches": ["temporal"],
                "protocol": "composite-loso",
            },
            "alone": {
                "system": "tsdgcn",
                "macro": "none",
                "micro": "flows",
                "branches": ["temporal"],
                "graphs": ["8+2"],
                "protocol": "composite-loso",
            },
        },
        **people.SMALL,
    }
    return folder, snakemake(folder, config=config), config, tree


@pytest.mark.slow
def test_flow_images_start_at_the_cache(flows):
    folder, done, *_ = flows
    assert not any((folder / "results/data/flows/default").glob("faces*"))
    with h5py.File(folder / "results/data/flows/default/cache.h5") as file:
        assert file["flow"].shape == (11, 1, 3, 28, 28) and file["spatial"].shape[1] == 0
        assert list(file.attrs["flow_channels"]) == ["u", "v", "strain"] and "255" in file.attrs["flow_unit"]
        assert 0.5 < np.abs(file["flow"][:]).max() <= 1
    predictions = table(folder, "flows/predictions.csv")
    assert set(predictions["experiment"]) >= {"svm", "tsdgcn", "alone", "majority", "softmax"}
    assert predictions.query("experiment == 'alone'")["fold"].nunique() == 4
    assert predictions.query("experiment == 'tsdgcn'").groupby("dataset").size().to_dict() == {"casme2": 5, "samm": 6}
    page = (folder / "results/flows/report.html").read_text()
    assert "Ready-made flow images" in page and "negative 4 instead of 250" in page


@pytest.mark.slow
def test_damaged_flow_image_is_named_and_left_out(flows):
    folder, done, _, tree = flows
    (failed,) = table(folder, "data/flows/default/quality.csv").query("status == 'failed'").to_dict("records")
    damaged = next(iter(tree.folders.values()))
    assert failed["clip"] == next(iter(tree.folders)) and damaged.name in failed["reason"]
    assert damaged.name in done.stderr


@pytest.mark.slow
def test_strict_study_stops_at_damaged_flow_image(flows):
    folder, _, config, tree = flows
    strict = {"flows": config["datasets"]["flows"] | {"on_problem": "stop"}}
    changed = config | {"results": "strict", "datasets": config["datasets"] | strict}
    done = snakemake(folder, config=changed, ok=False)
    assert done.returncode and "on_problem: stop" in done.stderr
    assert next(iter(tree.folders.values())).name in done.stderr and "Traceback" not in done.stderr
    assert not list((folder / "strict" / "flows").rglob("predictions.csv")), "no head was trained"


@pytest.mark.slow
def test_overwritten_flow_image_reruns_from_the_cache(flows):
    folder, _, config, tree = flows
    assert "Nothing to be done" in snakemake(folder, "-n", config=config).stdout
    image = list(tree.folders.values())[3]
    data = image.read_bytes()
    dataset_files.save(image, np.full((28, 28, 3), 90, np.uint8))
    done = snakemake(folder, "-n", config=config)
    image.write_bytes(data)
    assert "Gather the flow images of flows" in done.stdout + done.stderr
    assert "Pre-train" not in done.stdout + done.stderr


@pytest.mark.slow
def test_spatial_branch_is_refused_for_flow_images(flows):
    folder, _, config, _ = flows
    experiment = config["experiments"]["tsdgcn"] | {"branches": ["spatial", "temporal"]}
    done = snakemake(folder, "-n", config=config | {"experiments": {"tsdgcn": experiment}}, ok=False)
    assert done.returncode and "experiments.tsdgcn.branches: 'flows' holds flow images" in done.stderr + done.stdout
