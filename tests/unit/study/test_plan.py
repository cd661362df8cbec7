import re

import dataset_trees
import pytest
from configurations import experiment, plan

from merflow.datasets.index import write_problems
from merflow.datasets.synthetic import scorer_people
from merflow.errors import ConfigError, InputError
from merflow.study.audit import audit_plan
from merflow.systems.registry import SYSTEMS


def keyframes(block, **changes):
    return {"preparations": {"default": {"keyframes": block}}} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": {"name": "focal", "alpha": [1, 2]}}, "experiments.mine.loss.alpha: 2 values for 3 classes"),
        ({"micro": "alone"}, "experiments.mine.micro: labelled clips of alone/s1 only; loso needs 2 subjects"),
        ({"macro": "alike"}, "experiments.mine.macro: the clips of alike have 1 label (x)"),
    ],
)
def test_check_names_what_the_clips_lack(tmp_path, changes, message):
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
        plan(overlay).check()


def test_floors_share_the_classes_of_their_experiment():
    overlay = experiment(classes=["surprise", "negative"])
    overlay["experiments"]["all"] = {"system": "tsdgcn", "macro": "demo-macro", "micro": "demo-micro"}
    study = plan(overlay)
    study.check()
    assert study.experiments.classes("mine") == ["surprise", "negative"] and len(study.experiments.classes("all")) == 3
    floors = {
        tuple(study.experiments.classes(name))
        for name in study.experiments
        if study.experiments[name].system == "majority"
    }
    assert floors == {tuple(study.experiments.classes("mine")), tuple(study.experiments.classes("all"))}
    with pytest.raises(ConfigError, match="experiments.mine.classes: no clip is labelled joy; there are: negative"):
        plan(experiment(classes=["surprise", "joy"])).check()


def test_experiments_that_train_in_each_fold_have_fold_jobs():
    overlay = experiment(macro="none")
    for name, changes in {
        "moved": {"transfer": "end-to-end"},
        "apart": {"pretrain": {"exclude_test_subjects": True}},
    }.items():
        overlay["experiments"][name] = overlay["experiments"]["mine"] | {"macro": "demo-macro"} | changes
    study = plan(overlay)
    study.check()
    experiments, training = study.experiments, study.training
    assert experiments.fold_experiments == ["mine", "moved", "apart", "ststnet"]
    assert experiments.shared_weight_experiments == ["moved"] and not experiments.shared_feature_experiments
    assert training.fold_groups("mine", 0) == training.fold_groups("apart", 0)
    assert not training.fold_weights("mine", 0) and len(training.fold_weights("moved", 0)) == 2
    assert not training.fold_weights("apart", 0)
    assert training.fold_macro_cache("apart") and not training.fold_macro_cache("moved")
    assert training.fold_settings("apart", 0).pretrain and not training.fold_settings("moved", 0).pretrain
    assert ("demo-macro", "default") in training.prepared()
    del overlay["experiments"]["moved"], overlay["experiments"]["apart"]
    assert plan(overlay).training.prepared() == [("demo-micro", "default")], "no macro set is prepared"


@pytest.mark.parametrize(("folds_per_job", "sizes"), [(1, [1] * 12), (5, [4] * 3), (7, [6, 6]), (99, [12])])
def test_fold_groups_are_consecutive_and_of_equal_size(tmp_path, folds_per_job, sizes):
    settings = {"folds_per_job": folds_per_job, "demo": {"subjects": 24}, "results": str(tmp_path)}
    training = plan(settings).training
    names = training.fold_groups("msjfn", 0)
    groups = [training.folds_of_group("msjfn", name) for name in names]
    assert list(map(len, groups)) == sizes
    assert sum(groups, []) == [f"demo-micro/s{number:02d}" for number in range(1, 13)]
    assert names[0] == "demo-micro%2Fs01" + (f"+{sizes[0]}" if sizes[0] > 1 else "")


