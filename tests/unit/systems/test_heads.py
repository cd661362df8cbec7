"""Heads that are trained side by side: each is what it would be alone, by the plain training loop."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from merflow.errors import ConfigError, InputError
from merflow.learning.fit import Rows, Schedule, fit, repeatable
from merflow.learning.losses import StackedLoss, make_loss
from merflow.storage.disk_arrays import DiskArray, DiskArrayView
from merflow.systems.tsdgcn import heads as marching
from merflow.systems.tsdgcn.heads import (
    Dropout,
    FoldData,
    Head,
    RepeatData,
    SavedHead,
    Standard,
    frame_of,
    load_heads,
    probabilities,
    save_heads,
)
from merflow.systems.tsdgcn.heads import train_heads as train_courses

REPO = Path(__file__).parents[3]
CLASSES = 3
SETTINGS = {
    "hidden": 24,
    "dropout": 0.3,
    "learning_rate": 3e-3,
    "decay": 1e-3,
    "epochs": 25,
    "patience": 4,
    "batch": 32,
    "weight_decay": 0.0,
}
BRANCH = np.array([0, 0, 1])
LOSSES = [
    {"name": "cross-entropy"},
    {"name": "focal", "alpha": 0.1, "gamma": 0.5},
    {"name": "focal", "alpha": [0.2, 1.0, 3.0], "gamma": 2.0},
    {"name": "focal", "alpha": 1.0, "gamma": 0.0},
]


def make_lesson(seed, clips=40, held=12, features=50):
    """Clips of three classes that overlap; a third of the features is silent, two of them in training only."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, clips + held)
    centres = np.random.default_rng(99).normal(0, 0.6, (CLASSES, features))
    rows = (centres[labels][:, None] + rng.normal(0, 1.5, (clips + held, 3, features))).clip(0).astype(np.float32)
    rows[..., ::3] = 0
    rows[clips:, :, [0, 3]] = 1.5
    return FoldData(rows[:clips], labels[:clips], rows[clips:], labels[clips:], (seed, 7))


def train_heads(lessons, branch, classes, losses, settings):
    """The heads of one course."""
    (trained,) = train_courses([RepeatData(lessons, branch, losses)], classes, settings)
    return trained


def alone(lesson, loss, settings=SETTINGS):
    """The same head by :func:`merflow.learning.fit.fit`."""
    standard = Standard.of(lesson.rows, BRANCH)

    def rows(x, y):
        x = ((x - standard.mean) / standard.scale).reshape(-1, x.shape[2])
        return Rows(torch.from_numpy(x), torch.from_numpy(np.repeat(y, 3)))

    with repeatable(*lesson.seed):
        head = Head(lesson.rows.shape[2], settings["hidden"], CLASSES, settings["dropout"])
        held = rows(lesson.held_rows, lesson.held_labels) if len(lesson.held_labels) else None
        training = fit(head, make_loss(loss, CLASSES), rows(lesson.rows, lesson.labels), held, Schedule.of(settings))
    return head, training


