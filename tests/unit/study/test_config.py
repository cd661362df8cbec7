import re
from copy import deepcopy

import pytest
import yaml
from configurations import BASE, experiment

from merflow.datasets.synthetic import scorer_people as strangers
from merflow.errors import ConfigError
from merflow.study.config import SCHEMA, load_config
from merflow.study.study import Study


def problems(overlay) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(BASE, overlay)
    return str(caught.value)


def keyframes(block, **changes):
    return {"preparations": {"default": {"keyframes": block}}} | changes


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"studdy": "x"}, "studdy: unknown key (did you mean `study`?)"),
        ({"study": "data"}, "study: 'data' is reserved"),
        ({"study": 3}, "study: 3 is not allowed; expected a string"),
        ({"preparations": {"default": {"align": {"size": "big"}}}}, "default.align.size: 'big' is not allowed"),
        ({"preparations": {"default": {"align": {"landmarks": 7}}}}, "landmarks: 7 is not allowed; allowed: 5, 68"),
        ({"head": {"epochs": 1.5}}, "head.epochs: 1.5 is not allowed; expected a whole number"),
        ({"graph": {"sigma": "wide"}}, "graph.sigma: 'wide' is not allowed; expected"),
        ({"datasets": {"mine": {"layout": "manifest"}}}, "datasets.mine: missing root"),
        ({"datasets": {"a/b": {"layout": "demo"}}}, "the name 'a/b' is not allowed"),
        ({"demo": {"portraits": "/no/such/folder"}}, "demo.portraits: folder /no/such/folder does not exist"),
        (experiment(graphs=["8+"]), "experiments.mine.graphs.0: '8+' is not allowed: a graph such as \"8+2\""),
        (experiment(graphs=["0+0"]), "experiments.mine.graphs.0: '0+0' is not allowed"),
        (experiment(micro="people"), "experiments.mine.micro: no dataset 'people'; there are: demo-macro, demo-micro"),
        (experiment(micro="demo-macro"), "dataset 'demo-macro' is of kind macro, expected micro"),
        (experiment(prep="fine"), "experiments.mine.prep: no preparation 'fine'; there are: default"),
        (experiment(graphs=["8+2", "08+2"]), "experiments.mine.graphs.1: '08+2' is not allowed"),
        (experiment(graphs=["20+5"]), "experiments.mine.graphs.0: 20+5 is more than the 24 neighbours within T"),
        ({"experiments": {1: {"system": "majority", "micro": "demo-micro"}}}, "experiments: the name 1 is not allowed"),
        (experiment(loss={"alpha": 0}), "experiments.mine.loss.alpha: 0 is not allowed; expected"),
        (experiment(macro="none", pretrain={"exclude_test_subjects": True}), "no pre-training with macro: none"),
        (keyframes("adaptve"), "keyframes.method: 'adaptve' is not allowed; allowed: motion, adaptive, uniform"),
        (keyframes(3), "preparations.default.keyframes: 3 is not allowed; expected a block of keys"),
        (keyframes({"methods": "uniform"}), "keyframes.methods: unknown key (did you mean `method`?)"),
        (keyframes({"learn_from": "demo-macro"}), "keyframes.learn_from: only method: adaptive learns"),
        (keyframes({"method": "uniform", "learn_from": "demo-macro"}), "learn_from: only method: adaptive learns"),
        (keyframes({"method": "adaptive", "learn_from": "no"}), "learn_from: no dataset 'no'; there are: demo-macro"),
        ({"datasets": {"_drawn": {"layout": "demo"}}}, "the name '_drawn' is not allowed"),
        (experiment(head={"epoch": 3}), "experiments.mine.head.epoch: unknown key (did you mean `epochs`?)"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key_and_what_is_allowed(overlay, message):
    assert message in problems(overlay)


def test_a_missing_folder_is_named(tmp_path):
    text = problems({"datasets": {"mine": {"layout": "manifest", "root": str(tmp_path / "gone")}}})
    assert f"datasets.mine.root: folder {tmp_path / 'gone'} does not exist" in text


def test_all_mistakes_come_in_one_message():
    text = problems({"studdy": 1, "head": {"epochs": 0}, "graph": {"side": 4}})
    assert text.count("\n  - ") == 3


def test_datasets_and_experiments_of_an_overlay_replace_the_demo(tmp_path):
    (tmp_path / "manifest.csv").write_text("clip,subject,label,frames\n")
    settled = load_config(
        BASE,
        {
            "study": "mine",
            "datasets": {"people": {"layout": "manifest", "root": str(tmp_path)}},
            "experiments": {"svm": {"system": "linear-svm", "micro": "people"}},
            "preparations": {"default": {"align": {"size": 231}}},
        },
    )
    assert list(settled["datasets"]) == ["people"]
    assert list(settled["experiments"]) == ["svm"]
    align = settled["preparations"]["default"]["align"]
    assert align["size"] == 231 and align["crop"] == 2.6, "other blocks are merged key by key"


def test_an_experiment_overrides_the_blocks_of_the_study():
    settled = load_config(BASE, experiment(head={"epochs": 7}))
    base = load_config(BASE, {})
    assert settled["experiments"]["mine"]["head"] == base["head"] | {"epochs": 7, "learning_rate": 1e-5}


def test_nothing_changes_the_callers_overlay():
    overlay = experiment()
    before = deepcopy(overlay)
    load_config(BASE, overlay)
    assert overlay == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": {"name": "focal", "alpha": [1, 2]}}, "experiments.mine.loss.alpha: 2 values for 5 classes"),
        ({"micro": "alone"}, "experiments.mine.micro: labelled clips of alone/s1 only; loso needs 2 subjects"),
        ({"macro": "alike"}, "experiments.mine.macro: the clips of alike have 1 label (x)"),
    ],
)
def test_what_the_clips_do_not_offer_is_told_before_any_job(tmp_path, changes, message):
    overlay = experiment(**changes)
    for name, rows in (("alone", "a,s1,x,f\nb,s1,y,g\n"), ("alike", "a,s1,x,f\nb,s2,x,g\n")):
        for folder in ("f", "g"):
            (tmp_path / name / folder).mkdir(parents=True)
            for n in range(2):
                (tmp_path / name / folder / f"{n}.png").write_bytes(b"not looked into")
        (tmp_path / name / "manifest.csv").write_text("clip,subject,label,frames\n" + rows)
        kind = "micro" if name == "alone" else "macro"
        overlay["datasets"][name] = {"layout": "manifest", "root": str(tmp_path / name), "kind": kind}
    with pytest.raises(ConfigError, match=re.escape(message)):
        Study(load_config(BASE, overlay)).check()