@pytest.mark.parametrize(
    ("folds_per_job", "trained", "jobs"),
    [(1, (1, 5, 9), 3), (1, (5,), 3), (3, (1, 5, 9), 3), (4, (1, 5, 9), 3), (1, (2, 6), 12)],
)
def test_fold_groups_keep_the_size_of_trained_ones(tmp_path, folds_per_job, trained, jobs):
    """Folders of groups of four, of which the last case has none that divides the folds evenly."""
    for first in trained:
        model = tmp_path / f"demo/experiments/msjfn/folds/0/demo-micro%2Fs{first:02d}+4/model.safetensors"
        model.parent.mkdir(parents=True)
        model.touch()
    training = plan({"folds_per_job": folds_per_job, "results": str(tmp_path), "demo": {"subjects": 24}}).training
    assert len(training.fold_groups("msjfn", 0)) == jobs
    assert len(training.fold_groups("msjfn", 1)) == -(-12 // folds_per_job), "of a seed that is not trained"


def test_clips_of_unknown_subject_name_the_known_ones():
    with pytest.raises(InputError, match=r"dataset demo-micro has no clips of subject 'zzz'; its subjects are: s01, "):
        plan({}).data.clips("demo-micro", "zzz")


def test_synthetic_scorer_people_do_not_depend_on_the_demo():
    first, second = (
        plan(keyframes("adaptive", demo={"subjects": count, "seed": seed, "noise": noise}))
        for count, seed, noise in ((4, 0, 1.0), (24, 3, 5.0))
    )
    name = scorer_people.NAME
    assert first.data.scorer_dataset("default") == name and first.data.is_synthetic(name)
    assert first.data.settings(name) == second.data.settings(name)
    assert first.data.scorer_file("default") == "results/scorers/_drawn/default.safetensors"
    assert [clip.subject for clip in first.data.index(name).clips][0] == "_drawn/s01"
    assert name not in dict(first.training.prepared())
    first.check()
    assert all(entry.scorer == "" and not entry.scorer_people for entry in audit_plan(first.training))
    assert plan({}).data.scorer_dataset("default") == ""


@pytest.fixture
def scorer_study(tmp_path):
    """A function that plans a study whose frame scorer learns from a dataset of the user."""

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
        return plan(overlay)

    return make


def test_scorer_must_not_learn_from_test_subjects(scorer_study):
    study = scorer_study("teachers")
    study.check()
    assert study.data.scorer_file("own") == "results/scorers/teachers/own.safetensors"
    audited = {entry.experiment: entry for entry in audit_plan(study.training)}
    assert audited["mine"].scorer == study.data.scorer_file("own") and audited["mine"].scorer_people == []
    scorer_study("demo-macro").check()
    key = "preparations.own.keyframes.learn_from: "
    for learn_from, micro, message in (
        ("demo-micro", "demo-micro", "demo-micro: experiments.mine tests it; the scorer must not learn from test"),
        ("pupils", "pupils", "pupils: experiments.mine tests it; the scorer"),
        (
            "teachers",
            "pupils",
            "teachers: experiments.mine tests pupils, which has the same subject names; the",
        ),
        (
            "teachers",
            ["demo-micro", "pupils"],
            "teachers: experiments.mine tests pupils, which has the same subject names",
        ),
    ):
        study = scorer_study(learn_from, micro=micro)
        with pytest.raises(ConfigError, match=f"^{re.escape(key + message)}"):
            study.check()
        assert audit_plan(study.training)[0].scorer_people, "and the audit would count them"


def test_scorer_must_not_learn_from_test_subjects_of_cells(scorer_study):
    tables = {"t": {"of": "mine", "rows": {"micro": ["demo-micro", "pupils"]}}}
    with pytest.raises(ConfigError, match="tables.t: preparations.own.keyframes.learn_from: teachers: .* tests pupils"):
        scorer_study("teachers", tables=tables).check()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a,s1,x,a,0,2", "b,s1,y,b,0,1"], "teachers has 2 moving clips, and annotated apexes of 1 people; at least 2"),
        (["a,s1,x,a,,", "b,s2,y,b,,"], "teachers has 2 moving clips, and annotated apexes of 0 people; at least 2"),
    ],
)
def test_scorer_needs_annotated_apexes_of_two_people(scorer_study, rows, message):
    with pytest.raises(ConfigError, match=f"learn_from: {message} are needed: name a dataset of moving clips with"):
        scorer_study("teachers", rows).check()