def assert_same(trained, lesson, loss, settings=SETTINGS):
    head, training = alone(lesson, loss, settings)
    assert trained.training.epoch == training.epoch
    assert len(trained.training.curve) == len(training.curve)
    for mine, theirs in zip(trained.training.curve, training.curve, strict=True):
        assert (mine["epoch"], mine["split"]) == (theirs["epoch"], theirs["split"])
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=2e-4)
        assert mine["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.02)
    for mine, theirs in zip(trained.head.parameters(), head.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-3, atol=2e-4)


def test_heads_of_one_lesson_are_what_fit_makes_of_each():
    lesson = make_lesson(0)
    (trained,) = train_heads([lesson], BRANCH, CLASSES, LOSSES, SETTINGS)
    for head, loss in zip(trained, LOSSES, strict=True):
        assert_same(head, lesson, loss)
    ends = {len(head.training.curve) for head in trained}
    assert len(ends) > 1, "heads that end in one epoch would not show that one can leave before the others"


def test_heads_of_many_lessons_are_what_fit_makes_of_each():
    """Lessons of unequal length, some with a step less."""
    lessons = [make_lesson(seed, clips) for seed, clips in enumerate((40, 38, 30, 40, 21))]
    trained = train_heads(lessons, BRANCH, CLASSES, LOSSES[2:3], SETTINGS)
    for (head,), lesson in zip(trained, lessons, strict=True):
        assert_same(head, lesson, LOSSES[2])
    assert len({len(head.training.curve) for (head,) in trained}) > 1


@pytest.mark.parametrize("changes", [{"weight_decay": 0.05}, {"dropout": 0.0}, {"batch": 1000, "epochs": 6}])
def test_settings_reach_the_heads(changes):
    lesson, settings = make_lesson(1), SETTINGS | changes
    ((plain,),) = train_heads([lesson], BRANCH, CLASSES, LOSSES[:1], SETTINGS)
    ((changed,),) = train_heads([lesson], BRANCH, CLASSES, LOSSES[:1], settings)
    assert_same(changed, lesson, LOSSES[0], settings)
    assert plain.training.curve != changed.training.curve


def test_without_validation_the_last_epoch_is_kept():
    lesson = make_lesson(2, held=0)
    ((head,),) = train_heads([lesson], BRANCH, CLASSES, LOSSES[:1], SETTINGS)
    assert head.training.epoch == SETTINGS["epochs"]
    assert_same(head, lesson, LOSSES[0])


def test_a_heads_bits_do_not_depend_on_who_marches_beside_it(monkeypatch):
    lessons = [make_lesson(seed, 40 - seed // 2) for seed in range(4)]
    settings = SETTINGS | {"epochs": 9}
    together = train_heads(lessons, BRANCH, CLASSES, LOSSES, settings)
    monkeypatch.setattr(marching, "TOGETHER", 1)
    one_by_one = train_heads(lessons, BRANCH, CLASSES, LOSSES, settings)
    by_loss = [train_heads(lessons, BRANCH, CLASSES, [loss], settings) for loss in LOSSES]
    monkeypatch.undo()
    many = [train_heads(lessons, BRANCH, CLASSES, [loss], settings) for loss in LOSSES]
    for number in range(len(lessons)):
        for which in range(len(LOSSES)):
            first = together[number][which]
            for other in (one_by_one[number][which], by_loss[which][number][0], many[which][number][0]):
                assert first.training.curve == other.training.curve
                for mine, theirs in zip(first.head.parameters(), other.head.parameters(), strict=True):
                    assert torch.equal(mine, theirs)


def test_courses_of_unlike_features_march_together_and_change_nothing(monkeypatch):
    """Two experiments with other features, one of them wider: the bits of each are those of a call of its own."""
    courses = [
        RepeatData([make_lesson(seed) for seed in range(3)], BRANCH, LOSSES[1:2]),
        RepeatData([make_lesson(seed + 5, features=80) for seed in range(3)], BRANCH, LOSSES[2:3]),
        RepeatData([make_lesson(8)], BRANCH, LOSSES),
    ]
    together = train_courses(courses, CLASSES, SETTINGS)
    monkeypatch.setattr(marching, "ENOUGH", 2)  # The four heads of the last course march by themselves.
    for course, trained in zip(courses, together, strict=True):
        (alone,) = train_courses([course], CLASSES, SETTINGS)
        for mine, theirs in zip(sum(trained, []), sum(alone, []), strict=True):
            assert mine.training.curve == theirs.training.curve
            for one, other in zip(mine.head.parameters(), theirs.head.parameters(), strict=True):
                assert torch.equal(one, other)
    for (head,), lesson in zip(together[1], courses[1].lessons, strict=True):
        assert_same(head, lesson, LOSSES[2])


def test_a_silent_feature_keeps_its_first_weights():
    """It has no gradient; on validation and test people it may speak, and its weights then count."""
    lesson = make_lesson(3)
    ((head,),) = train_heads([lesson], BRANCH, CLASSES, LOSSES[:1], SETTINGS)
    with repeatable(*lesson.seed):
        start = Head(50, SETTINGS["hidden"], CLASSES, 0.3)[0].weight
    silent = np.arange(0, 50, 3)
    assert torch.equal(head.head[0].weight[:, silent], start[:, silent])
    spoken = np.setdiff1d(np.arange(50), silent)
    assert not torch.isclose(head.head[0].weight[:, spoken], start[:, spoken]).all(dim=0).any()


def test_answer_is_the_mean_probability_over_rows():
    lesson = make_lesson(4)
    ((head, other),) = train_heads([lesson], BRANCH, CLASSES, LOSSES[:2], SETTINGS)
    clip = lesson.held_rows[0]
    rows = torch.from_numpy((clip - head.standard.mean) / head.standard.scale)
    with torch.no_grad():
        expected = head.head(rows).double().softmax(dim=1).mean(dim=0)
    np.testing.assert_allclose(head.probabilities(clip[None])[0], expected, atol=1e-6)
    both = probabilities([head, other], lesson.held_rows)
    np.testing.assert_array_equal(both[0], head.probabilities(lesson.held_rows))
    np.testing.assert_array_equal(both[1], other.probabilities(lesson.held_rows))
    assert not np.array_equal(*both)


def test_class_weights_move_the_answers():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 2, 4)).astype(np.float32), np.arange(60) % 3
    lesson = FoldData(rows[:40], labels[:40], rows[40:], labels[40:], (0,))
    losses = [{"name": "focal", "alpha": alpha, "gamma": 0.0} for alpha in (1.0, [0.01, 0.01, 1.0])]
    (trained,) = train_heads([lesson], np.zeros(2, int), 3, losses, SETTINGS)
    shares = [head.probabilities(rows)[:, 2].mean() for head in trained]
    assert shares[0] < 0.45 and shares[1] > 0.6


SHAPES = {"weight_1": (3, 4), "bias_1": (3,), "weight_2": (2, 3), "bias_2": (2,), "mean": (2, 4), "scale": (2, 4)}


@pytest.mark.parametrize(
    "changes",
    [
        {"weight_2": np.ones((2, 4), np.float32)},
        {"mean": np.ones((2, 3), np.float32)},
        {"bias_2": np.ones((), np.float32)},
        {"weight_1": np.ones((3, 4), np.int32)},
        {"branch": np.array([0, 2])},
        {"branch": np.array([[0]])},
        {"seed": None},
        {"fold": 1},
    ],
)
def test_heads_that_do_not_fit_together_are_refused_when_they_are_loaded(tmp_path, changes):
    arrays = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    good = SavedHead(0, "s1", np.array([0, 1, 1]), arrays)
    save_heads([good], tmp_path / "h.safetensors", {})
    assert load_heads(tmp_path / "h.safetensors")[0].network()(torch.ones(1, 3, 4)).shape == (1, 3, 2)
    own = {name: changes[name] for name in changes if name in ("branch", "seed", "fold")}
    bad = good._replace(arrays=arrays | {name: changes[name] for name in changes if name in arrays}, **own)
    save_heads([bad], tmp_path / "h.safetensors", {})
    with pytest.raises(InputError, match="holds no heads of merflow"):
        load_heads(tmp_path / "h.safetensors")


def test_a_training_that_diverges_is_named():
    lesson, good = make_lesson(5)._replace(fold="sub07"), make_lesson(6)._replace(fold="sub01")
    lesson.rows[3, 0, 1] = np.inf
    told = "^fold sub07: training diverged in epoch 1 .*smaller learning_rate"
    with np.errstate(invalid="ignore"), pytest.raises(ConfigError, match=told):
        train_heads([good, lesson], BRANCH, CLASSES, LOSSES[:2], SETTINGS)


def test_validation_clips_without_a_loss_are_named():
    lesson, good = make_lesson(5)._replace(fold="sub07"), make_lesson(6)._replace(fold="sub01")
    lesson.held_rows[:] = np.nan
    told = "^fold sub07: training diverged: no loss of the validation clips .*smaller learning_rate"
    with pytest.raises(ConfigError, match=told):
        train_heads([good, lesson], BRANCH, CLASSES, LOSSES[:2], SETTINGS)


def test_standardised_by_the_training_rows_of_each_branch():
    rng = np.random.default_rng(0)
    rows = rng.normal([[[5.0, 1.0]], [[50.0, 1.0]]], [[[2.0, 0.0]], [[20.0, 0.0]]], (2, 40, 2)).transpose(1, 0, 2)
    standard = Standard.of(rows.astype(np.float32), np.array([0, 1]))
    scaled = standard.of_some(rows.astype(np.float32))
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), [[1, 0], [1, 0]], atol=1e-4)
    np.testing.assert_array_equal(standard.speaks, [True, False])
    np.testing.assert_array_equal(standard.of_some(rows, np.array([1])), scaled[..., 1:])