def test_an_experiment_may_name_classes_of_its_own_and_its_floors_share_them():
    overlay = experiment(classes=["surprise", "fear"])
    overlay["experiments"]["all"] = {"system": "tsdgcn", "macro": "demo-macro", "micro": "demo-micro"}
    study = Study(load_config(BASE, overlay))
    study.check()
    assert study.classes("mine") == ["surprise", "fear"] and len(study.classes("all")) == 5
    floors = {tuple(study.classes(name)) for name in study.floors if study.experiments[name]["system"] == "majority"}
    assert floors == {tuple(study.classes("mine")), tuple(study.classes("all"))}
    with pytest.raises(ConfigError, match="experiments.mine.classes: no clip is labelled joy; there are: happiness"):
        Study(load_config(BASE, experiment(classes=["fear", "joy"]))).check()


def test_networks_that_depend_on_the_fold_are_planned_by_fold():
    overlay = experiment(macro="none")
    for name, changes in {
        "moved": {"transfer": "end-to-end"},
        "apart": {"pretrain": {"exclude_test_subjects": True}},
    }.items():
        overlay["experiments"][name] = overlay["experiments"]["mine"] | {"macro": "demo-macro"} | changes
    study = Study(load_config(BASE, overlay))
    study.check()
    assert study.in_fold == ["mine", "moved", "apart", "ststnet"] and study.pretrained == ["moved"] and not study.frozen
    assert len(study.folds("mine")) == 12 and set(study.folds("mine").values()) == set(study.folds("apart").values())
    assert not study.fold_weights("mine", "0") and len(study.fold_weights("moved", "0")) == 2
    assert not study.fold_weights("apart", "0") and study.fold_macro("apart") and not study.fold_macro("moved")
    assert ("demo-macro", "default") in study.prepared()
    del overlay["experiments"]["moved"], overlay["experiments"]["apart"]
    assert Study(load_config(BASE, overlay)).prepared() == [("demo-micro", "default")], "no macro set is prepared"


