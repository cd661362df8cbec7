"""The training loop: decay, best epoch, divergence, repeatability."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from merflow.errors import ConfigError
from merflow.learning.fit import Rows, evaluate, fit, repeatable
from merflow.learning.settings import Schedule


def test_fit_equals_hand_written_loop():
    """Against a loop written out by hand with torch's own Adam."""
    torch.manual_seed(0)
    x, y = torch.randn(40, 6), torch.arange(40) % 3
    rows, validation = Rows(x[:28], y[:28]), Rows(x[28:], y[28:])
    schedule = Schedule(epochs=40, patience=4, learning_rate=0.03, decay=0.05, batch=10, weight_decay=0.01)
    with repeatable(5):
        net = torch.nn.Linear(6, 3)
        training = fit(net, functional.cross_entropy, rows, validation, schedule)
    with repeatable(5):
        other = torch.nn.Linear(6, 3)
        optimiser = torch.optim.Adam(other.parameters(), lr=0.03, weight_decay=0.01)
        losses, states, step = [], [], 0
        while len(losses) - 1 - int(np.argmin(losses or [0])) < 4 and len(losses) < 40:
            for rows in torch.randperm(28).split(10):
                optimiser.param_groups[0]["lr"] = 0.03 / (1 + 0.05 * step)
                optimiser.zero_grad()
                functional.cross_entropy(other(x[rows]), y[rows]).backward()
                optimiser.step()
                step += 1
            losses.append(functional.cross_entropy(other(x[28:]), y[28:]).item())
            states.append(other.weight.detach().clone())
    assert training.epoch == int(np.argmin(losses)) + 1
    assert len(training.curve) == 2 * len(losses) < 80
    np.testing.assert_allclose([r["loss"] for r in training.curve if r["split"] == "validation"], losses, rtol=1e-4)
    torch.testing.assert_close(net.weight, states[training.epoch - 1], rtol=1e-4, atol=1e-5)
    assert evaluate(net, functional.cross_entropy, validation, 5)["loss"] == pytest.approx(min(losses), rel=1e-4)


def test_fit_runs_all_epochs_without_validation():
    rows = Rows(torch.randn(9, 2), torch.arange(9) % 2)
    net = torch.nn.Linear(2, 2)
    training = fit(net, functional.cross_entropy, rows, None, Schedule(5, 1, 0.01, 0.0, 4, 0.0))
    assert training.epoch == 5
    assert [row["split"] for row in training.curve] == ["train"] * 5


def test_cosine_schedule_rises_and_falls_as_torch_schedulers_do():
    """Against torch's LinearLR and CosineAnnealingLR, one after the other."""
    schedule, steps = Schedule(10, 1, 0.1, 0.0, 4, 0.0, cosine=True), 200
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    rise = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / 10, 1, 9)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 190)
    expected = []
    for step in range(steps):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if step < 9:
            rise.step()
        elif step >= 10:
            fall.step()
    np.testing.assert_allclose([schedule.rate(step, steps) for step in range(steps)], expected, rtol=1e-6)


def test_schedule_reaches_the_optimiser():
    """With the rate near 0 at the end, the last steps move the weights much less than the middle ones."""
    rows, moved = Rows(torch.randn(8, 2), torch.arange(8) % 2), []
    net = torch.nn.Linear(2, 2)

    def watched(scores, y):
        moved.append(net.weight.detach().clone())
        return functional.cross_entropy(scores, y)

    fit(net, watched, rows, None, Schedule(40, 1, 0.01, 0.0, 8, 0.0, cosine=True))
    sizes = [float((after - before).norm()) for before, after in zip(moved, moved[1:], strict=False)]
    assert max(sizes[-3:]) < 0.1 * sizes[20]


class Normalised(torch.nn.Module):
    """A layer with batch normalisation; keeps its weights after each epoch, when the accuracy is asked for."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)

    def forward(self, x):
        return self.norm(self.layer(x))


def test_average_keeps_the_mean_weights_of_the_last_quarter():
    torch.manual_seed(0)
    rows = Rows(torch.randn(24, 2), torch.arange(24) % 2)
    with repeatable(3):
        net = Normalised()
        training = fit(net, functional.cross_entropy, rows, None, Schedule(8, 1, 0.05, 0.0, 24, 0.0, average=True))
    states = []
    for epochs in (7, 8):  # A quarter of eight.
        with repeatable(3):
            other = Normalised()
            fit(other, functional.cross_entropy, rows, None, Schedule(epochs, 1, 0.05, 0.0, 24, 0.0))
            states.append(other.layer.weight.detach())
    assert training.epoch == 8
    torch.testing.assert_close(net.layer.weight, (states[0] + states[1]) / 2)
    x = net.layer(rows.x)
    torch.testing.assert_close(net.norm.running_mean, x.mean(dim=0))
    torch.testing.assert_close(net.norm.running_var, x.var(dim=0))
    assert net.norm.momentum == 0.1 and not net.training


def test_average_keeps_the_statistics_of_layers_that_are_frozen():
    """Such a layer, as in MERSiamC3D, stays in evaluation mode."""

    class Frozen(Normalised):
        def train(self, mode=True):
            super().train(mode)
            self.norm.eval()
            return self

    net = Frozen()
    net.norm.running_mean[:] = 5
    rows = Rows(torch.randn(9, 2), torch.arange(9) % 2)
    fit(net, functional.cross_entropy, rows, None, Schedule(4, 1, 0.05, 0.0, 3, 0.0, average=True))
    assert (net.norm.running_mean == 5).all()


def test_fit_names_learning_rate_on_divergence():
    rows = Rows(torch.full((4, 2), 1e30), torch.arange(4) % 2)
    with pytest.raises(ConfigError, match="learning_rate"):
        fit(torch.nn.Linear(2, 2), functional.cross_entropy, rows, rows, Schedule(9, 9, 1e30, 0.0, 4, 0.0))


def test_repeatable_restores_generator():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with repeatable(7, 8):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with repeatable(7, 8):
        assert torch.equal(torch.rand(3), inside)
    with repeatable(7, 9):
        assert not torch.equal(torch.rand(3), inside)
