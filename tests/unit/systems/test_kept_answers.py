"""Answers for the test clips during a training: no label of theirs reaches them, and they change no bit."""

import h5py
import numpy as np
import pytest
import torch
from clip_network_training import train as train_clip_network
from flow_caches import balanced, make_cache
from graph_caches import CLASSES, OWN, SETTINGS
from graph_caches import make_cache as make_graph_cache
from torch.nn import functional
from training_jobs import finetune_settings, train_graph_folds

from merflow.learning.fit import Rows, fit
from merflow.learning.settings import Schedule
from merflow.protocols.folds import draw_folds
from merflow.storage.tables import PREDICTIONS, TEST_EPOCHS, read_table
from merflow.systems.fold_runner import run_folds
from merflow.systems.samples import FoldData, Samples
from merflow.systems.tsdgcn.finetune import HeadSystem
from merflow.systems.tsdgcn.graph import build_graph


@pytest.mark.parametrize(("epochs", "answered"), [(5, 5), (200, 200), (201, 100), (450, 150)])
def test_at_most_200_epochs_are_kept_evenly_spaced(epochs, answered):
    x, y = torch.randn(4, 2), torch.arange(4) % 2
    count = iter(range(1000))
    schedule = Schedule(epochs, 1, 0.01, 0.0, 4, 0.0)
    kept = fit(
        torch.nn.Linear(2, 2), functional.cross_entropy, Rows(x, y), None, schedule, answer=lambda: [next(count)]
    )
    assert kept.answers == [[number] for number in range(answered)]
    assert answered * schedule.answers_every == epochs - epochs % schedule.answers_every


def clip_network(system, epoch_choice):
    def job(folder):
        folder.mkdir(parents=True, exist_ok=True)
        cache = make_cache(folder / "cache.h5", *balanced(people=4, each=1))

        def run(where):
            changes = {"epochs": 5, "patience": 2, "epoch_choice": epoch_choice}
            return train_clip_network([cache], system, where, "people/s1", changes=changes)[1]

        return cache, "people/s1", run

    return job


def end_to_end(folder):
    folder.mkdir(parents=True, exist_ok=True)
    cache = make_graph_cache(folder / "micro.h5", 4, 2, 1, "micro")
    build_graph(16, 4, 2).save(folder / "graph.h5")

    def run(where):
        where.mkdir()
        names = {"predictions": "p", "accuracy_train": "a", "curves": "c", "test_epochs": "e"}
        files = {name: where / f"{stem}.csv" for name, stem in names.items()}
        settings = OWN | {"head": OWN["head"] | {"epochs": 4}}
        train_graph_folds(
            [cache], [folder / "graph.h5"], [], None, **files, settings=settings, seed=0, folds=["micro/s1"]
        )
        return files

    return cache, "micro/s1", run


JOBS = {
    "ststnet": clip_network("ststnet", "validation"),
    "ststnet, refit": clip_network("ststnet", "refit"),
    "mersiamc3d": clip_network("mersiamc3d", "refit"),
    "end to end": end_to_end,
}


