"""Experiments with ``system: ensemble``: their members, clips, folds and repeats, and what is refused."""

import re

import pytest
from configurations import experiment, plan

from merflow.errors import ConfigError
from merflow.study.audit import audit_plan
from merflow.study.prediction import Prediction

MSJFN = {"system": "msjfn", "micro": "demo-micro"}


def study(of, **experiments):
    """A study with the experiment ``mine``, others, and the ensemble ``mix``."""
    overlay = experiment()
    overlay["experiments"] |= experiments | {"mix": {"system": "ensemble", "of": of}}
    return overlay


def test_an_ensemble_has_the_clips_and_folds_of_its_members():
    classes = ["negative", "surprise"]
    settings = MSJFN | {"protocol": "subject-kfold", "folds": 3}
    planned = plan(study(["few", "linear-svm"], few=settings | {"classes": classes}))
    planned.check()
    experiments, training = planned.experiments, planned.training
    mix = experiments["mix"]
    assert mix.of == ["few", "linear-svm-demo-micro-default-subject-kfold-3-0-negative-surprise"], "the floor beside it"
    assert experiments.classes("mix") == classes and experiments.folds("mix") == experiments.folds("few")
    assert training.splits("mix") == training.splits("few") != training.splits("mine")
    assert "mix" in experiments.calibrated_experiments
    assert "mix" not in [
        *experiments.linear_experiments,
        *experiments.trained_experiments,
        *planned.publishing.exported,
    ]
    shown = planned.publishing.report_settings().experiments["mix"]
    assert shown.members == mix.of and not shown.floor


def test_floors_alone_make_an_ensemble():
    planned = plan(study(["softmax", "linear-svm"]))
    assert planned.experiments["mix"].of == ["softmax", "linear-svm"]
    assert planned.training.splits("mix") == planned.training.splits("mine")


@pytest.mark.parametrize(("seeds", "shared"), [([2, 0], [2, 0]), ([3], [0, 2]), ([2, 3], [2])])
def test_repeats_are_the_seeds_that_members_share(seeds, shared):
    planned = plan(study(["a", "b", "softmax"], a=MSJFN | {"seeds": [0, 2]}, b=MSJFN | {"seeds": seeds}))
    assert set(planned.experiments["mix"].seeds) == set(shared)


@pytest.mark.parametrize(
    ("of", "others", "message"),
    [
        (["mine", "nobody"], {}, "experiments.mix.of: no experiment or floor 'nobody'; there are: mine, majority"),
        (["mine", "mix"], {}, "experiments.mix.of: 'mix' is an ensemble itself; name its members instead"),
        (["mine"], {}, "experiments.mix.of: ['mine'] is not allowed"),
        (None, {}, "experiments.mix: missing of"),
        (
            ["mine", "b"],
            {"b": MSJFN | {"protocol": "subject-kfold", "classes": ["fear", "surprise"]}},
            "experiments.mix.of: mine and b differ in their protocol (its folds and seeds included) and classes; an",
        ),
        (
            ["a", "b"],
            {n: MSJFN | {"seeds": s} for n, s in (("a", [0, 1]), ("b", [2, 3]))},
            "experiments.mix.of: no seed is common to all members that have several seeds",
        ),
        (
            ["mine", "softmax"],
            {"b": {"system": "ensemble", "of": ["mine", "softmax"], "protocol": "loso", "micro": "demo-micro"}},
            "experiments.b.micro: an ensemble has only `of`; its members decide the rest: leave it out\n"
            "  - experiments.b.protocol: an",
        ),
        (
            ["mine", "softmax"],
            {"b": MSJFN | {"of": ["mine", "softmax"]}},
            "experiments.b.of: only for system: ensemble",
        ),
    ],
    ids=["unknown", "itself", "one", "none", "clips", "seeds", "keys", "other system"],
)  # fmt: skip
def test_what_cannot_be_averaged_is_refused(of, others, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        plan(study(of, **others))


@pytest.fixture
def two(tmp_path):
    """A study with an ensemble of networks (``both``), one with a floor and one of two preparations, and a video."""
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"not looked into")
    overlay = study(["mine", "linear-svm"], msjfn=MSJFN, frames=MSJFN | {"system": "mersiamc3d", "prep": "uniform"})
    overlay["experiments"] |= {
        name: {"system": "ensemble", "of": ["mine", other]} for name, other in (("both", "msjfn"), ("apart", "frames"))
    }
    return overlay | {"clips": str(video), "preparations": {"default": {}, "uniform": {"keyframes": "uniform"}}}


def test_ensembles_of_networks_are_exported_and_others_say_why_not(two):
    assert plan(two).publishing.exported == ["mine", "msjfn", "frames", "both"]
    for name, why in (
        ("mix", "its member linear-svm trains no network"),
        ("apart", "its members have the preparations default, uniform"),
    ):
        message = f"export.experiments: {name!r} cannot be exported, because {why}; name its members"
        with pytest.raises(ConfigError, match=message):
            list(plan(two | {"export": {"experiments": [name]}}).publishing.exported)


def test_ensembles_of_one_preparation_answer_new_clips(two):
    planned = plan(two)
    assert Prediction(planned.training).answering == ["mine", "msjfn", "frames", "mix", "both"]
    files = planned.publishing.ensemble_files("mix")
    folder = "results/demo/experiments"
    assert files[:2] == [f"{folder}/mix/ensemble.json", f"{folder}/mine/ensemble.json"]
    assert files[-1] == "results/data/demo-micro/default/cache.h5" and len(set(files)) == len(files)
    with pytest.raises(ConfigError, match="the members of apart have the preparations default, uniform; an ensemble"):
        Prediction(plan(two | {"predict": {"experiments": ["apart"]}}).training)


def test_an_ensemble_has_the_checks_of_its_members_in_the_audit():
    overlay = study(["mine", "softmax", "linear-svm"])
    overlay["experiments"]["mine"]["macro"] = "demo-macro"
    entries = [entry for entry in audit_plan(plan(overlay).training) if entry.experiment == "mix"]
    assert [(entry.scored, bool(entry.macro), entry.fitted_parts) for entry in entries] == [
        (True, False, []), (False, True, []), (False, False, []),
    ]  # fmt: skip
    assert len({tuple(entry.splits.items()) for entry in entries}) == 1
