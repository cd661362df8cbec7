"""MERSiamC3D: pairs, prior and target learning, and that ablations change the graph."""

import h5py
import numpy as np
import pytest
import torch
from clip_network_training import probs_of, train
from flow_caches import balanced, make_cache
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from merflow.errors import InputError
from merflow.learning.fit import Rows, fit, repeatable
from merflow.learning.settings import Schedule
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, read_table
from merflow.systems import mersiamc3d
from merflow.systems.mersiamc3d import CHUNK_CLIPS, MERSiamC3D, Siamese, draw_pairs

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


@given(labels=st.lists(st.integers(0, 3), max_size=25), count=st.integers(1, 4), seed=st.integers(0, 99))
def test_draw_pairs_never_pairs_a_clip_with_itself(labels, count, seed):
    labels = torch.tensor(labels, dtype=torch.int64)
    with repeatable(seed):
        pairs = draw_pairs(labels, count)
    first, second = pairs.x.unbind(dim=1)
    assert (first != second).all() and pairs.x.dtype == pairs.y.dtype == torch.int64
    assert (pairs.y == (labels[first] == labels[second]).long()).all()
    sizes = torch.bincount(labels, minlength=4)
    assert (pairs.y == 1).sum() == count * sizes[sizes > 1].sum()
    assert (pairs.y == 0).sum() == count * (len(labels) if (sizes > 0).sum() > 1 else 0)


def test_draw_pairs_draws_every_partner():
    labels = torch.tensor([0, 0, 0, 1, 1])
    with repeatable(0):
        pairs = draw_pairs(labels, 200)
    pairs_drawn = {tuple(pair) for pair in pairs.x.tolist()}
    assert pairs_drawn == {(a, b) for a in range(5) for b in range(5) if a != b}


def test_siamese_is_symmetric_and_shares_its_branch():
    model, clips = made().eval(), rows(6).x
    siamese = Siamese(model.branch, clips).eval()
    pairs = torch.tensor([[0, 1], [1, 0], [2, 2]])
    scores = siamese(pairs)
    torch.testing.assert_close(scores[0], scores[1])
    torch.testing.assert_close(scores[2], siamese.compare.bias)
    first, second = model.branch(clips[:1]), model.branch(clips[1:2])
    torch.testing.assert_close(scores[:1], siamese.compare((first - second).abs()))


def test_siamese_separates_classes_of_unseen_clips():
    learnt, other = rows(36, 1.0), rows(30, 1.0, seed=1)
    with repeatable(0):
        siamese = Siamese(made().branch, learnt.x)
        fit(siamese, functional.cross_entropy, draw_pairs(learnt.y, 2), None, Schedule(12, 1, 3e-3, 0.0, 32, 0.0))
        pairs = draw_pairs(other.y, 4)
        siamese.clips = [other.x]
        right = (siamese(pairs.x).argmax(dim=1) == pairs.y).double().mean()
    assert right > 0.8, "half of the pairs are of one class: one answer to all has .5"


def test_prior_keeps_training_and_validation_pairs_apart(monkeypatch):
    seen, honest = {}, mersiamc3d.fit

    def watched(network, loss, training, validation, *rest):
        seen.update(clips=network.clips[0], training=training, validation=validation)
        return honest(network, loss, training, validation, *rest)

    monkeypatch.setattr(mersiamc3d, "fit", watched)
    training, validation = rows(12), rows(9, seed=5)
    with repeatable(0):
        made().prior(training, validation, SCHEDULE, "fold")
    for part, clips in (("training", training), ("validation", validation)):
        pair_clips = seen["clips"][seen[part].x]
        allowed = {first.numpy().tobytes() for first in clips.x}
        assert {first.numpy().tobytes() for first in pair_clips.flatten(0, 1)} <= allowed, part
    assert len(seen["validation"].y) == 2 * 2 * 9


def test_siamese_pairs_have_no_test_clip(tmp_path, monkeypatch):
    """Through a fold: what pairs are made of are its training and its validation clips, none of its test clips."""
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=5))
    seen, honest = [], mersiamc3d.Siamese

    def watched(branch, clips):
        seen.append(clips[torch.arange(len(clips))])
        return honest(branch, clips)

    monkeypatch.setattr(mersiamc3d, "Siamese", watched)
    train([cache], "mersiamc3d", tmp_path, "people/s1", changes={"epochs": 1})
    ((clips,),) = (seen,)
    assert len(clips) == 24, "30 clips, 6 of the person that is tested"
    with h5py.File(cache, "r+") as file:
        mine = file["subject"].asstr()[:] == "people/s1"
        file["flow"][mine] = 9 + file["flow"][mine]
    train([cache], "mersiamc3d", tmp_path, "people/s1", changes={"epochs": 1})
    assert torch.equal(*seen), "another face of the test changes nothing in them"


def test_prior_learning_changes_the_branch_only():
    training, validation = rows(12), rows(9, seed=5)
    models = [made(), made(), made(prior=False)]
    before = [weight.clone() for weight in models[0].parameters()]
    with repeatable(0):
        assert models[0].prior(training, validation, SCHEDULE, "fold").epoch in (1, 2)
        assert models[2].prior(training, validation, SCHEDULE, "fold") is None, "the ablation"
    moved = [not torch.equal(first, second) for first, second in zip(before, models[0].parameters(), strict=True)]
    assert all(moved[:-2]) and not any(moved[-2:]), "all of the branch, none of the classifier"
    for first, second in zip(before, models[2].parameters(), strict=True):
        assert torch.equal(first, second)


def test_prior_of_one_clip_does_nothing():
    alone = Rows(rows(4).x, torch.zeros(4, dtype=torch.int64))
    with repeatable(0):
        assert len(draw_pairs(alone.y, 2).y) == 8 and draw_pairs(alone.y, 2).y.all()
        single = Rows(alone.x[:1], alone.y[:1])
        assert made().prior(single, None, SCHEDULE, "fold") is None
        assert made().prior(rows(12), single, SCHEDULE, "fold").epoch == 2, "nobody chooses the epoch: the last"


@pytest.mark.parametrize("frozen", [0, 2])
def test_frozen_layers_do_not_change(frozen):
    training = rows(12)
    model = made(frozen=frozen)
    with repeatable(0):
        model.prior(training, None, SCHEDULE, "fold")
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


def test_pairs_drawn_in_parts_are_of_all_clips():
    """Partners come from all clips, not only from the part that a clip was drawn with."""
    labels = torch.arange(3 * CHUNK_CLIPS) % 3
    with repeatable(0):
        indices, same = draw_pairs(labels, 2)
    assert len(indices) == 4 * len(labels)
    assert ((labels[indices[:, 0]] == labels[indices[:, 1]]).long() == same).all()
    assert (indices[:, 0] != indices[:, 1]).all()
    apart = (indices[:, 0] // CHUNK_CLIPS != indices[:, 1] // CHUNK_CLIPS).float().mean()
    assert 0.6 < apart < 0.73, "two of three parts are others"
