"""Augmented clips against mirrored footage, and against a face of which place and motion are known."""

import sys
from types import SimpleNamespace

import graph_caches
import numpy as np
import pytest
import torch
from clip_network_training import FAST, train
from flow_caches import balanced, make_cache

from merflow.learning.augmentation import Augmentation
from merflow.learning.batches import Batches, Centred
from merflow.learning.settings import AugmentSettings
from merflow.protocols.settings import ClipSettings
from merflow.systems.clip_images import image_fields, read_clip_images
from merflow.systems.registry import NETWORKS, NetworkSystem
from merflow.systems.saved_models import read_models
from merflow.systems.settings import SignalSettings
from merflow.systems.tsdgcn import fusion

NOTHING = {"mirror": False, "rotation": 0.0, "shift": 0.0, "scale": 0.0, "strength": 0.0}
MIRROR = NOTHING | {"mirror": True}
FIELDS = ["u", "v", "strain"]
SIDE = 41


def augmented(clips, fields=FIELDS, centred=None, **settings):
    """Clips ``[n, fields, side * side]`` after augmentation with the same draws for the same number of clips."""
    augment = Augmentation(
        AugmentSettings(**NOTHING | settings), fields, clips, np.arange(len(clips)), centred and Centred(*centred)
    )
    torch.manual_seed(0)
    return augment(torch.from_numpy(Centred(*centred)[:] if centred else clips)).numpy()


def image_names(cache, branches, join, signal):
    return fusion.image_fields(cache, SignalSettings(branches, join, signal, "constant", "no"))


def moving_spots(count=40, turned=False):
    """A spot at a known place in each image, which moves away from the centre, or around it if ``turned``.

    Returns clips, and the places ``[count, 2 (x, y)]`` from the centre in pixels.
    """
    rng = np.random.default_rng(1)
    places = rng.uniform(5, 9, (count, 2)) * rng.choice([-1, 1], (count, 2))
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    spots = np.exp(-((x - places[:, 0, None, None]) ** 2 + (y - places[:, 1, None, None]) ** 2) / 8)
    motions = np.stack([-places[:, 1], places[:, 0]], axis=1) if turned else places
    clips = np.concatenate([motions[:, :, None, None] * spots[:, None], spots[:, None]], axis=1)
    return clips.reshape(count, 3, -1).astype(np.float32), places


