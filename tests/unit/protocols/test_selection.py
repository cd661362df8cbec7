"""Selection of settings inside a fold, which never uses the test clips of the fold."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from clip_network_training import train
from configurations import BASE, experiment, plan
from flow_caches import balanced, make_cache
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score
from training_jobs import finetune

from merflow.errors import ConfigError, InputError
from merflow.learning.settings import LossSettings
from merflow.protocols.folds import draw_folds
from merflow.protocols.selection import candidates, inner_folds, select_settings, without_validation
from merflow.protocols.settings import SelectionSettings
from merflow.protocols.variants import with_overrides
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, PREDICTIONS, read_table
from merflow.study.config_checks import table_cells
from merflow.study.load import load_config
from merflow.study.plan import plan_study
from merflow.systems.tsdgcn import finetune as finetuning

CLASSES = ["up", "down", "left"]
HEAD = {
    "hidden": 8, "dropout": 0.0, "learning_rate": 3e-3, "decay": 0.0, "epochs": 30, "patience": 10, "batch": 64,
    "weight_decay": 0.0, "validation": 0.25,
}  # fmt: skip
SETTINGS = {
    "experiment": "try", "branches": ["spatial"], "fusion": "stack", "loss": {"name": "cross-entropy"}, "head": HEAD,
    "protocol": "loso",
}  # fmt: skip
USELESS, USEFUL = 1e-12, 3e-3
NESTED = {"selection": "nested", "inner_folds": 3, "grid": {"head.learning_rate": [USELESS, USEFUL]}}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Features of six people in which a class has a direction of its own."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("features") / "micro.h5"
    labels = np.tile(np.repeat(CLASSES, 4), 6)
    people = np.repeat([f"micro/s{number}" for number in range(6)], 12)
    rows = np.eye(3, 8)[[CLASSES.index(label) for label in labels]][:, None] + rng.normal(0, 0.25, (len(labels), 2, 8))
    with h5py.File(path, "w") as file:
        clips = [f"{person}-{number}" for number, person in enumerate(people)]
        for name, values in (("clip", clips), ("subject", people.tolist()), ("label", labels.tolist())):
            file.create_dataset(name, data=values, dtype=h5py.string_dtype())
        file["spatial"], file["temporal"] = rows.astype(np.float32), np.zeros((len(labels), 0, 8), np.float32)
        file.attrs.update(dataset="micro", classes=CLASSES, rows_per_flow=1)
    return path


def run(features, folder, **changes):
    folder.mkdir(exist_ok=True)
    files = [folder / name for name in ("predictions.csv", "accuracy_train.csv", "curves.csv")]
    finetune({0: [[features]]}, *files, SETTINGS | changes)
    tables = zip(files, (PREDICTIONS, ACCURACY_TRAIN, CURVES), strict=True)
    return [read_table(file, columns) for file, columns in tables]


def accuracy_of(table):
    return (table["truth"] == table["predicted"]).mean()


# --- inside the folds -------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(people=st.integers(3, 9), each=st.integers(1, 3), count=st.integers(2, 5), seed=st.integers(0, 99))
def test_inner_folds_divide_training_part_by_subject(people, each, count, seed):
    subjects = np.repeat([f"s{number}" for number in range(people)], 3 * each)
    labels = np.tile(np.repeat(np.arange(3), each), people)
    for fold in draw_folds("loso", subjects, labels, seed=seed):
        inside = np.union1d(fold.train, fold.validation)
        inner = inner_folds(fold, subjects, labels, count, validation=0.2, seed=(seed, 1))
        assert np.sort(np.concatenate([fold_inside.test for fold_inside in inner])).tolist() == inside.tolist()
        for fold_inside in inner:
            parts = [set(subjects[part]) for part in (fold_inside.train, fold_inside.validation, fold_inside.test)]
            assert set().union(*parts) == set(subjects) - {fold.name}
            assert sum(map(len, parts)) == people - 1, "nobody is in two parts"
            clips = np.concatenate([fold_inside.train, fold_inside.validation, fold_inside.test])
            assert np.sort(clips).tolist() == inside.tolist()


def test_inner_folds_need_two_subjects():
    subjects, labels = np.repeat(["s1", "s2"], 4), np.tile([0, 1], 4)
    with pytest.raises(InputError, match="1 subjects; choose selection: fixed"):
        inner_folds(draw_folds("loso", subjects, labels)[0], subjects, labels, 3, validation=0.2, seed=(0,))


def test_select_settings_takes_first_best_pooled_recall():
    """The answers are made up; the choice follows from scikit-learn's recall over all inner folds."""
    rng = np.random.default_rng(3)
    subjects, labels = np.repeat([f"s{n}" for n in range(5)], 12), rng.choice(3, 60, p=[0.7, 0.15, 0.15])
    folds = draw_folds("loso", subjects, labels)
    answers = {value: rng.random((60, 3)) + np.eye(3)[labels] * 0.2 for value in (1, 2, 3)}
    answers |= {4: answers[1], 5: np.tile([1.0, 0, 0], (60, 1))}
    assert (labels == 0).mean() > max((answers[value].argmax(1) == labels).mean() for value in (1, 2, 3))
    selection = SelectionSettings("nested", "validation", {"x": list(answers)}, 3, 0.2)

    def predict(inner, seeds, overrides):
        assert len(set(seeds)) == len(seeds) == len(inner)
        return [answers[overrides["x"]][fold.test] for fold in inner]

    chosen = select_settings(folds, [(0, n) for n in range(5)], subjects, labels, selection, predict)
    for fold, taken in zip(folds, chosen, strict=True):
        inside = np.union1d(fold.train, fold.validation)
        reached = {
            value: recall_score(labels[inside], probs[inside].argmax(1), average="macro")
            for value, probs in answers.items()
        }
        assert taken == {"x": max(reached, key=reached.get)} and taken["x"] < 4
    assert len({taken["x"] for taken in chosen}) > 1