@pytest.mark.parametrize("name", JOBS)
def test_keeping_answers_changes_no_bit_and_test_labels_change_no_answer(tmp_path, monkeypatch, name):
    cache, subject, run = JOBS[name](tmp_path / "data")
    files = run(tmp_path / "kept")
    kept, predicted = read_table(files["test_epochs"], TEST_EPOCHS), read_table(files["predictions"], PREDICTIONS)
    epochs = kept["answers"].str.split().str.len()
    assert epochs.nunique() == 1 and 1 <= epochs[0] <= 5 and set(kept["every"]) == {1}
    if "refit" in name or name == "mersiamc3d":  # The last epoch of the training that predicts.
        classes = [column.removeprefix("p_") for column in predicted if column.startswith("p_")]
        assert [classes[int(answers[-1])] for answers in kept["answers"].str.split()] == predicted["predicted"].tolist()

    with h5py.File(cache, "r+") as file:
        labels, mine = file["label"].asstr()[:], file["subject"].asstr()[:] == subject
        labels[mine] = np.roll(labels[mine], 1)
        file["label"][:] = labels.tolist()
    shuffled = read_table(run(tmp_path / "shuffled")["test_epochs"], TEST_EPOCHS)
    assert shuffled["truth"].tolist() != kept["truth"].tolist()
    assert shuffled["answers"].tolist() == kept["answers"].tolist()
    with h5py.File(cache, "r+") as file:
        labels[mine] = np.roll(labels[mine], -1)
        file["label"][:] = labels.tolist()

    honest = FoldData.of
    monkeypatch.setattr(FoldData, "of", lambda fold, labels, seed, *_: honest(fold, labels, seed))
    without = run(tmp_path / "without")
    assert set(read_table(without["test_epochs"], TEST_EPOCHS)["answers"]) == {""}
    for table in ("predictions", "accuracy_train", "curves"):
        assert without[table].read_bytes() == files[table].read_bytes()
    assert (tmp_path / "without/model.safetensors").read_bytes() == (tmp_path / "kept/model.safetensors").read_bytes()


def head_results(tmp_path, labels=None, epochs=30, people=10, fusion="stack"):
    """Results of heads on random features: of the folds of the first people. One feature varies on the first only."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 60)
    rows = (np.eye(3, 20)[truth][:, None] * 2 + rng.normal(0, 1, (60, 3, 20))).astype(np.float32)
    rows[:6, :, 5], rows[6:, :, 5] = 60 * rng.normal(size=(6, 1)), 0
    clips = [{"dataset": "d", "subject": f"d/s{n // 6}", "clip": f"c{n}"} for n in range(60)]
    samples = Samples(clips, truth if labels is None else labels, CLASSES, rows)
    cache = make_graph_cache(tmp_path / "for-settings.h5", 4, 1, 1, "micro")
    changes = {"head": SETTINGS["head"] | {"epochs": epochs}, "fusion": fusion}
    settings = finetune_settings([cache], SETTINGS | changes, [0], tmp_path)
    folds = draw_folds("loso", samples.subjects, truth)[:people]
    return truth, run_folds(HeadSystem(np.zeros(3, int)), samples, folds, 0, settings)


@pytest.mark.parametrize(("people", "fusion"), [(1, "stack"), (10, "stack"), (10, "clip")])
def test_heads_keep_the_answers_of_each_epoch(tmp_path, people, fusion):
    _, results = head_results(tmp_path, people=people, fusion=fusion)
    for epochs in (1, 7, 30):
        truth, stopped = head_results(tmp_path, epochs=epochs, people=people, fusion=fusion)
        for result, full in zip(stopped, results, strict=True):
            kept = full.answers.classes[: len(result.answers.classes)]
            assert [*result.answers.classes] == [*kept] and len(kept) == max(row["epoch"] for row in result.curve)
            best = min((row for row in result.curve if row["split"] == "validation"), key=lambda row: row["loss"])
            assert result.answers.classes[best["epoch"] - 1] == result.test.probs.argmax(axis=1).tolist()


def test_keeping_answers_changes_no_bit_of_heads_and_test_labels_change_no_answer(tmp_path, monkeypatch):
    truth, results = head_results(tmp_path)
    for number, result in enumerate(results[:3]):
        shuffled = truth.copy()
        mine = slice(6 * number, 6 * number + 6)
        shuffled[mine] = (truth[mine] + 1) % 3
        changed = head_results(tmp_path, shuffled)[1][number]
        assert changed.answers == result.answers
        assert [clip["truth"] for clip in changed.test.clips] != [clip["truth"] for clip in result.test.clips]
    honest = FoldData.of
    monkeypatch.setattr(FoldData, "of", lambda fold, labels, seed, *_: honest(fold, labels, seed))
    for result, without in zip(results, head_results(tmp_path)[1], strict=True):
        assert not without.answers.classes and without.curve == result.curve
        assert without.test.probs.tolist() == result.test.probs.tolist()
