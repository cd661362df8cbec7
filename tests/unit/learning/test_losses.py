"""Focal loss against the formula in float64 and against torch's cross entropy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from merflow.errors import ConfigError
from merflow.learning.losses import class_weights, focal_loss, make_loss
from merflow.learning.settings import LossSettings


def by_formula(logits, target, alpha, gamma):
    total = 0.0
    for row, y in zip(logits.tolist(), target.tolist(), strict=True):
        shares = [math.exp(value - max(row)) for value in row]
        p = shares[y] / sum(shares)
        weight = alpha[y] if isinstance(alpha, list) else alpha
        total += -weight * (1 - p) ** gamma * math.log(p)
    return total / len(target)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    alpha=st.one_of(st.floats(0.1, 3), st.lists(st.floats(0.1, 3), min_size=4, max_size=4)),
    gamma=st.sampled_from([0, 0.1, 0.5, 1, 1.5, 2]),
)
def test_focal_loss_is_eq_6(seed, alpha, gamma):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(7, 4, generator=generator, dtype=torch.float64) * 2
    target = torch.randint(4, (7,), generator=generator)
    assert float(focal_loss(logits, target, alpha, gamma)) == pytest.approx(by_formula(logits, target, alpha, gamma))


def test_focal_loss_without_focus_is_cross_entropy():
    logits, target = torch.randn(50, 5), torch.arange(50) % 5
    for x in (logits, logits * 40):
        focal, entropy = x.clone().requires_grad_(), x.clone().requires_grad_()
        focal_loss(focal, target, 1.0, 0.0).backward()
        functional.cross_entropy(entropy, target).backward()
        torch.testing.assert_close(focal_loss(x, target, 1.0, 0.0), functional.cross_entropy(x, target))
        torch.testing.assert_close(focal.grad, entropy.grad)
    assert float(focal_loss(logits, target, 1.0, 1.0)) < 0.95 * float(functional.cross_entropy(logits, target))


def test_focal_loss_of_two_classes_is_eq_7():
    p, alpha, gamma = 0.3, 0.7, 1.5
    logits = torch.tensor([[math.log(1 - p), math.log(p)]], dtype=torch.float64)
    for y, p_t in ((1, p), (0, 1 - p)):
        expected = -alpha * (1 - p_t) ** gamma * math.log(p_t)
        assert float(focal_loss(logits, torch.tensor([y]), alpha, gamma)) == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_focal_loss_gradients_are_finite(gamma):
    logits = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    target = torch.arange(6) % 3
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, target, [0.5, 1.0, 2.0], gamma), logits)
    sure = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    focal_loss(sure, torch.tensor([0, 0]), 1.0, gamma).backward()
    assert torch.isfinite(sure.grad).all()
    assert sure.grad[0].abs().max() < 1e-5
    assert sure.grad[1].abs().max() > 0.1


def test_focal_loss_gamma_favours_hard_rows():
    logits = torch.tensor([[4.0, 0.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    pulls = []
    for gamma in (0.0, 1.0, 2.0):
        (gradient,) = torch.autograd.grad(focal_loss(logits, torch.tensor([0, 0]), 1.0, gamma), logits)
        pulls.append(float(gradient[0].norm() / gradient[1].norm()))
    assert pulls[0] > pulls[1] > pulls[2]


def test_make_loss_by_name():
    logits, target = torch.randn(9, 3), torch.arange(9) % 3
    labels = np.arange(9) % 3
    cross_entropy = make_loss(LossSettings("cross-entropy", 1.0, 0.0), labels, 3)
    assert cross_entropy(logits, target) == functional.cross_entropy(logits, target)
    settings = LossSettings("focal", [1.0, 2.0, 3.0], 0.5)
    expected = focal_loss(logits, target, [1.0, 2.0, 3.0], 0.5)
    np.testing.assert_allclose(make_loss(settings, labels, 3)(logits, target), expected)
    with pytest.raises(ConfigError, match="3 values for 4 classes"):
        make_loss(settings, labels, 4)


@pytest.mark.parametrize("gamma", [None, 0.0, 2.0])
def test_balanced_weights_count_every_class_alike(gamma):
    """The mean over rows is the mean over classes of the mean of each class, by torch's own cross entropy."""
    labels = np.repeat([0, 1, 2], [12, 5, 3])
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    settings = LossSettings("cross-entropy", 1.0, 0.0) if gamma is None else LossSettings("focal", 1.0, gamma)
    value = make_loss(replace(settings, weights="balanced"), labels, 3)(logits, torch.from_numpy(labels))
    losses = functional.cross_entropy(logits, torch.from_numpy(labels), reduction="none")
    losses = losses * (1 - torch.exp(-losses)) ** (gamma or 0)
    np.testing.assert_allclose(value, np.mean([losses[labels == label].mean() for label in range(3)]), rtol=1e-5)


def test_balanced_weights_multiply_alpha_and_allow_a_class_without_clips():
    settings = LossSettings("focal", [1.0, 2.0, 1.0], 0.5, "balanced")
    np.testing.assert_allclose(class_weights(settings, np.array([0, 0, 0, 1]), 3), [4 / 9, 8 / 3, 4 / 3], rtol=1e-6)
