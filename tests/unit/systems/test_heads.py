"""Heads that train together: each is what the training loop of all other networks makes of it alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from merflow.errors import ConfigError
from merflow.learning.fit import Rows, fit, repeatable
from merflow.learning.layers import Dropout
from merflow.learning.losses import class_weights, make_loss, row_losses
from merflow.learning.settings import LossSettings
from merflow.systems.samples import FoldData
from merflow.systems.settings import HeadSettings
from merflow.systems.tsdgcn import head_training
from merflow.systems.tsdgcn.heads import Head, StandardizedHead, Standardizer

CLASSES = 3
BRANCH = np.array([0, 0, 1])
SETTINGS = HeadSettings(
    hidden=24, dropout=0.3, epochs=25, patience=4, learning_rate=3e-3, decay=1e-3, batch=32, weight_decay=0.0
)
LOSSES = [
    LossSettings("cross-entropy", 1.0, 0.0),
    LossSettings("focal", 0.1, 0.5),
    LossSettings("focal", [0.2, 1.0, 3.0], 2.0),
    LossSettings("cross-entropy", 1.0, 0.0, "balanced"),
]


def make_data(clips=40, held_out=12, seed=0):
    """Clips of overlapping classes; a third of the features is constant, two of them on the training clips only."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, clips + held_out)
    centres = np.random.default_rng(99).normal(0, 0.6, (CLASSES, 50))
    rows = (centres[labels][:, None] + rng.normal(0, 1.5, (clips + held_out, 3, 50))).clip(0).astype(np.float32)
    rows[..., ::3] = 0
    rows[clips:, :, [0, 3]] = 1.5
    return rows, labels


ROWS, LABELS = make_data()


def make_fold(train=40, validation=12, seed=0, labels=LABELS, name=""):
    """The first clips train, the last ones validate."""
    train, validation = np.arange(train), np.arange(len(labels) - validation, len(labels))
    return FoldData(train, labels[train], validation, labels[validation], (seed, 7), name)


def train_heads(folds, loss=LOSSES[1], settings=SETTINGS, rows=ROWS, joined=False):
    return head_training.train_heads(rows, BRANCH, folds, loss, CLASSES, settings, joined)


def assert_trained_as_alone(trained, fold, loss, settings=SETTINGS, joined=False):
    """Compare with the same head by :func:`merflow.learning.fit.fit`."""
    standardizer = Standardizer.fit(ROWS, fold.train, BRANCH)

    def rows(indices, labels):
        x = standardizer.transform(ROWS[indices])
        if not joined:
            x, labels = x.reshape(-1, ROWS.shape[2]), np.repeat(labels, 3, axis=0)
        return Rows(torch.from_numpy(x), torch.from_numpy(labels))

    with repeatable(*fold.seed):
        head = Head(ROWS.shape[2], settings.hidden, CLASSES, settings.dropout, 3 if joined else 1)
        validation = rows(fold.validation, fold.validation_labels) if len(fold.validation) else None
        training = rows(fold.train, fold.train_labels)
        expected = fit(head, make_loss(loss, fold.train_labels, CLASSES), training, validation, settings)
    assert trained.training.epoch == expected.epoch
    for row, other in zip(trained.training.curve, expected.curve, strict=True):
        assert (row["epoch"], row["split"]) == (other["epoch"], other["split"])
        assert row["loss"] == pytest.approx(other["loss"], rel=2e-4)
        assert row["accuracy"] == pytest.approx(other["accuracy"], abs=0.02)
    for weight, other in zip(trained.head.parameters(), head.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=2e-3, atol=2e-4)


def assert_same_bits(heads, others):
    for head, other in zip(heads, others, strict=True):
        assert head.training == other.training
        for weight, other_weight in zip(head.head.parameters(), other.head.parameters(), strict=True):
            assert torch.equal(weight, other_weight)


