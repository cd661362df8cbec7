"""``train_also``: the files and settings of jobs, and what is refused."""

import re
from dataclasses import asdict

import pytest
from configurations import experiment, plan

from merflow.errors import ConfigError
from merflow.report.settings import AddedClips
from merflow.study.audit import audit_plan
from merflow.study.experiments import with_floors

MICRO = ("c1,s1,joy", "c2,s1,fear", "c3,s2,joy", "c4,s3,fear")
MORE = ("d1,t1,joy", "d2,t2,fear", "d3,t2,contempt")


@pytest.fixture
def study(tmp_path):
    """A function that plans an experiment on ``people``, which trains also on the clips of ``more``."""

    def make(more=MORE, classes=None, own_classes=None, **changes):
        overlay = experiment(micro="people", macro="none") | {"floors": ["linear-svm"]}
        for name, rows, own in (("people", MICRO, None), ("more", more, own_classes)):
            for row in rows:
                folder = tmp_path / name / row.split(",")[0]
                folder.mkdir(parents=True, exist_ok=True)
                for n in range(3):
                    (folder / f"{n}.png").write_bytes(b"not looked into")
            lines = ["clip,subject,label,frames", *(f"{row},{row.split(',')[0]}" for row in rows)]
            (tmp_path / name / "manifest.csv").write_text("\n".join(lines) + "\n")
            overlay["datasets"][name] = {"layout": "manifest", "root": str(tmp_path / name)}
            overlay["datasets"][name] |= {"classes": own} if own else {}
        overlay["experiments"]["mine"] |= {"train_also": ["more"], "classes": classes} | changes
        return plan(overlay)

    return make


def test_splits_do_not_depend_on_clips_that_only_train(study):
    plain, more = study(train_also=[]), study()
    more.check()
    assert more.training.splits("mine") == plain.training.splits("mine")
    (split,) = more.training.split_experiments
    settings = [asdict(planned.training.split_settings(split)) for planned in (plain, more)]
    assert settings[0] == settings[1]
    assert more.training.split_caches(split) == plain.training.split_caches(split)
    assert more.experiments.folds("mine") == plain.experiments.folds("mine")


def test_jobs_read_the_caches_of_both_and_floors_train_on_the_same_clips(study):
    planned = study()
    caches = [f"results/data/{name}/default/cache.h5" for name in ("people", "more")]
    for name in ("mine", "linear-svm"):
        assert planned.training.training_caches(name) == caches and planned.training.caches(name) == caches[:1]
        assert planned.experiments.clip_settings(name).train_also == ["more"]
    assert ("more", "default") in planned.training.prepared()
    features = study(macro="demo-macro").training.features("mine")[0]
    assert [files[0].rpartition("/")[2] for files in features] == [
        "people-magnitude.image.h5",
        "more-magnitude.image.h5",
    ]


def test_floors_without_added_clips_keep_their_names(study):
    planned = study()
    planned.config.experiments["plain"] = planned.config.experiments["mine"].model_copy(update={"train_also": []})
    experiments = with_floors(planned.config, planned.data)
    assert list(experiments) == ["mine", "plain", "linear-svm-people-default-loso-more", "linear-svm"]
    assert experiments["linear-svm"].train_also == []


def test_report_counts_clips_and_people_that_were_added(study):
    settings = study().publishing.report_settings().experiments
    assert settings["mine"].added == settings["linear-svm"].added == [AddedClips("more", 2, 2, 1)]


def test_labels_of_added_clips_are_mapped_by_the_experiment_or_by_their_dataset(study):
    classes = {"map": {"joy": "positive", "fear": "negative"}}
    planned = study(classes=classes)
    planned.check()
    assert planned.experiments.labels("mine")["more"] == {"d1": "positive", "d2": "negative", "d3": ""}
    own = {"map": {"joy": "positive", "fear": "negative", "contempt": "negative"}}
    planned = study(classes=classes, own_classes=own)
    assert "more" not in planned.experiments.labels("mine")
    assert [clip.label for clip in planned.experiments.usable_clips_of("mine", "more")] == [
        "positive", "negative", "negative",
    ]  # fmt: skip


def test_the_audit_knows_the_people_of_added_clips(study):
    for entry in audit_plan(study().training):
        assert entry.added.clips.datasets == ["more"] and entry.added.same_people == {"more": ["people"]}
        assert entry.added.caches == ["results/data/more/default/cache.h5"]
    assert all(entry.added is None for entry in audit_plan(study(train_also=[]).training))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"more": (*MORE, "d4,s2,joy")}, "more shows people who are tested, people/s2; name a dataset of other people"),
        (
            {"more": ("d1,t1,calm", "d2,t1,rage")},
            "no usable clip of more has one of the labels fear, joy; map its labels",
        ),
        ({"train_also": ["people"]}, "'people' is recognised, so each fold trains on its other clips; leave it out"),
        ({"train_also": ["nothing"]}, "no dataset 'nothing'; there are: demo-macro, demo-micro, people, more"),
    ],
)
def test_what_cannot_train_is_refused(study, changes, message):
    with pytest.raises(ConfigError, match=re.escape(f"experiments.mine.train_also: {message}")):
        study(**changes).check()