# --- Adaptive key-frames ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["motion", "adaptive", "uniform"])
def test_a_word_is_short_for_the_method_of_key_frames(method):
    settled = load_config(BASE, keyframes(method))
    assert settled == load_config(BASE, keyframes({"method": method}))
    own = settled["preparations"]["default"]["keyframes"]
    assert own == {"method": method, "count": 5, "apex": "annotated", "learn_from": None}
    assert load_config(BASE, {})["preparations"]["default"]["keyframes"]["method"] == "motion"


def test_the_word_leaves_the_other_keys_of_the_base_alone(tmp_path):
    base = tmp_path / "config.yaml"
    base.write_text(BASE.read_text().replace("count: 5  ", "count: 7  "))
    assert load_config(base, keyframes("adaptive"))["preparations"]["default"]["keyframes"]["count"] == 7


def test_drawn_teachers_depend_on_no_setting_of_the_demo():
    first, second = (
        Study(load_config(BASE, keyframes("adaptive", demo={"subjects": count, "seed": seed, "noise": noise})))
        for count, seed, noise in ((4, 0, 1.0), (24, 3, 5.0))
    )
    assert first.teacher("default") == strangers.NAME and first.is_demo(strangers.NAME)
    assert first.dataset(strangers.NAME) == second.dataset(strangers.NAME)
    assert first.scorer_file("default") == "results/scorers/_drawn/default.safetensors"
    assert [clip.subject for clip in first.index(strangers.NAME).clips][0] == "_drawn/s01"
    assert strangers.NAME not in dict(first.prepared())
    first.check()
    assert all(entry.scorer == "" and not entry.scorer_people for entry in first.audit_plan())
    assert Study(load_config(BASE, {})).teacher("default") == ""


@pytest.fixture
def taught(tmp_path):
    """A study with a preparation that learns from a dataset of the user's; returns a function that changes it."""

    def table(name, rows):
        for row in rows:
            folder = tmp_path / name / row.split(",")[3]
            folder.mkdir(parents=True, exist_ok=True)
            for n in range(4):
                (folder / f"{n}.png").write_bytes(b"not looked into")
        (tmp_path / name / "manifest.csv").write_text("clip,subject,label,frames,onset,apex\n" + "\n".join(rows))
        return {"layout": "manifest", "root": str(tmp_path / name)}

    def make(learn_from, rows=("a,s1,x,a,0,2", "b,s2,y,b,0,1"), micro="demo-micro", **changes):
        overlay = experiment(micro=micro, prep="own", macro="demo-macro") | changes
        overlay["datasets"] |= {"teachers": table("teachers", rows)}
        overlay["datasets"] |= {"pupils": table("pupils", ("a,p1,happiness,a,0,2", "b,p2,fear,b,0,2"))}
        overlay["preparations"] = {"own": {"keyframes": {"method": "adaptive", "learn_from": learn_from}}}
        return Study(load_config(BASE, overlay))

    return make


def test_the_scorer_learns_from_people_whom_nobody_tests(taught):
    study = taught("teachers")
    study.check()
    assert study.scorer_file("own") == "results/scorers/teachers/own.safetensors"
    plan = {entry.experiment: entry for entry in study.audit_plan()}
    assert plan["mine"].scorer == study.scorer_file("own") and plan["mine"].scorer_people == []
    taught("demo-macro").check()
    key = "preparations.own.keyframes.learn_from: "
    for learn_from, micro, message in (
        ("demo-micro", "demo-micro", "demo-micro: experiments.mine tests it; the scorer may not learn from people"),
        ("pupils", "pupils", "pupils: experiments.mine tests it; the scorer"),
        (
            "teachers",
            "pupils",
            "teachers: experiments.mine tests pupils, which has the same names of people; the",
        ),
        ("teachers", ["demo-micro", "pupils"], "teachers: experiments.mine tests pupils, which has the same names"),
    ):
        study = taught(learn_from, micro=micro)
        with pytest.raises(ConfigError, match=f"^{re.escape(key + message)}"):
            study.check()
        assert study.audit_plan()[0].scorer_people, "and the audit would count them"