# --- Training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES, ids=["cross-entropy", "focal", "class-weights", "balanced"])
def test_heads_of_unequal_folds_train_as_each_alone(loss):
    """Some folds have fewer clips, some a step less per epoch, and some stop early."""
    sizes = ((40, 12), (38, 9), (30, 12), (40, 3), (21, 12))
    folds = [make_fold(*size, seed) for seed, size in enumerate(sizes)]
    trained = train_heads(folds, loss)
    for head, fold in zip(trained, folds, strict=True):
        assert_trained_as_alone(head, fold, loss)
    assert len({len(head.training.curve) for head in trained}) > 1


@pytest.mark.parametrize("joined", [False, True])
def test_heads_of_action_units_train_as_each_alone(joined):
    loss, units = LossSettings("binary-cross-entropy", 1.0, 0.0, "balanced"), np.eye(CLASSES, dtype=np.int64)[LABELS]
    units[LABELS == 0, 1] = 1
    folds = [make_fold(*size, seed, units) for seed, size in enumerate(((40, 12), (38, 9)))]
    trained = train_heads(folds, loss, joined=joined)
    for head, fold in zip(trained, folds, strict=True):
        assert_trained_as_alone(head, fold, loss, joined=joined)
    probs = trained[0].probabilities(ROWS)
    assert (((probs > 0.5) == units)[:40].mean(axis=0) > 0.7).all() and (probs.sum(axis=1) > 1.2).any()


@pytest.mark.parametrize(
    "changes", [{"weight_decay": 0.05}, {"dropout": 0.0}, {"batch": 1000, "epochs": 6}, {"cosine": True}]
)
def test_head_settings_change_the_training(changes):
    fold, settings = make_fold(seed=1), replace(SETTINGS, **changes)
    (plain,), (changed,) = train_heads([fold]), train_heads([fold], settings=settings)
    assert_trained_as_alone(changed, fold, LOSSES[1], settings)
    assert plain.training.curve != changed.training.curve


def test_heads_of_whole_clips_train_as_each_alone():
    """All rows of a clip are one sample (``fusion: clip``)."""
    folds = [make_fold(*size, seed) for seed, size in enumerate(((40, 12), (38, 9), (21, 12)))]
    for head, fold in zip(train_heads(folds, joined=True), folds, strict=True):
        assert_trained_as_alone(head, fold, LOSSES[1], joined=True)


def test_head_of_whole_clips_classifies_the_outputs_of_all_rows():
    """X^out below Eq. 5: each row through the same layer, and one classifier over all of them."""
    fold = make_fold(seed=3)
    (head,) = train_heads([fold], joined=True)
    weight_1, bias_1, weight_2, bias_2 = (weight.detach().numpy() for weight in head.head.parameters())
    x = head.standardizer.transform(ROWS[:4]).astype(float)
    out = np.maximum(x @ weight_1.T + bias_1, 0)
    assert (weight_2.shape, out.shape) == ((CLASSES, 3 * SETTINGS.hidden), (4, 3, SETTINGS.hidden))
    scores = out.reshape(4, -1) @ weight_2.T + bias_2
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(head.probabilities(ROWS[:4]), expected, atol=1e-5)


def test_heads_with_and_without_validation_train_in_one_call():
    folds = [make_fold(seed=1), make_fold(validation=0, seed=2)]
    for head, fold in zip(train_heads(folds), folds, strict=True):
        assert_trained_as_alone(head, fold, LOSSES[1])


@pytest.mark.parametrize("average", [False, True])
def test_without_validation_the_last_epoch_is_kept_or_the_mean_of_the_last(average):
    fold, settings = make_fold(validation=0, seed=2), replace(SETTINGS, average=average)
    (head,) = train_heads([fold], settings=settings)
    assert head.training.epoch == SETTINGS.epochs
    assert_trained_as_alone(head, fold, LOSSES[1], settings)