def test_a_feature_that_is_silent_in_training_does_not_drown_the_others():
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (40, 1, 3)).astype(np.float32)
    rows[:, 0, 2] = 1e-4 * rng.random(40)
    spoken = np.array([[[0.0, 0.0, 1.0]]], np.float32)
    assert np.abs(Standard.of(rows, np.array([0])).of_some(spoken)).max() < 10, "over its own deviation: thousands"
    assert np.abs(spoken / rows.std(axis=0)).max() > 1000


@pytest.mark.parametrize("which", range(len(LOSSES)))
def test_stacked_losses_are_the_single_ones(which):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(len(LOSSES), CLASSES, 20, generator=generator)
    target = torch.randint(0, CLASSES, (1, 20), generator=generator)
    stacked = StackedLoss(LOSSES, CLASSES)
    single = make_loss(LOSSES[which], CLASSES)(scores[which].T, target[0])
    torch.testing.assert_close(stacked(scores, target)[which].mean(), single)
    some = stacked.of(torch.tensor([which]))(scores[[which]], target)
    assert torch.equal(some[0], stacked(scores, target)[which])


def test_dropout_is_torchs_in_law():
    x = torch.ones(400, 500)
    ours, theirs = Dropout(0.3), nn.Dropout(0.3)
    with repeatable(0):
        made, expected = ours(x), theirs(x)
    assert set(made.unique().tolist()) == set(expected.unique().tolist())
    assert made.mean() == pytest.approx(1, abs=0.01)
    assert torch.equal(copy.deepcopy(ours).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def on_disk(lesson):
    """The same lesson, its rows on the disk in another order of clips."""
    rows = np.concatenate([lesson.held_rows, lesson.rows])
    stored, held = DiskArray(iter(rows)), len(lesson.held_rows)
    places = np.arange(len(rows))
    return lesson._replace(rows=DiskArrayView(stored, places[held:]), held_rows=DiskArrayView(stored, places[:held]))


@pytest.mark.parametrize("changes", [{}, {"weight_decay": 0.05}, {"dropout": 0.0}])
@pytest.mark.parametrize("held", [12, 0])
def test_rows_on_the_disk_give_the_same_bits(monkeypatch, changes, held):
    """Read whole, batch by batch, and with dropout and validation in small parts."""
    lessons = [make_lesson(seed, 40 - seed, held, features=300) for seed in range(3)]
    for lesson in lessons:
        lesson.held_rows[..., ::3] = 1.5  # So many are silent in training that some are kept apart.
    settings = SETTINGS | {"epochs": 4} | changes
    assert len(frame_of(lessons, BRANCH, SETTINGS).silent) > 40
    expected = train_heads(lessons, BRANCH, CLASSES, LOSSES[:2], settings)
    stored = [on_disk(lesson) for lesson in lessons]
    for name, value in (("TOGETHER", marching.TOGETHER), ("IN_MEMORY", 0), ("READ_WHOLE", 0), ("DRAWN", 1)):
        monkeypatch.setattr(marching, name, value)
        assert stored[0].stays == (marching.IN_MEMORY == 0)
        found = train_heads(stored, BRANCH, CLASSES, LOSSES[:2], settings)
        for mine, theirs, lesson in zip(sum(found, []), sum(expected, []), np.repeat(np.arange(3), 2), strict=True):
            assert mine.training.curve == theirs.training.curve
            for one, other in zip(mine.head.parameters(), theirs.head.parameters(), strict=True):
                assert torch.equal(one, other)
            rows = mine.probabilities(stored[lesson].rows)
            np.testing.assert_array_equal(rows, theirs.probabilities(lessons[lesson].rows))


def test_a_course_in_parts_is_the_course(monkeypatch):
    """Another lesson makes other features speak and has a longer validation: the sizes are those of all."""
    lessons = [make_lesson(0), make_lesson(1, 30, 20)]
    lessons[1].rows[:, :, 3] = np.arange(30)[:, None]
    whole = train_heads(lessons, BRANCH, CLASSES, LOSSES[:1], SETTINGS)
    frame = frame_of(iter(lessons), BRANCH, SETTINGS)
    smaller = frame_of(lessons[:1], BRANCH, SETTINGS)
    assert frame.held > smaller.held
    monkeypatch.setattr(marching, "Frame", None)  # No part has sizes of its own.
    for lesson, (theirs,) in zip(lessons, whole, strict=True):
        (((mine,),),) = train_courses([RepeatData([lesson], BRANCH, LOSSES[:1], frame)], CLASSES, SETTINGS)
        assert mine.training.curve == theirs.training.curve
        for one, other in zip(mine.head.parameters(), theirs.head.parameters(), strict=True):
            assert torch.equal(one, other)


def test_memory_of_a_lesson_on_the_disk_does_not_grow_with_its_clips():
    """90 MB of rows, more than are held: a head learns from them and answers them in a fraction of that."""
    code = (
        "import resource, numpy as np\n"
        "from merflow.systems.tsdgcn.heads import *\n"
        "from merflow.storage.disk_arrays import DiskArray, DiskArrayView\n"
        "settings = {'hidden': 16, 'dropout': 0.5, 'learning_rate': 1e-3, 'decay': 0.0, 'epochs': 1, 'patience': 1,\n"
        "            'batch': 64, 'weight_decay': 0.0}\n"
        "one = np.random.default_rng(0).normal(size=(5, 1000)).astype(np.float32)\n"
        "def peak(clips):\n"
        "    rows, places = DiskArray(one + n % 3 for n in range(clips)), np.arange(clips)\n"
        "    taught, held = places[: 3 * clips // 4], places[3 * clips // 4 :]\n"
        "    lesson = FoldData(DiskArrayView(rows, taught), taught % 3, DiskArrayView(rows, held), held % 3, (0,))\n"
        "    course = RepeatData([lesson], np.zeros(5, int), [{'name': 'cross-entropy'}])\n"
        "    (((head,),),) = train_heads([course], 3, settings)\n"
        "    head.probabilities(lesson.rows)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(-peak(100) + peak(4500))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=True)
    assert int(done.stdout) < 40_000, "KiB"
