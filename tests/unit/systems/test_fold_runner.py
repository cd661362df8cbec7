"""The fold runner, with a system that records what it is given."""

import tracemalloc
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest

from merflow.protocols.folds import draw_folds
from merflow.protocols.settings import SelectionSettings
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, PREDICTIONS, read_table
from merflow.systems.fold_runner import System, TrainedFold, run_folds
from merflow.systems.predictions import FoldPredictions, FoldResult, ResultFiles, write_results
from merflow.systems.samples import Samples

CLASSES = ["left", "right"]
SELECTIONS = {
    **{epoch: SelectionSettings("fixed", epoch, {}, 0, 0.0) for epoch in ("validation", "refit", "fixed", "average")},
    "nested": SelectionSettings("nested", "validation", {"network.bias": [9.0, 0.0]}, 2, 0.25),
}


@dataclass(frozen=True)
class NetworkBlock:
    bias: float
    epochs: int


@dataclass(frozen=True)
class Settings:
    experiment: str
    network: NetworkBlock
    selection: SelectionSettings
    splits: dict
    members: int


class Threshold(System):
    """Predicts by the sign of the only feature; it counts its trainings."""

    def __init__(self, together=False):
        self.trains_together, self.prepared, self.trained = together, [], []

    def prepare(self, fold, subjects):
        self.prepared.append(fold.name)

    def train(self, rows, classes, folds, settings):
        self.trained.append((folds, settings.network))

        def predict(indices):
            right = (rows[indices, 0, 0] > settings.network.bias).astype(float)
            return np.stack([1 - right, right], axis=1)

        curve = [{"stage": "finetune", "epoch": 1, "split": "train", "loss": 0.0, "accuracy": 1.0}]
        return [TrainedFold(predict, [len(self.trained)], curve, {"network.epochs": 3}) for _ in folds]


@pytest.fixture
def samples():
    labels = np.tile([0, 1], 10)
    clips = [{"dataset": "d", "subject": f"d/s{n // 4}", "clip": f"c{n}"} for n in range(20)]
    return Samples(clips, labels, CLASSES, (2.0 * labels - 1).astype(np.float32)[:, None, None])


def run(system, samples, selection="validation", bias=0.0, members=1):
    folds = draw_folds("loso", samples.subjects, samples.labels, seed=1)
    settings = Settings("mine", NetworkBlock(bias, 10), SELECTIONS[selection], {}, members)
    return folds, run_folds(system, samples, folds, 7, settings)


def test_run_folds_predicts_test_and_validation_clips(samples):
    folds, results = run(Threshold(), samples)
    for fold, result in zip(folds, results, strict=True):
        assert [clip["clip"] for clip in result.test.clips] == [f"c{n}" for n in fold.test]
        assert [clip["clip"] for clip in result.validation.clips] == [f"c{n}" for n in fold.validation]
        assert (result.repeat, result.fold) == (7, fold.name)
        assert (result.train_accuracy, result.train_clips) == (1.0, len(fold.train))
        assert {clip["truth"] for clip in result.test.clips} == set(CLASSES)


def test_run_folds_gives_training_no_test_clip(samples):
    for selection in SELECTIONS:
        system = Threshold()
        folds, _ = run(system, samples, selection)
        tests = {fold.name: set(fold.test.tolist()) for fold in folds}
        for data in (data for folds, _ in system.trained for data in folds):
            seen = set(data.train.tolist()) | set(data.validation.tolist())
            assert not seen & tests[data.name.split(",")[0]]
            np.testing.assert_array_equal(data.train_labels, samples.labels[data.train])


def test_run_folds_trains_together_or_one_after_the_other(samples):
    alone, together = Threshold(), Threshold(together=True)
    folds, _ = run(alone, samples)
    run(together, samples)
    assert [len(data) for data, _ in alone.trained] == [1] * len(folds)
    assert [len(data) for data, _ in together.trained] == [len(folds)]
    assert alone.prepared == [fold.name for fold in folds] and not together.prepared


def test_run_folds_refits_on_validation_clips_for_chosen_epochs(samples):
    system = Threshold()
    folds, results = run(system, samples, "refit")
    (first,), network = system.trained[0]
    (refit,), refit_network = system.trained[1]
    assert (network.epochs, refit_network.epochs) == (10, 3)
    assert refit.train.tolist() == sorted([*first.train.tolist(), *first.validation.tolist()])
    assert not len(refit.validation) and refit.seed == first.seed
    assert results[0].models == [2] and results[0].train_clips == 16
    assert len(results[0].validation.clips) == len(folds[0].validation), "predicted by the first model"


