"""MERSiamC3D: pairs, prior and target learning, and that ablations change the graph."""

from itertools import permutations

import h5py
import numpy as np
import pytest
import torch
from clip_network_training import probs_of, train
from flow_caches import balanced, make_cache
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from merflow.errors import InputError
from merflow.learning.fit import Rows, fit, repeatable
from merflow.learning.settings import Schedule
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, read_table
from merflow.systems import mersiamc3d
from merflow.systems.mersiamc3d import MERSiamC3D, SameClass, Siamese, pair_loss

SCHEDULE = Schedule(epochs=9, patience=5, learning_rate=3e-3, decay=0.0, batch=16, weight_decay=0.0)


def made(**options):
    with repeatable(0):
        return MERSiamC3D(3, dropout=0.0, width=4, prior_epochs=2, **options)


def rows(count, strength=0.0, seed=0):
    """Clips of three classes; ``strength`` of what tells them apart."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    x = torch.randn(count, 3, 4, 16, 16, generator=generator)
    for n, label in enumerate(y.tolist()):
        x[n, 0, :, :, 5 * label : 5 * label + 5] += strength
    return Rows(x, y)


@settings(deadline=None)
@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_pairs_of_one_class_and_of_two_count_equally(labels, seed):
    labels = torch.tensor(labels)
    same = SameClass(labels)[torch.arange(len(labels))]
    scores = torch.randn(same.shape, generator=torch.Generator().manual_seed(seed))
    losses = {1: [], 0: []}
    for first, second in permutations(range(len(labels)), 2):
        kind = int(labels[first] == labels[second])
        sign = 1 if kind else -1
        losses[kind].append(torch.log1p(torch.exp(-sign * scores[first, second])))
    expected = sum(torch.stack(of_kind).mean() / 2 for of_kind in losses.values() if of_kind)
    torch.testing.assert_close(pair_loss(scores, same), torch.as_tensor(expected, dtype=torch.float32))


def test_siamese_is_symmetric_and_shares_its_branch():
    model, clips = made().eval(), rows(6).x
    siamese = Siamese(model.branch).eval()
    scores = siamese(clips)
    torch.testing.assert_close(scores, scores.T)
    torch.testing.assert_close(scores.diagonal(), siamese.compare.bias.expand(6))
    first, second = model.branch(clips[1:2]), model.branch(clips[4:5])
    torch.testing.assert_close(scores[1, 4], siamese.compare((first - second).abs()).squeeze())


def test_siamese_separates_classes_of_unseen_clips():
    learnt, other = rows(36, 1.0), rows(30, 1.0, seed=1)
    with repeatable(0):
        siamese = Siamese(made().branch)
        pairs = Rows(learnt.x, SameClass(learnt.y))
        fit(siamese, pair_loss, pairs, None, Schedule(24, 1, 3e-3, 0.0, 16, 0.0))
        right = (siamese(other.x) > 0) == (other.y[:, None] == other.y)
    for kind in (True, False):
        assert right[(other.y[:, None] == other.y) == kind].double().mean() > 0.8


def test_prior_sees_no_clip_but_those_that_train(tmp_path, monkeypatch):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=5))
    seen, honest = [], mersiamc3d.fit

    def watched(network, loss, training, *rest):
        seen.append(training.x[torch.arange(len(training.y))])
        return honest(network, loss, training, *rest)

    monkeypatch.setattr(mersiamc3d, "fit", watched)
    train([cache], "mersiamc3d", tmp_path, "people/s1", changes={"epochs": 1})
    ((clips,),) = (seen,)
    assert len(clips) == 18, "30 clips, 6 of the person that is tested, 6 of validation"
    with h5py.File(cache, "r+") as file:
        mine = file["subject"].asstr()[:] == "people/s1"
        file["flow"][mine] = 9 + file["flow"][mine]
    train([cache], "mersiamc3d", tmp_path, "people/s1", changes={"epochs": 1})
    assert torch.equal(*seen), "another face of the test changes nothing in them"


def test_prior_learning_changes_the_branch_only():
    training = rows(12)
    models = [made(), made(), made(prior=False)]
    before = [weight.clone() for weight in models[0].parameters()]
    with repeatable(0):
        assert models[0].prior(training, SCHEDULE, "fold").epoch == 2
        assert models[2].prior(training, SCHEDULE, "fold") is None, "the ablation"
    moved = [not torch.equal(first, second) for first, second in zip(before, models[0].parameters(), strict=True)]
    assert all(moved[:-2]) and not any(moved[-2:]), "all of the branch, none of the classifier"
    for first, second in zip(before, models[2].parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("frozen", [0, 2])
def test_frozen_layers_do_not_change(frozen):
    training = rows(12)
    model = made(frozen=frozen)
    with repeatable(0):
        model.prior(training, SCHEDULE, "fold")
        before = [{k: v.clone() for k, v in layer.state_dict().items()} for layer in model.branch.layers]
        fit(model, functional.cross_entropy, training, None, Schedule(2, 1, 3e-3, 0.0, 8, 0.0))
    for index, (layer, old) in enumerate(zip(model.branch.layers, before, strict=True)):
        same = all(torch.equal(value, old[name]) for name, value in layer.state_dict().items())
        assert same == (index < frozen), "weights and running averages"


def test_curve_has_both_stages(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=4))
    _, files = train([cache], "mersiamc3d", tmp_path, "people/s1", changes={"epochs": 3, "epoch_choice": "refit"})
    curve = read_table(files["curves"], CURVES)
    assert set(curve["stage"]) == {"prior", "finetune"} and set(curve["name"]) == {"people/s1"}
    assert curve.query("stage == 'prior'")["epoch"].max() == 2
    (row,) = read_table(files["accuracy_train"], ACCURACY_TRAIN).to_dict("records")
    assert row["stage"] == "finetune" and row["n"] == 18, "validation clips train in the end"


def test_ablations_predict_differently(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=4))
    with h5py.File(cache, "r+") as file:
        file["spatial"] = np.random.default_rng(0).integers(0, 255, (24, 3, 32, 32), dtype=np.uint8)
    ways = {
        "all": {},
        "no prior": {"changes": {"prior": False}},
        "cross-entropy": {"loss": {"name": "cross-entropy"}},
        "magnitude": {"changes": {"input_kind": "flows-magnitude"}},
        "key-frames": {"changes": {"input_kind": "key-frames"}},
    }
    predictions = {}
    for name, way in ways.items():
        changes = {"epochs": 2} | way.get("changes", {})
        rest = {key: value for key, value in way.items() if key != "changes"}
        table, _ = train([cache], "mersiamc3d", tmp_path / name.replace(" ", "-"), "people/s1", changes=changes, **rest)
        predictions[name] = probs_of(table).tobytes()
    assert len(set(predictions.values())) == len(ways)


@pytest.mark.parametrize("input_kind, channels", [("flows", 3), ("flows-magnitude", 3), ("key-frames", 1)])
@pytest.mark.parametrize("frames", [1, 3, 10])
def test_clips_of_any_length_are_classified(input_kind, channels, frames):
    assert made(input_kind=input_kind)(torch.zeros(2, channels, frames, 20, 20)).shape == (2, 3)


def test_time_is_read():
    """Another order of the same frames is another clip: the network is no bag of frames."""
    model, clip = made().eval(), rows(2).x
    assert not torch.allclose(model(clip), model(clip.flip(2)))


def test_the_first_pooling_leaves_time_alone():
    model, frames = made().eval(), []
    for layer in model.branch.layers:
        layer.register_forward_hook(lambda _, inputs, __: frames.append(inputs[0].shape[2:]))
    model(torch.zeros(1, 3, 8, 32, 32))
    assert frames == [(8, 32, 32), (8, 16, 16), (4, 8, 8), (2, 4, 4)]


def test_flow_images_have_no_key_frames(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=3))
    with h5py.File(cache, "r+") as file:
        file["spatial"] = np.zeros((18, 0, 32, 32), np.uint8)
    with pytest.raises(InputError, match="holds flow images and no frames; choose a system that reads flow"):
        train([cache], "mersiamc3d", tmp_path, "people/s1", changes={"input_kind": "key-frames"})
