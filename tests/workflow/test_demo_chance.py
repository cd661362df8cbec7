"""Chance level: systems trained on permuted labels of the demo are at chance, and on the true labels above it."""

from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
from configurations import plan
from demo_study import CLASSES, CLIPS, SUBJECTS, shorter
from independent_linear import SOLVERS, independent_predictions
from sklearn.metrics import f1_score
from training_jobs import run_linear, split_files, train_clip_networks

from merflow.evaluation.metrics import bootstrap_subjects, mean_rates
from merflow.protocols.settings import ClipSettings
from merflow.systems import fold_runner
from merflow.systems.clip_images import SIDE, read_clip_images
from merflow.systems.tsdgcn import finetune as finetuning

PERMUTATIONS = 50
CHANCE = 1 / len(CLASSES)
MICRO = "demo-micro"
NETWORK = {"epoch_choice": "validation", "patience": 20, "batch": 256, "weight_decay": 0.0, "validation": 0.2}
NETWORKS = {
    "ststnet": NETWORK | {"epochs": 40, "learning_rate": 2e-3, "dropout": 0.5},
    "off-apexnet": NETWORK | {"epochs": 5, "learning_rate": 5e-4, "dropout": 0.0},
}
"""Fewer epochs with bigger steps than shipped: 350 networks each; the epochs are enough to learn the true labels."""


def at_chance(uar) -> bool:
    """The gate on permuted labels: the mean UAR is within two standard errors of chance, or below it.

    Below, because a clip's own class is rarer among the others, which are all that trains.
    """
    return bool(np.mean(uar) <= CHANCE + 2 * np.std(uar, ddof=1) / np.sqrt(len(uar)))


def above_chance(table: pd.DataFrame) -> bool:
    """The gate on the true labels: the 95 % interval of UAR lies above chance."""
    return bool(bootstrap_subjects(table, CLASSES)["uar"][0] > CHANCE)


def uar_of(table: pd.DataFrame) -> float:
    return float(mean_rates(table, CLASSES)["uar"])


def cache_of(folder):
    return folder / f"results/data/{MICRO}/default/cache.h5"


def permuted(folder, count: int = PERMUTATIONS) -> list[dict[str, dict[str, str]]]:
    """Return labels that are permuted over all clips."""
    with h5py.File(cache_of(folder)) as file:
        clips, labels = file["clip"].asstr()[:], file["label"].asstr()[:]
    rng = np.random.default_rng(0)
    return [{MICRO: dict(zip(clips, rng.permutation(labels), strict=True))} for _ in range(count)]


def head_predictions(folder, labels: list[dict], work) -> list[pd.DataFrame]:
    """Predictions of the study's heads, trained on its features once for each set of labels."""
    training = plan(shorter() | {"results": str(folder / "results")}).training
    settings, features = training.head_settings("tsdgcn"), training.features("tsdgcn")
    files, tables = [group[0] for group in next(iter(features.values()))], []
    for relabelled in labels:
        # New splits: validation subjects are drawn so that training lacks no class.
        clips = replace(settings.clips, labels=relabelled)
        splits = split_files(files, clips, {"protocol": "loso"}, list(features), work)
        results = finetuning.train_repeats(features, replace(settings, clips=clips, splits=splits))
        tables.append(pd.DataFrame([row for result in results for row in result.prediction_rows("tsdgcn")]))
    return tables


@pytest.fixture(scope="module")
def images(demo, tmp_path_factory):
    """A cache that has only the flow images of the demo, because it is read thousands of times."""
    samples = read_clip_images([cache_of(demo)], ClipSettings([MICRO], CLASSES, {}), in_memory=True)
    clips = samples.clips_with_truth
    path = tmp_path_factory.mktemp("images") / "cache.h5"
    with h5py.File(path, "w") as file:
        for name, column in (("clip", "clip"), ("subject", "subject"), ("label", "truth")):
            file.create_dataset(name, data=[clip[column] for clip in clips], dtype=h5py.string_dtype())
        file["flow"] = samples.rows.reshape(-1, 1, 3, SIDE, SIDE)
        file["apex_index"] = np.zeros(len(clips), int)
        file.attrs.update(dataset=MICRO, classes=CLASSES)
    return path


