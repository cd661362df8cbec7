"""Floors: what they answer, that they learn, and that they never see a test label."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from flow_caches import CLASSES, SIZE, accuracy, balanced, make_cache
from independent_linear import SOLVERS, independent_predictions
from sklearn.base import clone
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from training_jobs import run_linear, split_files

from merflow.errors import InputError
from merflow.evaluation.metrics import bootstrap_subjects, score
from merflow.preprocessing.resize import area_resize
from merflow.protocols.settings import ClipSettings, SelectionSettings
from merflow.storage.tables import ACCURACY_TRAIN, PREDICTIONS, read_table
from merflow.systems import linear
from merflow.systems.clip_images import SIDE, read_clip_images
from merflow.systems.linear import fit
from merflow.systems.predictions import ResultFiles
from merflow.systems.registry import SYSTEMS
from merflow.systems.settings import LinearSettings


def outcome(caches: list[Path], system: str, folder: Path, **settings) -> pd.DataFrame:
    settings = {"experiment": "floor", "protocol": "loso", "classes": CLASSES, "seeds": [0]} | settings
    run_linear(caches, system, folder / "predictions.csv", folder / "accuracy_train.csv", settings)
    return read_table(folder / "predictions.csv", PREDICTIONS)


@pytest.mark.parametrize("system", ["linear-svm", "rbf-svm", "softmax"])
def test_baseline_learns_from_the_apex_flow_only(tmp_path, system):
    easy = outcome([make_cache(tmp_path / "easy.h5", *balanced())], system, tmp_path)
    floor = outcome([tmp_path / "easy.h5"], "majority", tmp_path)
    assert accuracy(easy) > 0.9 > accuracy(floor) + 0.3
    noise = outcome([make_cache(tmp_path / "noise.h5", *balanced(), strength=0.0)], system, tmp_path)
    assert accuracy(noise) < 0.7


def test_majority_predicts_most_frequent_training_class(tmp_path):
    # Over all clips surprise leads by one; where the subject with three of them is left out, happiness leads.
    labels = ["happiness"] * 3 + ["surprise"] * 3 + ["surprise", "disgust"]
    subjects = ["people/a"] * 3 + ["people/b"] * 3 + ["people/c"] * 2
    table = outcome([make_cache(tmp_path / "cache.h5", labels, subjects)], "majority", tmp_path)
    by_fold = table.groupby("fold")["predicted"].unique().map(list).to_dict()
    assert by_fold == {"people/a": ["surprise"], "people/b": ["happiness"], "people/c": ["happiness"]}
    row = table[table["fold"] == "people/b"].iloc[0]
    assert (row["p_happiness"], row["p_surprise"], row["p_disgust"]) == pytest.approx((0.6, 0.2, 0.2))


@pytest.mark.slow
@pytest.mark.parametrize("system", ["majority", "linear-svm", "rbf-svm", "softmax"])
def test_permuted_labels_leave_chance_accuracy(tmp_path, system):
    """On 50 permutations the mean UAR is within two standard errors of chance, or below it: nothing leaks."""
    labels, subjects = balanced(people=5)
    cache, rng = make_cache(tmp_path / "cache.h5", labels, subjects), np.random.default_rng(0)
    reached = []
    for _ in range(50):
        drawn = {f"c{n:03d}": str(label) for n, label in enumerate(rng.permutation(labels))}
        table = outcome([cache], system, tmp_path, labels={"people": drawn})
        assert dict(zip(table["clip"], table["truth"], strict=True)) == drawn
        reached.append(score(table["truth"], table["predicted"], CLASSES)["uar"])
    error = np.std(reached, ddof=1) / np.sqrt(len(reached))
    assert np.mean(reached) <= 1 / 3 + 2 * error


@pytest.mark.parametrize("system", ["majority", "linear-svm", "rbf-svm", "softmax"])
def test_poisoned_test_labels_change_no_prediction(tmp_path, system):
    labels, subjects = balanced()
    clean = outcome([make_cache(tmp_path / "clean.h5", labels, subjects)], system, tmp_path)
    with h5py.File(tmp_path / "clean.h5") as file:
        flow = file["flow"][()]
    for fold in ("people/s0", "people/s5"):
        poisoned = [
            CLASSES[(CLASSES.index(label) + 1) % 3] if subject == fold else label
            for label, subject in zip(labels, subjects, strict=True)
        ]
        cache = make_cache(tmp_path / "poisoned.h5", poisoned, subjects)
        with h5py.File(cache, "a") as file:
            file["flow"][...] = flow
        other = outcome([cache], system, tmp_path)
        columns = ["clip", "predicted", *(f"p_{name}" for name in CLASSES)]
        before, after = (table.loc[table["fold"] == fold, columns].reset_index(drop=True) for table in (clean, other))
        pd.testing.assert_frame_equal(before, after)
        truths = [table.loc[table["fold"] == fold, "truth"].tolist() for table in (clean, other)]
        assert truths[0] != truths[1]  # the poison was there


@pytest.mark.parametrize("system", ["linear-svm", "rbf-svm", "softmax"])
def test_changed_test_clip_changes_no_other_prediction(tmp_path, system):
    """Inputs are standardised by training clips, so what a fold tests reaches nothing but its own answer."""
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=3))
    columns = [f"p_{name}" for name in CLASSES]
    before = outcome([cache], system, tmp_path).query("fold == 'people/s1'")[columns].to_numpy(float)
    with h5py.File(cache, "a") as file:
        first = int(np.flatnonzero(file["subject"].asstr()[:] == "people/s1")[0])
        file["flow"][first] = 30 + file["flow"][first]
    after = outcome([cache], system, tmp_path).query("fold == 'people/s1'")[columns].to_numpy(float)
    assert not np.allclose(before[0], after[0])
    np.testing.assert_allclose(before[1:], after[1:], atol=1e-9)


@pytest.mark.parametrize("system", ["majority", "linear-svm", "rbf-svm", "softmax"])
def test_run_linear_writes_tables_of_the_contract(tmp_path, system):
    labels, subjects = balanced(people=3)
    labels[0] = ""
    table = outcome([make_cache(tmp_path / "cache.h5", labels, subjects)], system, tmp_path)
    assert list(table)[: len(PREDICTIONS)] == PREDICTIONS
    assert len(table) == len(labels) - 1 and "c000" not in set(table["clip"])
    assert (table["fold"] == table["subject"]).all() and (table["dataset"] == "people").all()
    probabilities = table[[f"p_{name}" for name in CLASSES]]
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.to_numpy().argmax(1) == table["predicted"].map(CLASSES.index)).all()
    train = read_table(tmp_path / "accuracy_train.csv", ACCURACY_TRAIN)
    assert train["n"].tolist() == [12, 11, 11]
    assert set(train["stage"]) == {"finetune"} and train["accuracy"].between(0, 1).all()


@pytest.mark.parametrize("system", ["linear-svm", "rbf-svm"])
def test_validation_clips_are_predicted_by_a_model_without_them(tmp_path, system):
    """The final model trains on them too, as if there were no validation part."""
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=5))
    test, columns = outcome([cache], system, tmp_path), [f"p_{name}" for name in CLASSES]
    validation = read_table(tmp_path / "validation.csv", PREDICTIONS)
    samples = read_clip_images([cache], ClipSettings(["people"], CLASSES, {}), in_memory=True)
    people, images = np.array(samples.subjects), samples.rows.reshape(len(samples.labels), -1)
    for fold, rows in validation.groupby("fold"):
        held_out = np.isin(people, rows["subject"].unique())
        for table, trains in ((rows, ~held_out & (people != fold)), (test[test["fold"] == fold], people != fold)):
            chosen = np.isin([clip["clip"] for clip in samples.clips], table["clip"])
            expected = fit(system, images[trains], samples.labels[trains], 3)(images[chosen])
            np.testing.assert_allclose(table[columns], expected, atol=1e-6)


def test_baseline_trains_also_on_another_dataset(tmp_path):
    """The tables have the same clips; only clips with a label of the experiment are added."""
    tested = make_cache(tmp_path / "tested.h5", *balanced(people=3))
    labels = ["happiness", "surprise", "contempt"]
    more = make_cache(tmp_path / "more.h5", labels, [f"more/t{n}" for n in range(3)], dataset="more", strength=9.0)
    settings = {"experiment": "floor", "protocol": "loso", "classes": CLASSES, "seeds": [0], "datasets": ["people"]}
    tables = []
    for files, train_also in (([tested], []), ([tested, more], ["more"])):
        folder = tmp_path / f"with{len(files)}"
        folder.mkdir()
        clips = ClipSettings(["people"], CLASSES, {}, train_also)
        splits = split_files([tested], ClipSettings(["people"], CLASSES, {}), settings, [0], folder)
        job = LinearSettings("floor", clips, SelectionSettings("fixed", "refit", {}, 0, 0.0), splits, 1, "linear-svm")
        results = ResultFiles(folder / "p.csv", folder / "a.csv", validation=folder / "v.csv")
        linear.run_linear(files, results, job)
        tables.append([read_table(file, []) for file in (results.predictions, results.validation, results.accuracy)])
    names = ["fold", "dataset", "subject", "clip", "truth"]
    for before, after in zip(*(part[:2] for part in tables), strict=True):
        pd.testing.assert_frame_equal(before[names], after[names])
        assert (before["p_happiness"] != after["p_happiness"]).any()
    assert (tables[1][2]["n"] - tables[0][2]["n"]).tolist() == [2, 2, 2]


def test_run_linear_of_two_datasets_and_seeds(tmp_path):
    labels, subjects = balanced(people=2)
    caches = [
        make_cache(tmp_path / "a.h5", labels, subjects),
        make_cache(tmp_path / "b.h5", labels, [s.replace("people", "others") for s in subjects], dataset="others"),
    ]
    table = outcome(caches, "linear-svm", tmp_path, seeds=[0, 3])
    assert len(table) == 2 * 2 * len(labels) and table["fold"].nunique() == 4
    assert set(zip(table["repeat"], table["dataset"], strict=True)) == {
        (seed, name) for seed in (0, 3) for name in ("people", "others")
    }


def test_clip_images_are_flow_at_the_apex(tmp_path):
    labels, subjects = balanced(people=2, each=1)
    cache = make_cache(tmp_path / "cache.h5", labels, subjects)
    images = read_clip_images([cache], ClipSettings(["people"], CLASSES, {})).rows[:]
    with h5py.File(cache) as file:
        expected = file["flow"][4, file["apex_index"][4]].astype(np.float32)
    assert images.shape == (6, 3, SIDE * SIDE)
    np.testing.assert_array_equal(images[4], area_resize(expected, SIDE).reshape(3, -1))
    assert images[4].mean(1) == pytest.approx(expected.reshape(3, -1).mean(1), abs=1e-4)


def test_linear_svm_equals_scikit_learn(tmp_path):
    rng = np.random.default_rng(0)
    images, label = rng.normal(5, 3, (40, 20)).astype(np.float32), rng.integers(0, 3, 40)
    test = rng.normal(5, 3, (10, 20)).astype(np.float32)
    mean, deviation = images.astype(float).mean(0), images.astype(float).std(0)
    reference = LinearSVC(C=1e-3, class_weight="balanced", dual=True, max_iter=10_000, random_state=0)
    reference.fit((images - mean) / deviation, label)
    margins = reference.decision_function((test - mean) / deviation)
    expected = np.exp(margins) / np.exp(margins).sum(1, keepdims=True)
    np.testing.assert_allclose(fit("linear-svm", images, label, 3)(test), expected, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_rbf_svm_equals_kernel_of_principal_components(classes):
    """Principal components by an eigenvalue decomposition, the kernel from distances; libsvm gets the kernel only."""
    rng = np.random.default_rng(3)
    mixing = rng.normal(0, 1, (30, 30)) * np.geomspace(1, 0.01, 30)
    images, label = (
        (5 + rng.normal(0, 3, (60, 30)) @ mixing.T).astype(np.float32),
        np.minimum(np.arange(60) % 6, classes - 1),
    )
    test = (5 + rng.normal(0, 3, (10, 30)) @ mixing.T).astype(np.float32)
    mean, deviation = images.astype(float).mean(0), images.astype(float).std(0)
    inputs, inputs_of_test = (images - mean) / deviation, (test - mean) / deviation
    values, vectors = np.linalg.eigh(inputs.T @ inputs)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = 1 + int(np.flatnonzero(np.cumsum(values) / values.sum() >= 0.95)[0])
    assert 2 < kept < 25, "some components are left out"
    train, test_components = inputs @ vectors[:, :kept], inputs_of_test @ vectors[:, :kept]
    gamma = 1 / (kept * train.var())

    def kernel(first, second):
        return np.exp(-gamma * ((first[:, None] - second[None]) ** 2).sum(2))

    reference = SVC(kernel="precomputed", class_weight="balanced").fit(kernel(train, train), label)
    margins = reference.decision_function(kernel(test_components, train))
    margins = margins if classes > 2 else np.stack([-margins, margins], 1)
    expected = np.exp(margins) / np.exp(margins).sum(1, keepdims=True)
    np.testing.assert_allclose(fit("rbf-svm", images, label, classes)(test), expected, atol=1e-3)


@pytest.mark.parametrize("clips", [15, 40])
def test_basis_of_few_clips_changes_no_hyperplane(clips):
    rng = np.random.default_rng(2)
    images, label = rng.normal(5, 3, (clips, 30)).astype(np.float32), np.arange(clips) % 3
    test = rng.normal(5, 3, (10, 30)).astype(np.float32)
    scaler = StandardScaler().fit(images)
    reference = LinearSVC(C=1e-3, class_weight="balanced", dual=True, max_iter=10_000, random_state=0)
    margins = reference.fit(scaler.transform(images), label).decision_function(scaler.transform(test))
    expected = np.exp(margins) / np.exp(margins).sum(1, keepdims=True)
    np.testing.assert_allclose(fit("linear-svm", images, label, 3)(test), expected, atol=1e-12)
    other = clone(reference).set_params(random_state=5).fit(scaler.transform(images), label)
    other = other.decision_function(scaler.transform(test))
    np.testing.assert_allclose(margins, other, atol=1e-3)  # Which is why no seed has a say.


@pytest.mark.parametrize("protocol", ["loso", "subject-kfold"])
@pytest.mark.parametrize("system", [name for name, system in SYSTEMS.items() if system.kind == "linear"])
def test_seeds_together_predict_as_each_alone(tmp_path, system, protocol):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=4), strength=0.1)
    settings = {"protocol": protocol, "folds": 2}
    together = outcome([cache], system, tmp_path, seeds=[0, 3], **settings)
    accuracy_train = read_table(tmp_path / "accuracy_train.csv", ACCURACY_TRAIN)
    for seed in (0, 3):
        alone = outcome([cache], system, tmp_path, seeds=[seed], **settings)
        pd.testing.assert_frame_equal(together[together["repeat"] == seed].reset_index(drop=True), alone)
        mine = accuracy_train[accuracy_train["repeat"] == seed].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, read_table(tmp_path / "accuracy_train.csv", ACCURACY_TRAIN))


@pytest.mark.parametrize("system", SOLVERS)
def test_interval_contains_value_of_another_solver(tmp_path, system):
    """On clips that are hard enough for a wide interval; the demo's are in test_demo_chance."""
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=10), strength=0.06)
    low, high = bootstrap_subjects(outcome([cache], system, tmp_path), CLASSES)["uf1"]
    labels, predicted = independent_predictions(cache, system, SIDE)
    assert 0.5 < low < high < 0.98, "neither at chance nor at the top"
    assert low <= f1_score(labels, predicted, average="macro") <= high
    shuffled = np.random.default_rng(0).permutation(labels)
    for trivial in (shuffled, np.full(len(labels), CLASSES[0])):
        assert not low <= f1_score(labels, trivial, average="macro") <= high


