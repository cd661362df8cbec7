"""Checkpoints: a training that was killed ends with the bits of an undisturbed one, and no training is repeated."""

import json
import logging

import h5py
import pytest
import torch
from clip_network_training import train
from flow_caches import balanced, make_cache
from graph_caches import FAST, OWN
from graph_caches import make_cache as make_graph_cache
from torch import nn
from torch.nn import functional
from training_jobs import pretrain, train_graph_folds

from merflow.errors import ConfigError
from merflow.learning import checkpoints
from merflow.learning.checkpoints import Checkpoints
from merflow.learning.fit import Rows, fit, repeatable, scores_of
from merflow.learning.settings import Schedule
from merflow.systems.tsdgcn.graph import build_graph

SCHEDULE = Schedule(epochs=20, patience=4, learning_rate=3e-2, decay=1e-3, batch=8, weight_decay=1e-4)


@pytest.fixture(autouse=True)
def save_every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoints, "INTERVAL", 0.0)


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


def learn(folder=None, dies_in=None, about="", shift=0.0, validated=True, schedule=SCHEDULE, draws=7, weights=7):
    """One training; its network, result, and numbers drawn right after it."""
    training, validation = data(shift)
    with repeatable(weights):
        model = Net(dies_in)
    with repeatable(draws):
        states = Checkpoints(folder, about) if folder else None
        result = fit(
            model,
            functional.cross_entropy,
            training,
            validation if validated else None,
            schedule,
            "fold",
            states,
            answer=lambda: scores_of(model, validation.x, 8).argmax(dim=1).tolist(),
        )
        return model, result, torch.rand(3).tolist()


def same(first, second):
    weights = zip(first[0].state_dict().values(), second[0].state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in weights) and first[1:] == second[1:]


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("dies_in", [1, 5, 14, 25])  # The best epoch is the third of seven, of 4 steps each.
def test_killed_training_resumes_with_same_bits(tmp_path, dies_in, validated):
    whole = learn(validated=validated)
    assert (whole[1].epoch, whole[0].steps) == ((3, 7 * 4) if validated else (20, 20 * 4))
    with pytest.raises(Killed):
        learn(tmp_path, dies_in, validated=validated)
    again = learn(tmp_path, validated=validated)
    assert same(whole, again)
    assert again[0].steps == whole[0].steps - (dies_in - 1) // 4 * 4, "finished epochs of 4 steps are not done again"


def test_finished_training_is_not_repeated(tmp_path):
    whole, again = learn(tmp_path), learn(tmp_path)
    assert same(whole, again) and again[0].steps == 0


def test_each_training_of_a_job_has_its_checkpoint(tmp_path):
    def job(dies_in=None):
        states = Checkpoints(tmp_path)
        training, validation = data()
        models = []
        with repeatable(7):
            for index in range(3):
                models.append(Net(dies_in if index == 1 else None))
                fit(models[-1], functional.cross_entropy, training, validation, SCHEDULE, "fold", states)
        states.remove()
        return models

    with pytest.raises(Killed):
        job(dies_in=6)
    assert len(list(tmp_path.iterdir())) == 2
    again = job()
    assert [model.steps for model in again][0] == 0 and again[1].steps > 0 and not tmp_path.exists()
    for first, second in zip(job(), again, strict=True):
        assert torch.equal(first.layers[0].weight, second.layers[0].weight)


@pytest.mark.parametrize(
    "changes",
    [
        {"about": "other code or settings"},
        {"shift": 1e-6},
        {"validated": False},
        {"draws": 8},
        {"weights": 8},
        {"schedule": Schedule(20, 4, 3e-2, 1e-3, 8, 0.0)},
    ],
)
def test_checkpoint_of_another_training_is_ignored(tmp_path, changes):
    with pytest.raises(Killed):
        learn(tmp_path, dies_in=14)
    assert same(learn(**changes), learn(tmp_path, **changes))


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_broken_checkpoint_is_ignored(tmp_path, content, caplog):
    with pytest.raises(Killed):
        learn(tmp_path, dies_in=14)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7] if content is None else content)
    assert same(learn(), learn(tmp_path))
    assert "training starts from the beginning" in caplog.text