def test_floors_run_beside_linear_experiments(labelled):
    labelled["floors"] = ["majority", "linear-svm"]
    labelled["experiments"]["svm"] = {"system": "linear-svm", "micro": "words", "protocol": "paper-holdout"}
    labelled["experiments"]["svm"] |= {"test_clips": 1, "seeds": [0, 1]}
    study = plan(labelled)
    study.check()
    floor = study.experiments["majority"]
    assert list(study.experiments) == ["svm", "majority"], "svm itself needs no floor of its system"
    assert study.training.splits("majority") == study.training.splits("svm") and floor.seeds == [0, 1]
    settings = study.publishing.report_settings().experiments
    assert {name: settings[name].floor for name in settings} == {"svm": False, "majority": True}
    labelled["experiments"]["net"] = {"system": "ststnet", "micro": "numbers"}
    study = plan(labelled)
    group = "words-default-paper-holdout-1-0.1"
    assert list(study.experiments) == ["svm", "net", "majority", "linear-svm", f"majority-{group}"]
    assert study.experiments["majority"].micro == "numbers", "floors of the networks have the short names"
    settings = study.publishing.report_settings().experiments
    assert {name for name in settings if not settings[name].floor} == {"net"}


def test_figure_shows_the_floor_of_its_first_experiment(labelled):
    labelled["floors"] = ["majority"]
    labelled["experiments"]["net"] = {"system": "ststnet", "micro": "numbers"}
    labelled["experiments"]["svm"] = {"system": "linear-svm", "micro": "words"}
    labelled["figures"] = {first: {"kind": "methods", "of": [first, "majority"]} for first in ("net", "svm")}
    blocks = plan(labelled).figures.blocks
    assert blocks["net"]["of"] == ["net", "majority"]
    assert blocks["svm"]["of"] == ["svm", "majority-words-default-loso"]


def test_floors_repeat_the_seeds_that_draw_splits():
    overlay = experiment(protocol="paper-holdout", test_clips=20, seeds=[0, 1])
    overlay["experiments"]["other"] = overlay["experiments"]["mine"] | {"protocol": "loso"}
    study = plan(overlay)
    study.check()
    floors = {name: study.experiments[name].seeds for name in study.experiments if "majority" in name}
    assert floors == {
        "majority-demo-micro-default-paper-holdout-20-0.1": [0, 1],
        "majority-demo-micro-default-loso": [0],
    }
    with pytest.raises(ConfigError, match="experiments.mine.folds: 13 folds need as many subjects, found 10"):
        plan(experiment(protocol="subject-kfold", folds=13)).check()
    with pytest.raises(ConfigError, match="test_clips: 120 of 120 leave none to train"):
        plan(experiment(protocol="paper-holdout", test_clips=120)).check()
    with pytest.raises(ConfigError, match="cross-dataset is for several databases; the clips are of demo-micro only"):
        plan(experiment(protocol="cross-dataset")).check()


@pytest.fixture
def labelled(tmp_path):
    """Two datasets of clips: one labelled with words, one with numbers."""
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
def test_classes_must_fit_the_labels_of_the_clips(labelled, classes, micro, message):
    labelled["experiments"]["mine"] = {"system": "majority", "micro": micro, "classes": classes}
    study = plan(labelled)
    if message is None:
        study.check()
        assert len(study.experiments.classes("mine")) == 2
        return
    with pytest.raises(ConfigError, match=re.escape(message)):
        study.check()


def test_problems_are_printed_until_a_run_has_written_them(labelled, tmp_path, capsys):
    (tmp_path / "words/2/1.png").unlink()
    (tmp_path / "words/2/0.png").unlink()
    labelled |= {"results": str(tmp_path / "results")}
    labelled["experiments"]["mine"] = {"system": "majority", "micro": "words"}
    study = plan(labelled)
    study.check()
    study.data.report_problems()
    error = capsys.readouterr().err
    assert (
        "1 of 3 clips cannot be used and are left out, all clips of words/s2 among them;" in error
        and "words/2 holds no image" in error
    )
    write_problems(study.data.index("words").problems, tmp_path / "results/data/words/problems.csv")
    study.data.report_problems()
    assert capsys.readouterr().err == ""


def test_datasets_of_different_class_sets_are_not_mixed(labelled):
    labelled["datasets"]["words"]["classes"] = {"map": {"joy": "up", "fear": "down"}}
    labelled["datasets"]["numbers"]["classes"] = "smic-3"
    labelled["experiments"]["mine"] = {"system": "majority", "micro": ["words", "numbers"]}
    with pytest.raises(ConfigError, match="different class sets .own, smic-3."):
        plan(labelled).check()