def test_candidates_are_all_combinations_in_order():
    options = candidates({"loss.alpha": [1, 2], "head.batch": [8, 16]})
    assert [tuple(option.values()) for option in options] == [(1, 8), (1, 16), (2, 8), (2, 16)]
    assert candidates({}) == [{}]


# --- heads ------------------------------------------------------------------------------------------------------------


def test_nested_selects_the_setting_that_learns(features, tmp_path):
    predictions, trained, _ = run(features, tmp_path / "nested", **NESTED)
    assert accuracy_of(predictions) > 0.8
    assert set(trained["chosen"]) == {f"{USEFUL:g}"} and len(trained) == 6
    useless, *_ = run(features, tmp_path / "useless", head=HEAD | {"learning_rate": USELESS})
    assert accuracy_of(useless) < 0.7, "the first candidate, which no search would leave"


def test_nested_with_one_candidate_equals_fixed_settings(features, tmp_path):
    grid = {"loss.name": ["focal"], "loss.alpha": [0.5], "loss.gamma": [2]}
    nested = run(features, tmp_path / "nested", **NESTED | {"grid": grid})
    fixed = run(features, tmp_path / "given", loss={"name": "focal", "alpha": 0.5, "gamma": 2})
    for table, other in zip(nested, fixed, strict=True):
        assert table.drop(columns="chosen", errors="ignore").equals(other.drop(columns="chosen", errors="ignore"))
    assert set(fixed[1]["chosen"]) == {""} and set(nested[1]["chosen"]) == {"focal, alpha 0.5, gamma 2"}


def test_poisoned_test_labels_change_no_selection(features, tmp_path, monkeypatch):
    honest, trained, _ = run(features, tmp_path / "honest", **NESTED)
    load = finetuning.load_features

    def poisoned(*arguments, **options):
        samples, branch = load(*arguments, **options)
        wrong = (samples.labels + np.isin(samples.subjects, ["micro/s1"])) % 3
        return replace(samples, labels=wrong), branch

    monkeypatch.setattr(finetuning, "load_features", poisoned)
    changed, changed_trained, _ = run(features, tmp_path / "poisoned", **NESTED)
    mine = honest["fold"] == "micro/s1"
    columns = ["predicted", *(f"p_{name}" for name in CLASSES)]
    assert honest.loc[mine, columns].equals(changed.loc[mine, columns])
    assert not honest.loc[~mine, columns].equals(changed.loc[~mine, columns]), (
        "the other folds train on the poisoned labels"
    )
    row = trained["fold"] == "micro/s1"
    assert trained[row].equals(changed_trained[row])


def test_fixed_epochs_train_all_clips(features, tmp_path):
    _, validated, _ = run(features, tmp_path / "held")
    _, trained, curves = run(features, tmp_path / "fixed", head=HEAD | {"epoch_choice": "fixed"})
    assert set(curves["split"]) == {"train"} and (curves.groupby("name")["epoch"].max() == HEAD["epochs"]).all()
    assert (trained["n"] == 60).all() and (validated["n"] < 60).all()


def test_without_validation_moves_validation_clips_only():
    folds = draw_folds("loso", np.repeat(["a", "b", "c"], 2), np.tile([0, 1], 3))
    for before, after in zip(folds, map(without_validation, folds), strict=True):
        assert not len(after.validation) and after.test is before.test
        assert after.train.tolist() == np.union1d(before.train, before.validation).tolist()


# --- networks of which a fold is a job --------------------------------------------------------------------------------