def test_neither_does_a_cell_of_a_table_test_people_who_taught(taught):
    tables = {"t": {"of": "mine", "rows": {"micro": ["demo-micro", "pupils"]}}}
    with pytest.raises(ConfigError, match="tables.t: preparations.own.keyframes.learn_from: teachers: .* tests pupils"):
        taught("teachers", tables=tables).check()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a,s1,x,a,0,2", "b,s1,y,b,0,1"], "teachers has 2 moving clips, and annotated apexes of 1 people; at least 2"),
        (["a,s1,x,a,,", "b,s2,y,b,,"], "teachers has 2 moving clips, and annotated apexes of 0 people; at least 2"),
    ],
)
def test_a_teacher_without_annotated_apexes_is_told_before_any_job(taught, rows, message):
    with pytest.raises(ConfigError, match=f"learn_from: {message} are needed: name a dataset of moving clips with"):
        taught("teachers", rows).check()


def test_flow_images_teach_nothing(tmp_path):
    (tmp_path / "flows.csv").write_text("image,subject,label\n")
    overlay = experiment()
    overlay["datasets"]["flows"] = {"layout": "flow-images", "root": str(tmp_path)}
    overlay |= keyframes({"method": "adaptive", "learn_from": "flows"})
    assert "keyframes.learn_from: 'flows' holds flow images; name a dataset of moving clips" in problems(overlay)


def test_floors_repeat_what_the_seeds_of_a_holdout_draw():
    overlay = experiment(protocol="paper-holdout", test_clips=20, seeds=[0, 1])
    overlay["experiments"]["other"] = overlay["experiments"]["mine"] | {"protocol": "loso"}
    study = Study(load_config(BASE, overlay))
    study.check()
    floors = {name: study.experiments[name]["seeds"] for name in study.floors if "majority" in name}
    assert floors == {
        "majority-demo-micro-default-paper-holdout-20-0.1": [0, 1],
        "majority-demo-micro-default-loso": [0],
    }
    with pytest.raises(ConfigError, match="experiments.mine.folds: 13 folds need as many subjects, found 12"):
        Study(load_config(BASE, experiment(protocol="subject-kfold", folds=13))).check()
    with pytest.raises(ConfigError, match="test_clips: 120 of 120 leave none to train"):
        Study(load_config(BASE, experiment(protocol="paper-holdout", test_clips=120))).check()
    with pytest.raises(ConfigError, match="cross-dataset is for several databases; the clips are of demo-micro only"):
        Study(load_config(BASE, experiment(protocol="cross-dataset"))).check()


@pytest.fixture
def worded(tmp_path):
    """Two databases of clips as tables: words of emotions, and numbers."""
    overlay = {"experiments": {}, "datasets": {}}
    for name, labels in (("words", ["joy", "fear", "anger"]), ("numbers", [0, 1, 1])):
        lines = ["clip,subject,label,frames"]
        for n, label in enumerate(labels):
            (tmp_path / name / str(n)).mkdir(parents=True)
            for frame in range(2):
                (tmp_path / name / str(n) / f"{frame}.png").write_bytes(b"not looked into")
            lines.append(f"c{n},s{n},{label},{n}")
        (tmp_path / name / "manifest.csv").write_text("\n".join(lines) + "\n")
        overlay["datasets"][name] = {"layout": "manifest", "root": str(tmp_path / name)}
    return overlay


