"""Weights of other studies in the plan of a study: who answers, with which preparation, and what the audit says."""

import json
import re

import pytest
from configurations import experiment, plan
from prediction_sources import write_picture

from merflow.errors import ConfigError
from merflow.inference.packed import ABOUT, FORMAT
from merflow.study.packing import pack_settings, packable_experiments
from merflow.study.prediction import Prediction
from merflow.study.weights import trained_elsewhere

PREPARATION = {"align": {}, "keyframes": {"count": 3}, "flow": {}}


def unpacked(folder, **changes):
    """A folder of weights without the files that it lists."""
    about = {"format": FORMAT, "experiment": "e", "study": "theirs", "system": "ststnet", "classes": ["a", "b"]}
    about |= {"micro": ["samm"], "protocol": "loso", "preparation": PREPARATION, "people": 7, "clips": 70}
    about |= {"datasets": [{"name": "samm", "layout": "samm"}], "digests": {"coverage.csv": "0"}}
    about |= {"fps": [200.0, 200.0], "ranges": {"motion": [1, 2]}}
    folder.mkdir()
    (folder / ABOUT).write_text(json.dumps(about | changes))
    return str(folder)


def study(tmp_path, *folders, **predict):
    for number in range(2):
        write_picture(tmp_path / "clip" / f"{number}.png", number)
    overlay = experiment() | {"clips": str(tmp_path / "clip"), "predict": {"weights": list(folders)} | predict}
    return plan(overlay)


def test_weights_answer_with_their_preparation_beside_networks_of_the_study(tmp_path):
    folder = unpacked(tmp_path / "net")
    made = study(tmp_path, folder)
    prediction = Prediction(made.training)
    assert prediction.answering == ["mine", "net"] and prediction.preparations == ["default", "net"]
    assert made.data.preparation("net").keyframes.count == 3 and made.data.scorer_file("net") == ""
    assert prediction.ensemble_files(made.publishing, "net") == [f"{folder}/{ABOUT}", f"{folder}/coverage.csv"]
    settings = prediction.answer_settings("net")
    assert (settings.training_caches, settings.training_fps) == ([], [200.0, 200.0])
    assert settings.training_ranges == {"motion": [1, 2]}
    assert prediction.coverage == ["results/demo/coverage.csv", f"{folder}/coverage.csv"]
    page = prediction.page_settings()
    origin = "trained elsewhere, in the study theirs: protocol loso, 70 clips of 7 people (samm)"
    assert page.experiments["net"].origin == origin
    assert page.experiments["mine"].origin == "" and page.synthetic == ["demo-micro"]


def test_weights_alone_need_nothing_of_the_study(tmp_path):
    folder = unpacked(tmp_path / "net", preparation={})
    prediction = Prediction(study(tmp_path, folder, experiments=["net"]).training)
    assert prediction.answering == ["net"] and prediction.coverage == [f"{folder}/coverage.csv"]
    assert prediction.preparations == ["default"], "the same settings have one name"


def test_audit_says_where_weights_were_trained(tmp_path):
    overlay = experiment() | {"predict": {"weights": [unpacked(tmp_path / "net")]}}
    (row,) = trained_elsewhere(plan(overlay).config)
    assert (row["experiment"], row["people"]) == ("net", 7) and row["note"].endswith("of 7 people (samm)")
    shared = unpacked(tmp_path / "drawn", datasets=[{"name": "d", "layout": "demo"}])
    (row,) = trained_elsewhere(plan(experiment() | {"predict": {"weights": [shared]}}).config)
    assert row["note"].endswith("people of demo may be in both studies")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "its format is 'other', expected 'merflow weights 1'"),
        ({"preparation": {"flow": {"tau": "x"}}}, "its preparation does not fit this version of merflow (flow.tau)"),
    ],
)
def test_folder_that_holds_no_weights_is_named(tmp_path, changes, message):
    folder = unpacked(tmp_path / "net", **changes)
    with pytest.raises(ConfigError, match=re.escape(message)):
        study(tmp_path, folder)


def test_name_must_be_free_and_folder_must_exist(tmp_path):
    with pytest.raises(ConfigError, match="the name mine is taken; rename the folder"):
        study(tmp_path, unpacked(tmp_path / "mine"))
    with pytest.raises(ConfigError, match=r"predict.weights: .*none: .*weights.json cannot be read"):
        study(tmp_path, str(tmp_path / "none"))


def test_networks_are_packed_with_their_people_and_preparation():
    made = plan(experiment())
    assert packable_experiments(made.publishing) == ["mine"]
    settings = pack_settings(made.publishing, "mine", "9.9.9")
    clips = made.experiments.usable_clips("mine")
    assert (settings.clips, settings.people) == (len(clips), len({clip.subject for clip in clips}))
    assert settings.preparation["align"]["size"] == made.config.preparations["default"].align.size
    assert "learn_from" not in settings.preparation["keyframes"] and settings.study == "demo"