def test_heads_have_the_same_bits_on_a_second_run():
    folds = [make_fold(seed=seed) for seed in range(3)]
    first = train_heads(folds)
    train_heads([make_fold(seed=5)], LOSSES[2])  # Another experiment, which leaves no trace.
    assert_same_bits(first, train_heads(folds))


def test_rows_of_other_clips_change_no_bit_of_a_head():
    fold = make_fold(30, 12)
    poisoned = ROWS.copy()
    poisoned[30:40] += 100
    assert_same_bits(train_heads([fold]), train_heads([fold], rows=poisoned))


def test_heads_train_the_same_in_smaller_batches(monkeypatch):
    folds = [make_fold(seed=seed) for seed in range(3)]
    together = train_heads(folds)
    monkeypatch.setattr(head_training, "BATCH_BYTES", 0)
    for head, other in zip(together, train_heads(folds), strict=True):
        np.testing.assert_allclose(head.probabilities(ROWS), other.probabilities(ROWS), atol=1e-5)


def test_weights_of_constant_features_stay_as_drawn():
    """They have no gradient; on validation and test clips the features may vary, and the weights then count."""
    fold = make_fold(seed=3)
    (head,) = train_heads([fold])
    with repeatable(*fold.seed):
        start = Head(50, SETTINGS.hidden, CLASSES, 0.3)[0].weight
    constant = np.arange(0, 50, 3)
    assert torch.equal(head.head[0].weight[:, constant], start[:, constant])
    others = np.setdiff1d(np.arange(50), constant)
    assert not torch.isclose(head.head[0].weight[:, others], start[:, others]).all(dim=0).any()


def test_class_weights_shift_the_predictions():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 3, 4)).astype(np.float32), np.arange(60) % 3
    fold = make_fold(40, 20, labels=labels)
    shares = [
        train_heads([fold], LossSettings("focal", alpha, 0.0), rows=rows)[0].probabilities(rows)[:, 2].mean()
        for alpha in (1.0, [0.01, 0.01, 1.0])
    ]
    assert shares[0] < 0.45 and shares[1] > 0.6


def test_class_weights_of_another_number_are_rejected():
    with pytest.raises(ConfigError, match="2 values for 3 classes"):
        train_heads([make_fold()], LossSettings("focal", [1.0, 2.0], 0.0))


def test_diverging_training_names_its_fold():
    rows = ROWS.copy()
    rows[35, 0, 1] = np.inf
    folds = [make_fold(30, name="sub01"), make_fold(36, name="sub07")]
    message = "^fold sub07: training diverged in epoch 1 .*smaller learning_rate"
    with np.errstate(invalid="ignore"), pytest.raises(ConfigError, match=message):
        train_heads(folds, rows=rows)


def test_validation_loss_that_is_no_number_names_its_fold():
    rows = ROWS.copy()
    rows[40] = np.nan
    folds = [make_fold(40, 11, name="sub01"), make_fold(40, 12, name="sub07")]
    message = "^fold sub07: training diverged: the loss of the validation clips .*smaller learning_rate"
    with pytest.raises(ConfigError, match=message):
        train_heads(folds, rows=rows)


def test_row_losses_average_to_the_loss():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 20, CLASSES, generator=generator)
    target = torch.randint(0, CLASSES, (2, 20), generator=generator)
    for loss in LOSSES:
        weights = torch.stack([class_weights(loss, LABELS[:size], CLASSES) for size in (9, 23)])
        for index, size in enumerate((9, 23)):
            mean = make_loss(loss, LABELS[:size], CLASSES)(scores[index], target[index])
            torch.testing.assert_close(row_losses(scores, target, weights, loss)[index].mean(), mean)