@pytest.mark.parametrize(
    ("classes", "micro", "message"),
    [
        ("megc2019", "words", "the set does not know the labels joy (1 clips), fear (1 clips), anger (1 clips)"),
        ({"map": {"joy": "up", "feer": "down"}}, "words", "no clip has a label for the class down"),
        ({"map": {"joy": "up", "fear": "down"}}, ["words", "numbers"], None),
        ({"map": {0: "no", 1: "yes"}}, "numbers", None),
        ([0, 1], "numbers", None),
    ],
)
def test_classes_of_an_experiment_must_fit_the_labels_of_its_clips(worded, classes, micro, message):
    worded["experiments"]["mine"] = {"system": "majority", "micro": micro, "classes": classes}
    study = Study(load_config(BASE, worded))
    if message is None:
        study.check()
        assert len(study.classes("mine")) == 2
        return
    with pytest.raises(ConfigError, match=re.escape(message)):
        study.check()


def test_datasets_of_different_class_sets_are_not_mixed_without_a_word(worded):
    worded["datasets"]["words"]["classes"] = {"map": {"joy": "up", "fear": "down"}}
    worded["datasets"]["numbers"]["classes"] = "smic-3"
    worded["experiments"]["mine"] = {"system": "majority", "micro": ["words", "numbers"]}
    with pytest.raises(ConfigError, match="different class sets .own, smic-3."):
        Study(load_config(BASE, worded)).check()


def test_what_a_cache_takes_from_the_index_is_not_what_others_name(worded):
    worded["experiments"]["mine"] = {"system": "majority", "micro": "numbers"}
    before = Study(load_config(BASE, worded))
    worded["datasets"]["numbers"]["on_problem"] = "stop"
    after = Study(load_config(BASE, worded | {"datasets": {"more": worded["datasets"]["words"], **worded["datasets"]}}))
    assert before.index_settings("numbers") == after.index_settings("numbers")
    assert before.cache_rows("numbers") == after.cache_rows("numbers") and after.stops("numbers")


def test_two_networks_of_one_specification_have_seeds_and_names_of_their_own():
    study = Study(load_config(BASE, experiment(graphs=["8+2", "8+2"], seeds=[0, 1000])))
    networks = study.networks("mine")
    assert [n["name"] for n in networks] == ["8+2", "8+2 (second)"] * 2
    assert len({study.weights(n["weights"])["seed"] for n in networks}) == 4


def keys_of(schema: dict, prefix: str = ""):
    for name, inner in schema.get("properties", {}).items():
        yield prefix + name, inner
        yield from keys_of(inner, f"{prefix}{name}.")
        if isinstance(inner.get("additionalProperties"), dict):
            yield from keys_of(inner["additionalProperties"], f"{prefix}{name}.*.")


def test_config_yaml_is_the_manual_of_every_key():
    schema = yaml.safe_load(SCHEMA.read_text())
    words = set(re.findall(r"[\w-]+", BASE.read_text()))
    for key, inner in keys_of(schema):
        assert key.split(".")[-1] in words, f"config.yaml does not show {key}"
        assert inner.get("description"), f"the schema does not describe {key}"


def test_schema_defaults_equal_the_values_shown_for_preparations():
    schema = yaml.safe_load(SCHEMA.read_text())
    shown = yaml.safe_load(BASE.read_text())["preparations"]["default"]
    stages = schema["properties"]["preparations"]["additionalProperties"]["properties"]
    assert shown == {name: {k: v["default"] for k, v in stage["properties"].items()} for name, stage in stages.items()}


def test_the_rate_is_the_papers_where_something_was_pretrained(tmp_path):
    """At 1e-5 a network that starts from nothing does not leave chance in 100 epochs; a given rate stands."""
    changes = {
        "pretrained": {},
        "untrained": {"macro": "none", "branches": ["temporal"]},
        "given": {"macro": "none", "head": {"learning_rate": 0.01}},
    }
    base = {"system": "tsdgcn", "macro": "demo-macro", "micro": "demo-micro"}
    made = load_config(BASE, {"experiments": {name: base | own for name, own in changes.items()}})["experiments"]
    assert [made[name]["head"]["learning_rate"] for name in changes] == [1e-5, 5e-4, 0.01]


