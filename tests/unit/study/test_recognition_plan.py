"""Experiments that recognise what another one spotted: how they are configured, and whom their networks have seen."""

import re

import pytest
from configurations import BASE, plan

from merflow.errors import ConfigError
from merflow.study.load import load_config

TALKERS = {"layout": "long-demo", "long_people": {"people": 3, "seconds": 20, "fps": 25, "micro": 12}}
SPOT = {"task": "spotting", "system": "search", "videos": "talkers"}
BOTH = {"task": "spot-then-recognise", "spotter": "spot", "recogniser": "net"}
NET = {"system": "ststnet", "micro": "talkers"}
SVM = {"system": "linear-svm", "micro": "talkers"}


def study(datasets=None, **experiments):
    experiments = {"spot": SPOT, "net": NET, "both": BOTH} | experiments
    return {"study": "mine", "datasets": {"talkers": TALKERS} | (datasets or {}), "experiments": experiments}


def test_each_person_has_the_files_of_an_annotated_clip():
    made = plan(study())
    made.check()
    recognition = made.recognition
    assert "both" not in made.experiments and "both" not in made.spotting.blocks
    assert recognition.people("spot") == [("talkers", f"p0{n}") for n in (1, 2, 3)]
    folder = "results/mine/spotting/spot/default/talkers"
    assert recognition.prepared("spot", "default", "flow/{subject}.h5")[2] == f"{folder}/flow/p03.h5"
    assert recognition.videos("talkers", "p02") == {
        "p02": {
            "frames": "results/data/talkers/videos/p02.mp4",
            "subject": "talkers/p02",
            "align": "detect",
            "problem": "",
        }
    }
    settings = recognition.settings("both")
    assert settings.same_people == {"talkers": ["talkers"]} and settings.splits == [made.training.splits("net")]
    scored = made.spotting.scored_experiments()
    assert list(scored) == ["spot", "both"]
    assert scored["both"].kinds == ["micro"] and scored["both"].classes == ["negative", "positive", "surprise"]


def test_recogniser_may_be_an_ensemble_and_of_other_people():
    mix = {"system": "ensemble", "of": ["net", "other"]}
    other = {"layout": "demo", "people": {"subjects": 3, "clips": {"negative": 4, "positive": 4, "surprise": 4}}}
    made = plan(study(other=NET | {"system": "off-apexnet"}, mix=mix, both=BOTH | {"recogniser": "mix"}))
    made.check()
    assert made.recognition.settings("both").splits == [made.training.splits(name) for name in ("net", "other")]
    made = plan(study({"others": other}, net=NET | {"micro": "others"}))
    made.check()
    assert made.recognition.settings("both").same_people == {"talkers": []}


@pytest.mark.parametrize(
    ("experiments", "message"),
    [
        (
            {"both": BOTH | {"spotter": "net"}},
            "experiments.both.spotter: no experiment 'net' that spots micro-expressions",
        ),
        ({"spot": SPOT | {"kinds": ["macro"]}}, "no experiment 'spot' that spots micro-expressions; there are: none"),
        (
            {"both": BOTH | {"recogniser": "svm"}, "svm": SVM},
            "no experiment 'svm' that trains networks on clips of other",
        ),
        ({"net": NET | {"protocol": "paper-holdout"}}, "in one preparation; there are: none"),
        ({"both": {"task": "spot-then-recognise", "spotter": "spot"}}, "experiments.both: missing recogniser"),
    ],
)
def test_one_message_says_what_does_not_fit(experiments, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(BASE, study(**experiments))


def test_labels_must_be_among_the_classes():
    happy = {"layout": "demo", "people": {"subjects": 3, "clips": {"happiness": 4, "fear": 4}}}
    made = plan(study({"happy": happy}, net=NET | {"micro": "happy"}))
    with pytest.raises(
        ConfigError, match="experiments.both: no micro-expression of talkers has a label among the classes"
    ):
        made.check()


@pytest.mark.parametrize(
    ("pretrain", "micro", "seen"),
    [({}, "talkers", True), ({"exclude_test_subjects": True}, "talkers", False)],
)
def test_pretraining_must_leave_out_the_people_of_the_videos(tmp_path, pretrain, micro, seen):
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_bytes(b"not looked into")
    rows = "one.mp4,p,10,12,20,{},micro,50\none.mp4,p,30,35,60,{},macro,50\n"
    text = "".join(
        rows.format(*labels).replace("one", video).replace(",p,", f",{person},")
        for labels, video, person in ((("a", "b"), "one", "p"), (("b", "a"), "two", "q"))
    )
    (tmp_path / "intervals.csv").write_text("video,subject,onset,apex,offset,label,kind,fps\n" + text)
    long = {"layout": "long-manifest", "root": str(tmp_path)}
    net = {"system": "tsdgcn", "micro": "long", "macro": "macro", "transfer": "end-to-end", "pretrain": pretrain}
    made = plan(
        {
            "study": "mine",
            "datasets": {"long": long | {"kind": "micro"}, "macro": long | {"kind": "macro"}},
            "experiments": {"spot": SPOT | {"videos": "long"}, "net": net, "both": BOTH},
        }
    )
    if not seen:
        made.check()
        return
    with pytest.raises(ConfigError, match="the pre-training of net on macro has seen p, q; give it"):
        made.check()


def test_equal_names_of_other_people_are_no_shared_people(tmp_path):
    """p01 and p02 of the macro-expressions are not the drawn people of these names."""
    people = {"micro": ("p", "q"), "macro": ("p01", "p02")}
    for kind, names in people.items():
        rows = [f"{name}.mp4,{name},10,12,20,{label},{kind},50\n" for name, label in zip(names, "ab", strict=True)]
        (tmp_path / f"{kind}.csv").write_text("".join(["video,subject,onset,apex,offset,label,kind,fps\n", *rows]))
        for name in names:
            (tmp_path / f"{name}.mp4").write_bytes(b"not looked into")
    long = {"layout": "long-manifest", "root": str(tmp_path)}
    datasets = {"own": long | {"table": "micro.csv"}, "macro": long | {"table": "macro.csv", "kind": "macro"}}
    net = {"system": "tsdgcn", "micro": "own", "macro": "macro", "transfer": "end-to-end"}
    plan(study(datasets, spot=SPOT | {"videos": ["talkers", "own"]}, net=net)).check()