def floor_answers(cache, system: str, work, labels: dict | None = None) -> pd.DataFrame:
    """Answers of a floor, or of a network on flow images."""
    settings = {"experiment": system, "system": system, "protocol": "loso", "classes": CLASSES}
    settings |= {"labels": labels} if labels else {}
    if system not in NETWORKS:
        run_linear([cache], system, work / "p.csv", work / "a.csv", settings)
        return pd.read_csv(work / "p.csv")
    files = {"predictions": work / "p.csv", "accuracy_train": work / "a.csv", "curves": work / "c.csv"}
    settings |= {"network": NETWORKS[system], "loss": {"name": "cross-entropy"}}
    train_clip_networks([cache], **files, settings=settings, seed=0, folds=None)
    return pd.read_csv(work / "p.csv")


@pytest.mark.slow  # Unit tests show the same on made-up data.
def test_heads_on_permuted_labels_are_at_chance(demo, tmp_path):
    folder = demo
    tables = head_predictions(folder, permuted(folder), tmp_path)
    assert len(tables) == PERMUTATIONS and all(len(table) == SUBJECTS // 2 * CLIPS for table in tables)
    assert at_chance([uar_of(table) for table in tables])
    copied = [table.assign(predicted=table["truth"]) for table in tables]
    assert not at_chance([uar_of(table) for table in copied]), "predictions equal to the permuted labels fail the gate"
    honest = head_predictions(folder, [{}], tmp_path)[0]
    assert above_chance(honest), "the same settings learn from the true labels"
    predictions = pd.read_csv(folder / "results/demo/predictions.csv").query("experiment == 'tsdgcn'")
    assert above_chance(predictions)


@pytest.mark.slow
def test_chance_bound_rejects_heads_that_train_on_test_clips(demo, tmp_path, monkeypatch):
    folder = demo
    honest = fold_runner.read_folds

    def leaking(*arguments):
        return (replace(fold, train=np.union1d(fold.train, fold.test)) for fold in honest(*arguments))

    monkeypatch.setattr(fold_runner, "read_folds", leaking)
    assert not at_chance([uar_of(table) for table in head_predictions(folder, permuted(folder, 3), tmp_path)])


@pytest.mark.slow
@pytest.mark.parametrize("system", ["majority", "linear-svm", "softmax"])
def test_baselines_on_permuted_labels_are_at_chance(demo, images, tmp_path, system):
    folder = demo
    tables = [floor_answers(images, system, tmp_path, labels) for labels in permuted(folder)]
    assert len({tuple(table["truth"]) for table in tables}) == PERMUTATIONS
    assert at_chance([uar_of(table) for table in tables])
    predictions = pd.read_csv(folder / "results/demo/predictions.csv").query("experiment == @system")
    assert above_chance(predictions) is (system != "majority"), "a constant prediction fails the gate"


@pytest.mark.slow  # Each system trains 357 networks: some three minutes.
@pytest.mark.parametrize("system", NETWORKS)
def test_networks_on_permuted_labels_are_at_chance(demo, images, tmp_path, system):
    assert above_chance(floor_answers(images, system, tmp_path)), "these epochs are enough to learn"
    assert at_chance([uar_of(floor_answers(images, system, tmp_path, labels)) for labels in permuted(demo)])


# --- an independent run of the floors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("system", SOLVERS)
def test_interval_of_floor_contains_independent_run(demo, system):
    labels, predicted = independent_predictions(cache_of(demo), system)
    table = pd.read_csv(demo / "results/demo/metrics.csv")
    row = table.query("experiment == @system and scope == 'pooled' and metric == 'uf1'").iloc[0]

    def inside(answer):
        return row["ci_low"] - 1e-9 <= f1_score(labels, answer, average="macro") <= row["ci_high"] + 1e-9

    assert inside(predicted)
    shuffled = np.random.default_rng(0).permutation(labels)
    assert not inside(shuffled) and not inside(np.full(len(labels), CLASSES[0])), "trivial predictions"