def test_nested_selection_of_a_clip_network(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=5))
    grid = {"network.learning_rate": [USELESS, 2e-3]}
    nested = {"selection": "nested", "inner_folds": 2, "grid": grid}
    changes = {"epochs": 25, "patience": 25, "learning_rate": USELESS}
    table, files = train([cache], "ststnet", tmp_path / "nested", "people/s1", changes=changes, **nested)
    assert read_table(files["accuracy_train"], ACCURACY_TRAIN)["chosen"].tolist() == ["0.002"]
    plain, _ = train(
        [cache], "ststnet", tmp_path / "plain", "people/s1", changes=changes | {"learning_rate": 2e-3}
    )  # fmt: skip
    assert table.equals(plain), "the chosen settings train as they would alone"


# --- the configuration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selection": "test"}, "'test' is not allowed; allowed: fixed, nested, paper-tuning"),
        ({"selection": "nested"}, "nested needs one, such as"),
        ({"grid": {"loss.alpha": [1]}}, "only selection: nested and paper-tuning read it"),
        ({"selection": "nested", "grid": {"graphs": [["8+2"]]}}, "graphs cannot be chosen inside a fold"),
        ({"selection": "nested", "grid": {"loss.alpha": [1, -1]}}, "loss.alpha: -1 is not allowed"),
        ({"selection": "nested", "grid": {"head.rate": [1]}}, "unknown key"),
        ({"selection": "nested", "grid": {"head": [{"hidden": 4}]}}, "head cannot be chosen inside a fold"),
        ({"selection": "nested", "grid": {"head.hidden.x": [1]}}, "head.hidden.x cannot be chosen inside a fold"),
        ({"selection": "nested", "grid": {"head.validation": [0.1, 0.3]}}, "head.validation decides the split"),
        ({"selection": "nested", "grid": {"head.learning_rate": [None]}}, "null is not allowed in a grid"),
        (
            {"selection": "paper-tuning", "grid": {"loss.alpha": [1, 2]}, "transfer": "end-to-end"},
            "paper-tuning is for tsdgcn with transfer: frozen",
        ),
    ],
)
def test_settings_that_cannot_be_selected_are_named(changes, message):
    with pytest.raises(ConfigError) as error:
        load_config(BASE, experiment(**changes))
    assert message in str(error.value)


def test_alpha_of_grid_has_one_value_per_class():
    grid = {"loss.alpha": [1, [1, 2, 3, 4]]}
    study = plan(experiment(selection="nested", grid=grid))
    with pytest.raises(ConfigError, match=r"grid\.loss\.alpha: 4 values for 3 classes"):
        study.check()


def test_baselines_and_tables_select_nothing():
    floor = {"experiments": {"svm": {"system": "linear-svm", "micro": "demo-micro", "selection": "nested"}}}
    with pytest.raises(ConfigError, match="linear-svm has nothing to choose"):
        load_config(BASE, floor)
    table = {"tables": {"t": {"of": "mine", "rows": {"loss.alpha": [1, 2]}}}}
    with pytest.raises(ConfigError, match="a table shows fixed settings"):
        load_config(BASE, experiment(selection="nested", grid={"loss.gamma": [1, 2]}) | table)


def test_paper_tuning_shows_grid_and_keeps_settings():
    grid = {"loss.alpha": [0.5, 1], "loss.gamma": [0.5, 1, 2]}
    plain, shown = (
        load_config(BASE, experiment(**changes)) for changes in ({}, {"selection": "paper-tuning", "grid": grid})
    )
    (name,) = shown.experiments
    assert not plain.tables and list(shown.tables) == [f"{name}-grid"]
    cells = table_cells(shown, f"{name}-grid")
    assert [(c["loss"]["alpha"], c["loss"]["gamma"]) for *_, c in cells] == [
        (alpha, gamma) for alpha in (0.5, 1) for gamma in (0.5, 1, 2)
    ]
    tuned, fixed = (plan_study(config).training.head_settings(name) for config in (shown, plain))
    assert tuned == fixed
    three = load_config(BASE, experiment(selection="paper-tuning", grid=grid | {"head.batch": [8, 16]}))
    assert len({cell[:2] for cell in table_cells(three, f"{name}-grid")}) == 12


def test_focal_loss_of_a_grid_has_configured_parameters():
    loss = {"name": "cross-entropy", "gamma": 2.0}
    grid = {"loss.name": ["cross-entropy", "focal"]}
    searched = plan(experiment(selection="nested", grid=grid, loss=loss)).training.head_settings("mine")
    assert with_overrides(searched, {"loss.name": "focal"}).loss == LossSettings("focal", 1.0, 2.0)
    fixed = plan(experiment(loss=loss)).training.head_settings("mine")
    assert fixed.loss == LossSettings("cross-entropy", 1.0, 0.0), "a parameter that is not used reruns nothing"