@pytest.mark.parametrize("name", ["network/layers.0.weight", "generator/cpu", "optimiser/0/exp_avg"])
def test_damaged_checkpoint_is_ignored(tmp_path, name, caplog):
    """Otherwise a flipped bit in a weight would stay unnoticed, and one in the generator's state would crash."""
    with pytest.raises(Killed):
        learn(tmp_path, dies_in=14)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    size = int.from_bytes(data[:8], "little")
    offset = 8 + size + json.loads(data[8 : 8 + size])[name]["data_offsets"][0]
    data[offset + 2] ^= 1
    file.write_bytes(data)
    assert same(learn(), learn(tmp_path))
    assert "is damaged; training starts from the beginning" in caplog.text


def test_unwritable_checkpoint_does_not_stop_training(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    assert same(learn(), learn(tmp_path / "file"))
    assert "training continues without" in caplog.text


def test_checkpoints_are_not_written_too_often(tmp_path, monkeypatch):
    times = iter(range(0, 1000, 10))
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(checkpoints, "INTERVAL", 35)
    states = Checkpoints(tmp_path)
    assert [states.due() for _ in range(9)] == [False, False, False, True] * 2 + [False]


def test_checkpoint_is_safetensors_with_json(tmp_path):
    from safetensors import safe_open

    with pytest.raises(Killed):
        learn(tmp_path, dies_in=14)
    (file,) = tmp_path.iterdir()
    with safe_open(file, framework="pt") as content:
        assert json.loads(content.metadata()["progress"])["epoch"] == 3
        assert "generator/cpu" in content.keys()  # noqa: SIM118


# --- jobs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dying(monkeypatch):
    """Let a job die right after a number of states is written; every epoch writes one."""
    honest = checkpoints.Checkpoint.save

    def run(after, job):
        written = []

        def save(self, *state):
            honest(self, *state)
            written.append(1)
            if len(written) == after:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints.Checkpoint, "save", save)
            with pytest.raises(Killed):
                job()

    return run


def outputs(folder):
    return {file.name: file.read_bytes() for file in folder.glob("*.*") if file.is_file()}


def flip(cache):
    with h5py.File(cache, "r+") as file:
        file["flow"][:] = file["flow"][:][..., ::-1]


AUGMENT = {"mirror": True, "rotation": 5.0, "shift": 0.04, "scale": 0.05, "strength": 0.2}
NETWORK = {"epochs": 3, "epoch_choice": "refit"}
CLIP_JOBS = {
    "refit": ("ststnet", NETWORK, {}),
    "average": ("msjfn", {"epochs": 6, "epoch_choice": "average", "average_seeds": 2}, {"augment": AUGMENT}),
    "pairs": ("mersiamc3d", NETWORK | {"frozen": 1}, {}),
    "nested": (
        "msjfn",
        NETWORK,
        {"selection": "nested", "inner_folds": 2, "grid": {"network.fusion": ["none", "learned"]}},
    ),
}


@pytest.mark.parametrize("after", [1, 4, 6])
@pytest.mark.parametrize("kind", CLIP_JOBS)
def test_killed_clip_network_fold_resumes_with_same_bits(tmp_path, dying, kind, after, caplog):
    system, network, settings = CLIP_JOBS[kind]
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=4, each=1))

    def job(folder):
        train([cache], system, tmp_path / folder, "people/s1", changes=network, **settings)

    job("whole")
    dying(after, lambda: job("killed"))
    assert not outputs(tmp_path / "killed") and (tmp_path / "killed/checkpoints").is_dir()
    with caplog.at_level(logging.INFO):
        job("killed")
    assert caplog.text.count("resumed after epoch") >= 1
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")
    assert not (tmp_path / "killed/checkpoints").exists()