@pytest.mark.parametrize("system", ["linear-svm", "rbf-svm", "softmax"])
def test_fit_with_two_classes_or_one(system):
    rng = np.random.default_rng(1)
    images = rng.normal(0, 1, (30, 8)).astype(np.float32)
    label = np.where(images[:, 0] > 0, 3, 1)
    probabilities = fit(system, images, label, 4)(images)
    assert (probabilities.argmax(1) == label).mean() > 0.8
    assert np.allclose(probabilities.sum(1), 1) and not probabilities[:, [0, 2]].any()
    assert (fit(system, images, np.full(30, 2), 4)(images).argmax(1) == 2).all()


def test_run_linear_gives_same_bytes_on_second_run(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=3))
    files = []
    for _ in range(2):
        outcome([cache], "linear-svm", tmp_path)
        files.append((tmp_path / "predictions.csv").read_bytes())
    assert files[0] == files[1]


def test_run_linear_names_unusable_inputs(tmp_path):
    labels, subjects = balanced(people=2)
    cache = make_cache(tmp_path / "cache.h5", labels, subjects)
    with pytest.raises(InputError, match="has one of the labels anger, fear"):
        outcome([cache], "majority", tmp_path, classes=["anger", "fear"])
    (tmp_path / "broken.h5").write_text("no HDF5")
    with pytest.raises(InputError, match="broken.h5 is damaged"):
        outcome([tmp_path / "broken.h5"], "majority", tmp_path)
    with h5py.File(cache, "a") as file:
        file["flow"][3] = np.nan
    with pytest.raises(InputError, match="flow of clip c003 is not finite"):
        outcome([cache], "softmax", tmp_path)
    with h5py.File(cache, "a") as file:
        del file["flow"]
        file["flow"] = np.zeros((len(labels), 0, 3, SIZE, SIZE), np.float16)
    with pytest.raises(InputError, match="still images without flow"):
        outcome([cache], "linear-svm", tmp_path)
    assert not (tmp_path / "predictions.csv").exists()