def test_cache_rows_do_not_depend_on_other_settings(labelled):
    labelled["experiments"]["mine"] = {"system": "majority", "micro": "numbers"}
    before = plan(labelled)
    labelled["datasets"]["numbers"]["on_problem"] = "stop"
    after = plan(labelled | {"datasets": {"more": labelled["datasets"]["words"], **labelled["datasets"]}})
    assert before.data.index_settings("numbers") == after.data.index_settings("numbers")
    assert before.data.cache_rows("numbers") == after.data.cache_rows("numbers")
    assert after.data.stops_on_problem("numbers")


def test_second_network_of_a_graph_has_its_own_seed():
    study = plan(experiment(graphs=["8+2", "8+2"], seeds=[0, 1000]))
    assert [row.name for row in study.training.pretrained_networks("mine")] == ["8+2", "8+2 (second)"] * 2
    assert len({network.seed for seed in (0, 1000) for network in study.training.networks("mine", seed)}) == 4


def test_two_networks_that_are_pre_trained_together_have_one_row():
    study = plan(experiment(graphs=["8+2", "4+0"], seeds=[0, 1], pretrain={"together": True})).training
    assert [row.name for row in study.pretrained_networks("mine")] == ["8+2 and 4+0"] * 2
    assert study.pretraining_files("mine") == study.weight_files("mine")[::2]
    apart = plan(experiment(graphs=["8+2", "4+0"], seeds=[0, 1])).training
    assert apart.pretraining_files("mine", ".csv") == apart.weight_files("mine", ".csv")


def test_bit_depth_is_that_of_the_dataset(tmp_path):
    overlay, block = experiment(), {"layout": "manifest", "root": str(tmp_path), "kind": "micro"}
    overlay["datasets"] |= {"mine": block | {"bit_depth": 12}, "other": block}
    (tmp_path / "manifest.csv").write_text("clip,subject,label,frames\n")
    data = plan(overlay).data
    assert [data.bit_depth(name) for name in ("mine", "other", scorer_people.NAME)] == [12, None, None]
    assert not hasattr(data.settings("mine"), "bit_depth"), "another value does not index the dataset again"


def test_floors_that_read_keyframes_need_faces(tmp_path):
    (tmp_path / "flows.csv").write_text("dataset,subject,clip,label,image\nd,s1,a,x,a.png\nd,s2,b,y,b.png\n")
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"x")
    overlay = {
        "datasets": {"flows": {"layout": "flow-images", "root": str(tmp_path)}},
        "experiments": {"mine": {"system": "mersiamc3d", "micro": "flows"}},
        "floors": ["majority"],
    }
    plan(overlay).check()
    overlay["experiments"]["mine"]["network"] = {"input_kind": "flows-magnitude"}
    with pytest.raises(ConfigError, match="mine.network.input_kind: flow images do not say which value is no motion"):
        plan(overlay).check()
    overlay["experiments"]["mine"] = {"system": "tsdgcn", "macro": "none", "micro": "flows", "branches": ["temporal"]}
    study = plan(overlay)
    study.check()
    assert study.experiments["mine"].temporal.signal == "u+v"
    overlay["experiments"]["mine"]["temporal"] = {"signal": "magnitude"}
    with pytest.raises(ConfigError, match="mine.temporal.signal: flow images do not say which value is no motion"):
        plan(overlay).check()
    overlay["floors"] = ["mersiamc3d"]
    overlay["experiments"] = {"mine": {"system": "msjfn", "micro": "flows"}}
    overlay["network"] = {"input_kind": "key-frames"}
    with pytest.raises(ConfigError, match="mersiamc3d.micro: 'flows' holds flow images without faces"):
        plan(overlay).check()


def test_flow_between_neighbours_is_for_systems_that_read_all_of_it():
    steps = {"micro": "demo-micro", "prep": "steps"}
    overlay = {"preparations": {"steps": {"flow": {"reference": "consecutive"}}}, "floors": ["majority", "softmax"]}
    overlay["experiments"] = {"paper": {"system": "mersiamc3d"} | steps}
    with pytest.raises(ConfigError, match="floors: softmax reads the flow from onset to apex, but that of the prepara"):
        plan(overlay).check()
    overlay["experiments"]["image"] = {"system": "msjfn", "micro": "demo-micro"}
    overlay["experiments"]["both"] = {"system": "ensemble", "of": ["paper", "image"]}
    study = plan(overlay)
    study.check()
    assert study.experiments["softmax"].prep == "default"
    overlay["experiments"]["image"] |= steps
    with pytest.raises(ConfigError, match="experiments.image: msjfn reads the flow from onset to apex"):
        plan(overlay).check()