def measured(clips):
    """Places and motions of the spots, ``[count, 2]`` each, and the sums of their strain."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    u, v, strain = np.moveaxis(clips.reshape(len(clips), 3, SIDE, SIDE), 1, 0)
    total = strain.sum(axis=(1, 2))
    places = np.stack([(strain * axis).sum(axis=(1, 2)) / total for axis in (x, y)], axis=1)
    return places, np.stack([u.sum(axis=(1, 2)), v.sum(axis=(1, 2))], axis=1) / total[:, None], total


@pytest.mark.parametrize("turned", [False, True])
def test_motion_turns_and_grows_with_the_face(turned):
    """A motion away from the centre is one in the turned image too; one around it changes its sense in a mirror."""
    clips, places = moving_spots(turned=turned)
    new, motions, _ = measured(augmented(clips, mirror=True, rotation=30.0, scale=0.2))
    sizes = np.linalg.norm(new, axis=1) / np.linalg.norm(places, axis=1)
    assert sizes.min() < 0.9 and sizes.max() > 1.1 and sizes.min() > 0.79 and sizes.max() < 1.21
    if not turned:
        np.testing.assert_allclose(motions, new, atol=0.1)
        return
    around = np.stack([-new[:, 1], new[:, 0]], axis=1)
    senses = np.sign((motions * around).sum(axis=1))
    np.testing.assert_allclose(motions, senses[:, None] * around, atol=0.1)
    assert 10 < (senses < 0).sum() < 30, "the mirrored ones"


def test_turned_places_stay_within_the_limit():
    clips, places = moving_spots()
    new, *_ = measured(augmented(clips, rotation=20.0))
    angles = np.degrees(np.angle(new @ [1, 1j]) - np.angle(places @ [1, 1j]))
    angles = (angles + 180) % 360 - 180
    assert 15 < np.abs(angles).max() < 20.5 and angles.min() < -10 and angles.max() > 10


def test_shift_moves_and_strength_multiplies():
    clips, places = moving_spots()
    moved, motions, _ = measured(augmented(clips, shift=0.1))
    steps = moved - places
    assert np.abs(steps).max() <= 0.1 * SIDE + 0.01 and (steps.min(axis=0) < -2).all() and (steps.max(axis=0) > 2).all()
    np.testing.assert_allclose(motions, places, atol=0.05)
    still, _, total = measured(augmented(clips, strength=0.3))
    np.testing.assert_allclose(still, places, atol=1e-3)
    ratios = total / clips[:, 2].sum(axis=1)
    assert 0.7 <= ratios.min() < 0.8 and 1.2 < ratios.max() <= 1.3
    grey = augmented(clips, fields=["grey"] * 3, strength=0.3)
    np.testing.assert_allclose(grey, clips, atol=1e-5)


@pytest.mark.parametrize("images", [1, 4], ids=["flow-image", "flows"])
def test_mirrored_clips_equal_those_of_mirrored_footage(images):
    """A mirrored person moves to the other side: u changes its sign, before the mean image is subtracted."""
    rng = np.random.default_rng(0)
    raw = rng.normal(2, 3, (40, 3, images, 8, 8)).astype(np.float32)
    turned = raw[..., ::-1] * np.array([-1, 1, 1]).reshape(3, 1, 1, 1)
    rows, turned = (clips.reshape(40, 3, -1) for clips in (raw, turned))
    centred = Centred(rows, np.arange(30))
    plain, mirrored = ((clips - centred.mean) / centred.divisor for clips in (rows, turned))
    fields = image_fields("flows", rows.shape[2], 8)
    seen = augmented(rows, fields, (rows, np.arange(30)), mirror=True)
    unchanged, changed = (
        np.array([np.allclose(clip, other, atol=1e-4) for clip, other in zip(seen, clips, strict=True)])
        for clips in (plain, mirrored)
    )
    assert (unchanged != changed).all() and 10 < changed.sum() < 30


@pytest.mark.parametrize("kind", ["flows", "flows-magnitude"])
def test_all_fields_of_a_clip_are_transformed_alike(kind):
    """Ten equal fields stay equal, and magnitude stays the length of the motion."""
    clips, _ = moving_spots()
    if kind == "flows-magnitude":
        clips[:, 2] = np.hypot(clips[:, 0], clips[:, 1])
    ten = np.repeat(clips[:, :, None], 10, axis=2).reshape(40, 3, -1)
    fields = image_fields(kind, ten.shape[2], SIDE)
    settings = {"mirror": True, "rotation": 20.0, "scale": 0.2, "shift": 0.05, "strength": 0.3}
    seen = augmented(ten, fields, **settings).reshape(40, 3, 10, -1)
    assert np.abs(seen[:, :, 0] - clips).max() > 1
    np.testing.assert_allclose(seen, np.broadcast_to(seen[:, :, :1], seen.shape), atol=1e-6)
    if kind == "flows-magnitude":
        np.testing.assert_allclose(seen[:, 2], np.hypot(seen[:, 0], seen[:, 1]), atol=1e-4)


def test_ready_made_images_are_mirrored_about_their_mean():
    """Such an image stores a motion of -1 to 1 as 0 to 1; elsewhere the same draws give the same motion."""
    motion, _ = moving_spots(20)
    motion[:, :2] /= 10
    motion = np.concatenate([motion, -motion])  # Its mean over the clips is 0.
    stored = motion.copy()
    stored[:, :2] = 0.5 + motion[:, :2] / 2
    assert stored[:, :2].min() >= 0
    settings = {"mirror": True, "rotation": 20.0, "scale": 0.1, "shift": 0.05, "strength": 0.2}
    expected = augmented(motion, **settings)
    expected[:, :2] = 0.5 + expected[:, :2] / 2
    np.testing.assert_allclose(augmented(stored, **settings), expected, atol=1e-5)


def test_rows_of_a_clip_are_mirrored_each_by_itself(tmp_path):
    """TSDGCN reads each row alone: those of u change their sign, also beside a grey image."""
    cache = graph_caches.make_cache(tmp_path / "cache.h5", 2, 1, 0, "micro")
    fields = image_names(cache, ["temporal"], "stack", "u+v")
    assert fields[:4] == ["u", "v", "u", "v"]
    rng = np.random.default_rng(0)
    clips = rng.normal(size=(6, len(fields), 64)).astype(np.float32)
    augment = Augmentation(AugmentSettings(**MIRROR), fields, clips, np.arange(6), None)
    batches = Batches(clips, np.arange(6), (64,), torch.device("cpu"), rows=True, augment=augment)
    torch.manual_seed(0)
    seen = batches[torch.arange(len(batches))].numpy().reshape(6, len(fields), 8, 8)
    mirrored = np.zeros((6, len(fields)), bool)
    for index, field in enumerate(fields):
        plain = clips[:, index].reshape(6, 8, 8)
        other = plain[..., ::-1] * (-1 if field == "u" else 1)
        mirrored[:, index] = [np.allclose(a, b, atol=1e-5) for a, b in zip(seen[:, index], other, strict=True)]
        kept = [np.allclose(a, b, atol=1e-5) for a, b in zip(seen[:, index], plain, strict=True)]
        assert (mirrored[:, index] != kept).all()
    assert any(0 < count < len(fields) for count in mirrored.sum(axis=1)), "two rows of a clip may differ"


def test_fields_follow_the_fusion(tmp_path):
    cache = graph_caches.make_cache(tmp_path / "cache.h5", 2, 1, 0, "micro")
    beside = image_names(cache, ["spatial", "temporal"], "concat", "u+v")
    assert beside[:4] == ["grey", "u", "grey", "v"]
    below = image_names(cache, ["spatial", "temporal"], "stack", "magnitude")
    assert below == ["grey"] * (len(below) // 2) + ["magnitude"] * (len(below) // 2)
    assert image_names(cache, ["temporal"], "stack", "channels")[:6] == FIELDS * 2
    assert image_fields("key-frames", 3 * 16, 4) == ["grey"] * 3
    assert image_fields("flow-image", 16, 4) == FIELDS
    assert image_fields("flows-magnitude", 2 * 16, 4) == ["u", "u", "v", "v", "magnitude", "magnitude"]


class Watched(torch.nn.Module):
    """Keeps what it gets in training and otherwise."""

    made: list["Watched"] = []

    def __init__(self, classes, dropout):
        super().__init__()
        self.scores = torch.nn.Linear(3 * 28 * 28, classes)
        self.inputs = {True: [], False: []}
        self.made.append(self)

    def forward(self, x):
        self.inputs[self.training].append(x.clone())
        return self.scores(x.flatten(1))


def test_only_training_clips_are_augmented(tmp_path, monkeypatch):
    monkeypatch.setattr(Watched, "made", [])
    monkeypatch.setitem(sys.modules, "merflow.systems.watched", SimpleNamespace(Watched=Watched))
    settings = {"epochs": 4, "patience": 4, "learning_rate": 1e-3, "batch": 32, "dropout": 0.0}
    monkeypatch.setitem(NETWORKS, "watched", NetworkSystem("watched:Watched", settings))
    monkeypatch.setitem(FAST, "watched", {})
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=4))
    train([cache], "watched", tmp_path, "people/s1", augment=MIRROR)
    (network,) = Watched.made
    (model,) = read_models(next(tmp_path.rglob("*.safetensors"))).values()
    weights = {name: tensor.numpy() for name, tensor in model.tensors.items()}
    rows = read_clip_images([cache], ClipSettings(["people"], ["happiness", "surprise", "disgust"], {})).rows[:]
    clips = torch.from_numpy((rows - weights["centre.mean"]) / weights["centre.divisor"]).view(-1, 3, 28, 28)

    def share_of_clips(inputs):
        return np.mean([(clips - x).abs().amax((1, 2, 3)).min().item() < 1e-4 for x in torch.cat(inputs)])

    assert 0.2 < share_of_clips(network.inputs[True]) < 0.8
    assert share_of_clips(network.inputs[False]) == 1