# --- networks that read clips -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"network": {"prior": False}},
            "mine.network.prior: msjfn has no such key (its own: side, width, modules, fusion)",
        ),
        ({"network": {"modules": 4}}, "mine.network.modules: 4 is not allowed; allowed: 0, 1, 2, 3"),
        ({"network": {"side": 16}}, "mine.network.side: 16 is not allowed: side of the images in pixels, 20 to 256"),
        (
            {"network": {"fusion": "best"}},
            "mine.network.fusion: 'best' is not allowed; allowed: uniform, learned, none",
        ),
        ({"loss": {"gamma": 2}}, "mine.loss.gamma: cross-entropy has no such parameter; give loss: {name: focal} too"),
        ({"grid": {"loss.gamma": [0, 2]}}, "mine.grid: loss.gamma: cross-entropy has no such parameter"),
        ({"grid": {"network.side": [28, 56]}}, "mine.grid: network.side decides what is read of a clip, once for all"),
        ({"grid": {"network.refit": [True, False]}}, "mine.grid: network.refit decides who trains"),
        ({"grid": {"network.pairs": [1, 2]}}, "mine.grid: msjfn has no network.pairs; its own: side, width, modules"),
        (
            {"grid": {"network.modules": [2, 5]}},
            "mine.grid, network.modules: experiments.mine.network.modules: 5 is not",
        ),
    ],
)
def test_a_mistake_about_a_network_is_named(changes, message):
    changes = ({"selection": "nested"} if "grid" in changes else {}) | changes
    assert f"experiments.{message}" in problems(experiment() | network(**changes))


def network(**changes):
    return {"experiments": {"mine": {"system": "msjfn", "micro": "demo-micro"} | changes}}


def test_what_a_network_is_not_told_is_its_own():
    overlay = network(network={"modules": 1})
    overlay["experiments"]["siamese"] = {"system": "mersiamc3d", "micro": "demo-micro", "loss": {"gamma": 3.0}}
    overlay["network"] = {"epochs": 7, "pairs": 5, "width": None}
    config = load_config(BASE, overlay)
    mine, siamese = (config["experiments"][name] for name in ("mine", "siamese"))
    assert (mine["network"]["epochs"], mine["network"]["modules"], mine["network"]["width"]) == (7, 1, 16)
    assert "pairs" not in mine["network"] and siamese["network"]["pairs"] == 5 and siamese["network"]["prior"] is True
    assert siamese["loss"] == {"name": "focal", "alpha": 1.0, "gamma": 3.0}
    assert mine["loss"]["name"] == "cross-entropy"


def test_key_frames_are_asked_of_frames_by_floors_too(tmp_path):
    (tmp_path / "flows.csv").write_text("dataset,subject,clip,label,image\nd,s1,a,x,a.png\nd,s2,b,y,b.png\n")
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"x")
    overlay = {
        "datasets": {"flows": {"layout": "flow-images", "root": str(tmp_path)}},
        "experiments": {"mine": {"system": "mersiamc3d", "micro": "flows"}},
        "floors": ["majority"],
    }
    Study(load_config(BASE, overlay)).check()
    overlay["floors"] = ["mersiamc3d"]
    overlay["experiments"] = {"mine": {"system": "msjfn", "micro": "flows"}}
    overlay["network"] = {"input_kind": "key-frames"}
    with pytest.raises(
        ConfigError, match="mersiamc3d.micro: 'flows' holds flow images and no frames; give network: {i"
    ):
        Study(load_config(BASE, overlay)).check()


def test_a_table_of_variants_of_a_network_says_what_to_do():
    overlay = network() | {"tables": {"t": {"of": "mine", "rows": {"network.modules": [0, 1]}}}}
    expected = "tables.t.of: tables are of tsdgcn; give variants of 'mine' as experiments and a figure"
    assert expected in problems(overlay)


def test_a_dataset_is_not_prepared_for_the_splits_of_another():
    overlay = network() | {"preparations": {"other": {"keyframes": {"count": 3}}}}
    overlay["datasets"] = {"demo-micro": {"layout": "demo"}, "two": {"layout": "demo"}}
    overlay["experiments"]["second"] = {"system": "msjfn", "micro": "two", "prep": "other"}
    study = Study(load_config(BASE, overlay))
    assert {(tuple(s["settings"].clips.datasets), s["prep"]) for s in study.splits.values()} == {
        (("demo-micro",), "default"),
        (("two",), "other"),
    }