def test_dropout_has_the_law_of_torch():
    x = torch.ones(400, 500)
    dropout = Dropout(0.3)
    with repeatable(0):
        dropped, expected = dropout(x), nn.Dropout(0.3)(x)
    assert set(dropped.unique().tolist()) == set(expected.unique().tolist())
    assert dropped.mean() == pytest.approx(1, abs=0.01)
    assert torch.equal(dropout.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


# --- Standardisation and probabilities --------------------------------------------------------------------------------


def test_standardizer_scales_each_branch_by_its_rows():
    rng = np.random.default_rng(0)
    rows = rng.normal([[[5.0, 1.0]], [[50.0, 1.0]]], [[[2.0, 0.0]], [[20.0, 0.0]]], (2, 40, 2)).transpose(1, 0, 2)
    standardizer = Standardizer.fit(rows.astype(np.float32), np.arange(40), np.array([0, 1]))
    scaled = standardizer.transform(rows.astype(np.float32))
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), [[1, 0], [1, 0]], atol=1e-4)
    np.testing.assert_array_equal(standardizer.varies, [True, False])


def test_standardizer_is_that_of_numpy_over_rows_of_a_branch():
    clips = np.array([0, 5, 9, 30])
    standardizer = Standardizer.fit(ROWS, clips, BRANCH)
    both = ROWS[clips][:, :2].reshape(-1, 50)
    np.testing.assert_allclose(standardizer.mean[0], both.mean(axis=0), rtol=1e-5)
    deviation = both.std(axis=0)
    floor = 0.2 * np.sqrt(np.mean(deviation**2))
    np.testing.assert_allclose(standardizer.scale[1], np.maximum(deviation, floor), rtol=1e-5)


def test_almost_constant_feature_does_not_dominate():
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (40, 1, 3)).astype(np.float32)
    rows[:, 0, 2] = 1e-4 * rng.random(40)
    other = np.array([[[0.0, 0.0, 1.0]]], np.float32)
    assert np.abs(Standardizer.fit(rows, np.arange(40), np.array([0])).transform(other)).max() < 10
    assert np.abs(other / rows.std(axis=0)).max() > 1000


def test_probabilities_are_the_mean_over_rows():
    (head,) = train_heads([make_fold(seed=4)])
    standardizer, clip = head.standardizer, ROWS[45]
    rows = torch.from_numpy((clip - standardizer.mean) / standardizer.scale)
    with torch.no_grad():
        expected = head.head(rows).double().softmax(dim=1).mean(dim=0)
    np.testing.assert_allclose(head.probabilities(clip[None])[0], expected, atol=1e-6)
    assert head.probabilities(ROWS[:0]).shape == (0, CLASSES)


# --- Saved heads ------------------------------------------------------------------------------------------------------

SHAPES = {"weight_1": (3, 4), "bias_1": (3,), "weight_2": (2, 3), "bias_2": (2,), "mean": (2, 4), "scale": (2, 4)}


def test_saved_head_scores_as_the_trained_one():
    (head,) = train_heads([make_fold(seed=4)])
    arrays = {name: torch.from_numpy(array) for name, array in head.arrays(BRANCH).items()}
    with torch.no_grad():
        probs = StandardizedHead(BRANCH.tolist(), arrays)(torch.from_numpy(ROWS)).double().softmax(dim=2).mean(dim=1)
    np.testing.assert_allclose(probs, head.probabilities(ROWS), atol=1e-6)


@pytest.mark.parametrize(
    ("branch", "changes"),
    [
        ([0, 1, 1], {"weight_2": torch.ones(2, 4)}),
        ([0, 1, 1], {"mean": torch.ones(2, 3)}),
        ([0, 1, 1], {"weight_1": torch.ones(3, 4, dtype=torch.int32)}),
        ([0, 2], {}),
        ([[0]], {}),
    ],
)
def test_saved_head_of_wrong_shapes_is_rejected(branch, changes):
    arrays = {name: torch.ones(shape) for name, shape in SHAPES.items()}
    assert StandardizedHead([0, 1, 1], arrays)(torch.ones(1, 3, 4)).shape == (1, 3, 2)
    with pytest.raises(ValueError, match="do not fit together"):
        StandardizedHead(branch, arrays | changes)