def test_splits_use_preparations_of_their_own_datasets():
    overlay = {"preparations": {"other": {"keyframes": {"count": 3}}}}
    overlay["datasets"] = {"demo-micro": {"layout": "demo"}, "two": {"layout": "demo"}}
    overlay["experiments"] = {
        "mine": {"system": "msjfn", "micro": "demo-micro"},
        "second": {"system": "msjfn", "micro": "two", "prep": "other"},
    }
    study = plan(overlay)
    caches = [study.training.split_caches(split) for split in study.training.split_experiments]
    assert sorted(caches) == [["results/data/demo-micro/default/cache.h5"], ["results/data/two/other/cache.h5"]]


def flow_sequences(folder, faces=True):
    """A study of every system on flow images with three images a clip; the overlay."""
    clips = [dataset_trees.FlowImage("d", f"s{n % 3}", f"{n}", "xy"[n % 2]) for n in range(6)]
    tree = dataset_trees.flow_sequences(folder, clips, 3)
    if not faces:
        tree.table.write_text(re.sub(r"[^,]*face\.png", "", tree.table.read_text()))
    shared = {"micro": "flows"}
    return {
        "datasets": {"flows": tree.settings},
        "experiments": {
            "tsdgcn": {"system": "tsdgcn", "macro": "none"} | shared,
            "frames": {"system": "mersiamc3d", "network": {"input_kind": "key-frames"}} | shared,
        },
        "floors": [name for name in SYSTEMS if name not in ("tsdgcn", "ensemble", "all-ones")],
    }


def test_every_system_is_planned_on_flow_images_with_faces(tmp_path):
    study = plan(flow_sequences(tmp_path))
    study.check()
    assert {study.experiments[name].system for name in study.experiments} == set(SYSTEMS) - {"ensemble", "all-ones"}
    (row, *_), files = study.data.cache_rows("flows"), [row["frames"] for row in study.data.image_rows("flows")]
    assert len(row["flows"]) == len(row["faces"]) == 3 and row["apex"] == 2
    assert len(files) == len(set(files)) == 36 and {*row["flows"], *row["faces"]} <= set(files)


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ("tsdgcn", "tsdgcn.branches: 'flows' holds flow images without faces; give its table a column `face`, or br"),
        ("frames", "frames.micro: 'flows' holds flow images without faces; give its table a column `face`, or netw"),
    ],
)
def test_systems_that_read_faces_need_some(tmp_path, experiment, message):
    overlay = flow_sequences(tmp_path, faces=False)
    overlay["experiments"] = {experiment: overlay["experiments"][experiment]}
    with pytest.raises(ConfigError, match=re.escape(message)):
        plan(overlay).check()


def test_datasets_with_other_numbers_of_flow_images_are_refused(tmp_path):
    overlay = flow_sequences(tmp_path / "three")
    clips = [dataset_trees.FlowImage("e", f"s{n % 3}", f"{n}", "xy"[n % 2]) for n in range(6)]
    overlay["datasets"]["two"] = dataset_trees.flow_sequences(tmp_path / "two", clips, 2).settings
    for block in overlay["experiments"].values():
        block["micro"] = ["flows", "two"]
    overlay["floors"] = ["linear-svm", "ststnet", "msjfn"]
    for name, block in overlay["experiments"].items():
        with pytest.raises(ConfigError, match=f"{name}.micro: .* reads all images of a clip.*: flows 3, two 2; give"):
            plan(overlay | {"experiments": {name: block}}).check()
        also = block | {"micro": "flows", "train_also": ["two"]}
        with pytest.raises(ConfigError, match=f"{name}.train_also: .* numbers differ: flows 3, two 2"):
            plan(overlay | {"experiments": {name: also}}).check()
    plan(overlay | {"experiments": {"image": {"system": "ststnet", "micro": ["flows", "two"]}}}).check()