@pytest.mark.parametrize("epoch", ["fixed", "average"])
def test_run_folds_trains_all_clips_if_none_choose_the_epoch(samples, epoch):
    system = Threshold()
    _, results = run(system, samples, epoch)
    assert len(system.trained) == len(results) and all(not len(data.validation) for (data,), _ in system.trained)
    assert all(result.train_clips == 16 and not len(result.validation.clips) for result in results)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_added_clips_train_in_every_fold_and_do_nothing_else(samples, selection):
    """The folds are those of the other clips: the same clips are tested and choose epochs."""
    new = [{"dataset": "more", "subject": f"more/t{n}", "clip": f"m{n}"} for n in range(4)]
    clips, labels = samples.clips + new, np.append(samples.labels, [0, 1, 1, 1])
    rows = (2.0 * labels - 1).astype(np.float32)[:, None, None]
    more = Samples(clips, labels, CLASSES, rows, divided=len(samples.clips))
    systems, folds = (Threshold(), Threshold()), draw_folds("loso", samples.subjects, samples.labels, seed=1)
    settings = Settings("mine", NetworkBlock(0.0, 10), SELECTIONS[selection], {}, 1)
    results = [
        run_folds(system, part, folds, 7, settings) for system, part in zip(systems, (samples, more), strict=True)
    ]
    for (before, _), (after, _) in zip(*(system.trained for system in systems), strict=True):
        for fold, with_more in zip(before, after, strict=True):
            assert with_more.train.tolist() == [*fold.train.tolist(), 20, 21, 22, 23]
            np.testing.assert_array_equal(with_more.train_labels, labels[with_more.train])
            assert with_more.validation.tolist() == fold.validation.tolist() and with_more.seed == fold.seed
    for before, after in zip(*results, strict=True):
        assert after.train_clips == before.train_clips + 4
        for part in ("test", "validation"):
            assert [clip["clip"] for clip in getattr(after, part).clips] == [
                clip["clip"] for clip in getattr(before, part).clips
            ]


@pytest.mark.parametrize("together", [False, True])
def test_members_train_with_seeds_of_their_own_and_their_mean_answers(samples, together):
    class Member(Threshold):
        def train(self, rows, classes, folds, settings):
            for fold, trained in zip(folds, super().train(rows, classes, folds, settings), strict=True):
                share = np.random.default_rng(fold.seed).random()
                answer = partial(lambda share, indices: np.tile([share, 1 - share], (len(indices), 1)), share)
                yield replace(trained, predict=answer, models=[share])

    (_, alone), (folds, results) = (run(Member(together), samples, "refit", members=count) for count in (1, 3))
    for fold, one, result in zip(folds, alone, results, strict=True):
        assert len(set(result.models)) == 3 and result.models[:1] == one.models, "the first is the one without others"
        for predictions, clips in ((result.test, fold.test), (result.validation, fold.validation)):
            np.testing.assert_allclose(predictions.probs[:, 0], [np.mean(result.models)] * len(clips))


@pytest.mark.parametrize("together", [False, True])
def test_run_folds_selects_settings_inside_the_fold(samples, together):
    system = Threshold(together=together)
    _, results = run(system, samples, "nested", bias=5.0)
    assert all(result.overrides == {"network.bias": 0.0} and result.train_accuracy == 1.0 for result in results)
    assert results[0].accuracy_row("mine")["chosen"] == "0"


def test_write_results_writes_every_table(samples, tmp_path):
    _, results = run(Threshold(), samples)
    files = ResultFiles(*(tmp_path / f"{name}.csv" for name in ("p", "a", "c", "v")))
    write_results(results, "mine", files)
    predictions = read_table(files.predictions, PREDICTIONS)
    assert len(predictions) == 20 and (predictions["truth"] == predictions["predicted"]).all()
    assert len(read_table(files.accuracy, ACCURACY_TRAIN)) == len(read_table(files.curves, CURVES)) == 5
    write_results([], "mine", files)
    assert all(read_table(*pair).empty for pair in ((files.predictions, PREDICTIONS), (files.validation, PREDICTIONS)))


def test_validation_rows_are_written_fold_by_fold(tmp_path):
    """With one row for each fold and validation clip, the rows of all folds are too many for the memory."""
    clips = [{"dataset": "d", "subject": "d/s", "clip": f"c{n}", "truth": "left"} for n in range(3000)]
    validation = FoldPredictions(clips, np.full((3000, 2), 0.5), CLASSES)
    test = FoldPredictions([], np.zeros((0, 2)), CLASSES)
    files = ResultFiles(*(tmp_path / f"{name}.csv" for name in ("p", "a", "c", "v")))

    def peak_bytes(folds):
        results = [FoldResult(0, f"d/s{n}", test, validation, 1.0, 1, [], {}, []) for n in range(folds)]
        tracemalloc.start()
        write_results(results, "mine", files)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(1)
    assert peak_bytes(12) < 2 * peak_bytes(1)
    assert len(files.validation.read_text().splitlines()) == 1 + 3000, "of the last call"