@pytest.mark.parametrize("change", ["clips", "code", "settings"])
def test_fold_with_other_inputs_ignores_checkpoint(tmp_path, dying, change, caplog):
    """A state depends on the pixels of the clips, not on their number and classes alone."""
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=4, each=1))

    def job(folder, code="", network=NETWORK):
        train([cache], "mersiamc3d", tmp_path / folder, "people/s1", changes=network, code=code)

    dying(5, lambda: job("killed"))
    if change == "clips":
        flip(cache)
    other = {"code": {"code": "new"}, "settings": {"network": NETWORK | {"frozen": 2}}}.get(change, {})
    with caplog.at_level(logging.INFO):
        job("killed", **other)
    assert "resumed after epoch" not in caplog.text
    job("whole", **other)
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")


def test_killed_tsdgcn_fold_resumes_unless_graph_differs(tmp_path, dying, caplog):
    make_graph_cache(tmp_path / "micro.h5", 3, 1, 1, "micro")
    for seed in (0, 1):
        build_graph(16, 4, 2, seed=seed).save(tmp_path / f"graph{seed}.h5")

    def job(folder, graph=0):
        (tmp_path / folder).mkdir(exist_ok=True)
        files = {"predictions": "p.csv", "accuracy_train": "a.csv", "curves": "c.csv"}
        files = {name: tmp_path / folder / file for name, file in files.items()}
        settings = OWN | {"head": OWN["head"] | {"epochs": 4}}
        plan = [tmp_path / f"graph{graph}.h5"]
        train_graph_folds(
            [tmp_path / "micro.h5"], plan, [], None, **files, settings=settings, seed=0, folds=["micro/s1"]
        )

    for graph in (0, 1):
        job(f"whole{graph}", graph)
        dying(2, lambda graph=graph: job(f"killed{graph}"))
        caplog.clear()
        with caplog.at_level(logging.INFO):
            job(f"killed{graph}", graph)
        assert ("resumed after epoch" in caplog.text) == (graph == 0)
        assert outputs(tmp_path / f"killed{graph}") == outputs(tmp_path / f"whole{graph}")
        assert not (tmp_path / f"killed{graph}/checkpoints").exists()


def test_killed_pretraining_resumes_unless_settings_differ(tmp_path, dying, caplog):
    macro = make_graph_cache(tmp_path / "macro.h5", 4, 1, 0, "macro")
    build_graph(16, 4, 2).save(tmp_path / "graph.h5")

    def job(folder, **settings):
        (tmp_path / folder).mkdir(exist_ok=True)
        block = FAST | {"epochs": 4} | settings
        pretrain(
            macro, tmp_path / "graph.h5", tmp_path / folder / "w.safetensors", tmp_path / folder / "w.csv", block, 3
        )

    for name, settings in (("same", {}), ("other", {"dropout": 0.0})):
        job(f"whole-{name}", **settings)
        dying(2, lambda name=name: job(f"killed-{name}"))
        caplog.clear()
        with caplog.at_level(logging.INFO):
            job(f"killed-{name}", **settings)
        assert ("resumed after epoch" in caplog.text) == (name == "same")
        assert outputs(tmp_path / f"killed-{name}") == outputs(tmp_path / f"whole-{name}")
        assert not list((tmp_path / f"killed-{name}").glob("*.checkpoints"))


def test_validation_loss_that_is_never_a_number_is_an_error():
    training, validation = data()
    with repeatable(0), pytest.raises(ConfigError, match="was not a number in any of 2 epochs"):
        model, loss = Net(), functional.cross_entropy
        fit(model, lambda x, y: loss(x, y) if model.training else loss(x, y) * float("nan"), training, validation,
            Schedule(2, 5, 1e-3, 0.0, 8, 0.0))  # fmt: skip
