"""Checkpoints: a training that was killed ends with the bits of an undisturbed one, and nothing is learnt twice."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from merflow.checkpoints import Checkpoints
from merflow.training import Rows, Schedule, fit, repeatable

SCHEDULE = Schedule(epochs=9, patience=4, learning_rate=3e-3, decay=1e-3, batch=8, weight_decay=1e-4)


class Killed(Exception):
    """Stands for a signal."""


def data(shift=0.0):
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(40, 12, generator=generator) + shift, torch.randint(0, 3, (40,), generator=generator)
    return Rows(x[:30], y[:30]), Rows(x[30:], y[30:])


class Net(nn.Module):
    """Dropout and batch normalisation have states of their own: of the generator, and of the running averages."""

    def __init__(self, dies_in=None):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
        self.steps, self.dies_in = 0, dies_in

    def forward(self, x):
        if self.training:
            self.steps += 1
            if self.steps == self.dies_in:
                raise Killed
        return self.layers(x)


def learn(folder=None, dies_in=None, about="", shift=0.0, held=True, every=0.0, schedule=SCHEDULE):
    """One training; its network, course, and numbers drawn right after it."""
    training, validation = data(shift)
    with repeatable(7):
        model = Net(dies_in)
        checkpoints = Checkpoints(folder, about, every) if folder else None
        course = fit(
            model,
            functional.cross_entropy,
            training,
            validation if held else None,
            schedule,
            "fold",
            checkpoints,
        )
        return model, course, torch.rand(3).tolist()


def same(one, two):
    weights = zip(one[0].state_dict().values(), two[0].state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in weights) and one[1:] == two[1:]


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("dies_in", [1, 5, 14, 33])
def test_a_killed_training_ends_with_the_same_bits(tmp_path, dies_in, held):
    whole = learn(held=held)
    with pytest.raises(Killed):
        learn(tmp_path, dies_in, held=held)
    again = learn(tmp_path, held=held)
    assert same(whole, again)
    assert again[0].steps == whole[0].steps - (dies_in - 1) // 4 * 4, "finished epochs of 4 steps are not done again"


def test_a_finished_training_is_not_done_again(tmp_path):
    whole, again = learn(tmp_path), learn(tmp_path)
    assert same(whole, again) and again[0].steps == 0


def test_trainings_of_one_job_have_states_of_their_own(tmp_path):
    def job(dies_in=None):
        checkpoints = Checkpoints(tmp_path, "", 0.0)
        training, validation = data()
        models = []
        with repeatable(7):
            for place in range(3):
                models.append(Net(dies_in if place == 1 else None))
                fit(models[-1], functional.cross_entropy, training, validation, SCHEDULE, "fold", checkpoints)
        checkpoints.remove()
        return models

    with pytest.raises(Killed):
        job(dies_in=6)
    assert len(list(tmp_path.iterdir())) == 2
    again = job()
    assert [model.steps for model in again][0] == 0 and again[1].steps > 0 and not tmp_path.exists()
    for one, two in zip(job(), again, strict=True):
        assert torch.equal(one.layers[0].weight, two.layers[0].weight)


@pytest.mark.parametrize(
    "changes",
    [
        {"about": "other code or settings"},
        {"shift": 1e-6},
        {"held": False},
        {"schedule": Schedule(9, 4, 3e-3, 1e-3, 8)},
    ],
)
def test_a_state_of_another_training_is_not_taken_up(tmp_path, changes):
    with pytest.raises(Killed):
        learn(tmp_path, dies_in=14)
    assert same(learn(**changes), learn(tmp_path, **changes))


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_broken_state_is_left(tmp_path, content, caplog):
    with pytest.raises(Killed):
        learn(tmp_path, dies_in=14)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7] if content is None else content)
    assert same(learn(), learn(tmp_path))
    assert "training starts anew" in caplog.text


def test_a_state_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    assert same(learn(), learn(tmp_path / "file"))
    assert "training goes on without" in caplog.text


def test_states_are_written_no_more_often_than_asked(tmp_path, monkeypatch):
    times = iter(range(0, 1000, 10))
    checkpoints = Checkpoints(tmp_path, "", every=35, clock=lambda: next(times))
    assert [checkpoints.due() for _ in range(9)] == [False, False, False, True] * 2 + [False]


def test_the_file_is_safetensors_and_json(tmp_path):
    from safetensors import safe_open

    with pytest.raises(Killed):
        learn(tmp_path, dies_in=14)
    (file,) = tmp_path.iterdir()
    with safe_open(file, framework="pt") as content:
        assert json.loads(content.metadata()["course"])["epoch"] == 3
        assert "generator/cpu" in content.keys()  # noqa: SIM118
