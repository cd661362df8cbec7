"""Networks that read clips: their shapes and gradients, that they learn, and that they never see a test label."""

import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from clip_network_training import FAST, chances, train
from flow_caches import CLASSES, accuracy, balanced, make_cache
from repository import REPO
from torch.nn import functional

from merflow.errors import ConfigError, InputError
from merflow.evaluation.metrics import bootstrap_subjects
from merflow.learning.fit import Rows, Schedule, fit, repeatable
from merflow.runtime.code_hash import needed
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, read_table
from merflow.systems import clip_networks
from merflow.systems.clip_images import read_clip_images
from merflow.systems.clip_networks import load_clips, network
from merflow.systems.registry import NETWORKS, option_schemas, own_settings, source

SHAPES = {"flow-image": (3, 28, 28), "flows": (3, 4, 16, 16)}


def made(system, classes=3, seed=0, **options):
    own = own_settings(system, FAST[system] | {"dropout": 0.0} | options)
    with repeatable(seed):
        return network(NETWORKS[system].model, classes, own)


def clips(system, count, dtype=torch.float32):
    """Random input of a network."""
    shape = SHAPES[NETWORKS[system].reads]
    return torch.randn(count, *shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def block(given, own):
    """Parameters of a residual block of MSJFN: 3 x 3, 3 x 3 and 1 x 1, each with a normalisation."""
    return 9 * given * own + 9 * own * own + given * own + 3 * 2 * own


def joint(fine, coarse, classes):
    """Parameters of a joint feature module: two 1 x 1 with bias, a 3 x 3 with normalisation, a linear layer."""
    return (fine + 1) * fine + (coarse + 1) * fine + 9 * 2 * fine * fine + 2 * fine + (16 * fine + 1) * classes


# Counted by hand. STSTNet: 3 + 5 + 8 filters of 3 x 3 x 3 and a bias; a scale and a shift per map; 16 maps of 5 x 5.
# OFF-ApexNet: two streams of 6 filters of 5 x 5 and 16 of 5 x 5 x 6 with biases; 2 x 784, 1024 and 1024 units.
# MSJFN of width 4: stages of 4, 8, 16 and 32 filters, three modules, predictions from 4 x 4 averages.
# MERSiamC3D of width 4: 4, 8, 16 and 16 filters of 3 x 3 x 3 with normalisations, 4 x 4 averages to 128 to the classes.
COUNTS = {
    "ststnet": lambda classes: (3 + 5 + 8) * (27 + 1) + 2 * 16 + (400 + 1) * classes,
    "off-apexnet": lambda classes: (
        2 * (6 * 26 + 16 * 151) + (1568 + 1) * 1024 + (1024 + 1) * 1024 + (1024 + 1) * classes
    ),
    "msjfn": lambda classes: (
        sum(block(*pair) for pair in ((3, 4), (4, 8), (8, 16), (16, 32)))
        + sum(joint(*pair, classes) for pair in ((4, 8), (8, 16), (16, 32)))
        + (16 * 32 + 1) * classes
    ),
    "mersiamc3d": lambda classes: (
        27 * (3 * 4 + 4 * 8 + 8 * 16 + 16 * 16) + 2 * (4 + 8 + 16 + 16) + (16 * 16 + 1) * 128 + (128 + 1) * classes
    ),
}


@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize("system", NETWORKS)
def test_shapes_and_parameters(system, classes):
    model = made(system, classes)
    assert model(clips(system, 7)).shape == (7, classes)
    assert sum(p.numel() for p in model.parameters()) == COUNTS[system](classes)


def test_ststnet_is_three_streams_side_by_side():
    """The other path: three convolutions, each with its normalisation and pooling, then one block of maps."""
    model, x = made("ststnet", dropout=0.5).double(), torch.randn(6, 3, 28, 28, dtype=torch.float64)
    x.requires_grad_()
    with torch.no_grad():
        model.normalise.weight.copy_(torch.linspace(-1, 2, 16))
        model.normalise.bias.copy_(torch.linspace(-1, 1, 16))
    model.dropout.share = 0.0
    blocks, first = [], 0
    for filters in (3, 5, 8):
        own = slice(first, first + filters)
        first += filters
        maps = functional.relu(functional.conv2d(x, model.streams.weight[own], model.streams.bias[own], padding=1))
        mean, variance = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), unbiased=False, keepdim=True)
        scale, shift = (p[own].view(1, -1, 1, 1) for p in (model.normalise.weight, model.normalise.bias))
        maps = (maps - mean) / (variance + 1e-5).sqrt() * scale + shift
        maps = functional.pad(maps, (1, 1, 1, 1), value=-torch.inf).unfold(2, 3, 3).unfold(3, 3, 3).amax((-2, -1))
        blocks.append(maps)
    block = torch.cat(blocks, dim=1)
    assert block.shape == (6, 16, 10, 10)
    expected = model.classify(block.reshape(6, 16, 5, 2, 5, 2).mean((3, 5)).reshape(6, -1))
    given = list(model.parameters())
    torch.testing.assert_close(model(x), expected)
    for one, two in zip(*(torch.autograd.grad(s.square().sum(), given) for s in (model(x), expected)), strict=True):
        torch.testing.assert_close(one, two)


def test_off_apexnet_does_not_read_strain():
    model, x = made("off-apexnet"), torch.randn(4, 3, 28, 28)
    for channel, read in enumerate((True, True, False)):
        other = x.clone()
        other[:, channel] += 1
        assert torch.equal(model(x), model(other)) is not read


@pytest.mark.parametrize("system", NETWORKS)
def test_gradients_are_those_of_finite_differences(system):
    model, x = made(system).double(), clips(system, 5, torch.float64)
    y, reach = torch.tensor([0, 1, 2, 1, 0]), 1e-7  # So near that hardly a unit passes its kink on the way.
    functional.cross_entropy(model(x), y).backward()
    generator = np.random.default_rng(0)
    for name, weights in model.named_parameters():
        for flat in generator.integers(weights.numel(), size=3):
            place, values = np.unravel_index(flat, weights.shape), []
            for step in (reach, -reach):
                with torch.no_grad():
                    weights[place] += step
                    values.append(functional.cross_entropy(model(x), y).item())
                    weights[place] -= step
            slope = (values[0] - values[1]) / (2 * reach)
            assert weights.grad[place].item() == pytest.approx(slope, rel=1e-3, abs=1e-8), name


@pytest.mark.parametrize("system", NETWORKS)
def test_ten_clips_are_learnt_by_heart(system):
    x, y = clips(system, 10), torch.arange(10) % 3
    model = made(system)
    with repeatable(0):
        fit(model, functional.cross_entropy, Rows(x, y), None, Schedule(60, 1, 3e-3, 0.0, 256))
    assert (model(x).argmax(1) == y).all()


@pytest.mark.parametrize(("system", "selection"), [(name, "validation") for name in NETWORKS] + [("ststnet", "none")])
def test_people_that_it_has_not_seen_are_clearly_above_the_majority_floor(tmp_path, system, selection):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=6))
    found = [train([cache], system, tmp_path, f"people/s{n}", selection=selection)[0] for n in range(6)]
    table = pd.concat(found)
    assert len(table) == 36 and accuracy(table) > 0.8
    low = bootstrap_subjects(table, CLASSES)["accuracy"][0]
    assert low > 1 / 3, "majority reaches a third"


@pytest.mark.parametrize("system", NETWORKS)
def test_poisoned_test_labels_change_no_prediction(tmp_path, system):
    labels, subjects = balanced()
    clean = make_cache(tmp_path / "clean.h5", labels, subjects)
    poisoned = tmp_path / "poisoned.h5"
    poisoned.write_bytes(clean.read_bytes())
    with h5py.File(poisoned, "r+") as file:
        mine = file["subject"].asstr()[:] == "people/s1"
        other = file["label"].asstr()[:]
        other[mine] = np.roll(other[mine], 1)
        file["label"][:] = other.tolist()
    one, _ = train([clean], system, tmp_path / "one", "people/s1", changes={"epochs": 5})
    two, _ = train([poisoned], system, tmp_path / "two", "people/s1", changes={"epochs": 5})
    assert one["truth"].tolist() != two["truth"].tolist()
    assert chances(one).tolist() == chances(two).tolist()


@pytest.mark.parametrize("selection", ["validation", "nested"])
def test_training_is_handed_no_class_of_a_test_clip(tmp_path, monkeypatch, selection):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=4))
    handed, honest = [], clip_networks._train

    def watched(samples, *given):
        handed.append(samples)
        return honest(samples, *given)

    monkeypatch.setattr(clip_networks, "_train", watched)
    own = {"selection": selection, "inner_folds": 2, "grid": {"network.learning_rate": [1e-3, 2e-3]}}
    table, _ = train([cache], "ststnet", tmp_path / "a", "people/s1", changes={"epochs": 2}, **own)
    assert len(handed) == (1 if selection == "validation" else 5) and set(table["truth"]) == set(CLASSES)
    for samples in handed:
        mine = np.array(samples.subjects) == "people/s1"
        assert (samples.labels[mine] == -1).all() and (samples.labels[~mine] >= 0).all()
        assert {clip["truth"] for clip in samples.clips if clip["subject"] == "people/s1"} == {""}


@pytest.mark.parametrize("system", NETWORKS)
def test_a_test_clip_changes_no_other_answer(tmp_path, system):
    """Inputs are standardised by training clips, so what a fold tests reaches nothing but its own answer."""
    clean = make_cache(tmp_path / "clean.h5", *balanced())
    changed = tmp_path / "changed.h5"
    changed.write_bytes(clean.read_bytes())
    with h5py.File(changed, "r+") as file:
        first = int(np.flatnonzero(file["subject"].asstr()[:] == "people/s1")[0])
        file["flow"][first] = 30 + file["flow"][first]
    one, _ = train([clean], system, tmp_path / "one", "people/s1", changes={"epochs": 3})
    two, _ = train([changed], system, tmp_path / "two", "people/s1", changes={"epochs": 3})
    assert chances(one)[0].tolist() != chances(two)[0].tolist()
    np.testing.assert_allclose(chances(one)[1:], chances(two)[1:], atol=1e-6)


@pytest.mark.parametrize("system", NETWORKS)
def test_a_fold_is_the_same_bits_again_and_another_seed_is_another_network(tmp_path, system):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=3))
    one, two, other = (
        train([cache], system, tmp_path / name, "people/s1", seed, {"epochs": 4})[1]
        for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )
    for kind in one:
        assert one[kind].read_bytes() == two[kind].read_bytes()
    assert one["curves"].read_bytes() != other["curves"].read_bytes()


def test_validation_subjects_choose_the_epoch_or_nobody_does(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=6))
    _, files = train([cache], "ststnet", tmp_path, "people/s1", changes={"epochs": 8})
    curve = read_table(files["curves"], CURVES)
    assert set(curve["split"]) == {"train", "validation"} and set(curve["name"]) == {"people/s1"}
    held = read_table(files["accuracy_train"], ACCURACY_TRAIN)["n"].item()
    _, files = train([cache], "ststnet", tmp_path, "people/s1", changes={"epochs": 8}, selection="none")
    curve = read_table(files["curves"], CURVES)
    assert set(curve["split"]) == {"train"} and len(curve) == 8
    assert held < read_table(files["accuracy_train"], ACCURACY_TRAIN)["n"].item() == 30


def test_with_refit_the_validation_subjects_train_for_the_epochs_that_they_chose(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=6))
    table, files = train([cache], "ststnet", tmp_path / "refit", "people/s1", changes={"epochs": 12, "refit": True})
    curve = read_table(files["curves"], CURVES).query("split == 'validation'")
    epoch = int(curve.loc[curve["loss"].idxmin(), "epoch"])
    assert read_table(files["accuracy_train"], ACCURACY_TRAIN)["n"].item() == 30
    again, _ = train(
        [cache], "ststnet", tmp_path / "none", "people/s1", changes={"epochs": epoch}, selection="none"
    )  # fmt: skip
    assert table.equals(again)
    held, _ = train([cache], "ststnet", tmp_path / "held", "people/s1", changes={"epochs": 12})
    assert not table.equals(held)


def test_a_fold_whose_clips_all_failed_is_empty(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=3))
    table, files = train([cache], "ststnet", tmp_path, "people/s9")
    assert table.empty and read_table(files["curves"], CURVES).empty


def test_images_are_those_of_the_floors(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=2))
    relabelled = {"people": {"c000": "disgust", "c003": "happiness"}}
    samples = load_clips([cache], {"classes": CLASSES, "labels": relabelled, "reads": "flow-image", "side": 28})
    assert [(c["clip"], c["truth"]) for c in samples.clips] == [("c000", "disgust"), ("c003", "happiness")]
    assert samples.labels.tolist() == [2, 0] and samples.rows.shape == (2, 3, 784)
    images = read_clip_images([cache], CLASSES).images
    np.testing.assert_array_equal(samples.rows[:], images[[0, 3]])


def test_what_is_read_of_a_clip(tmp_path):
    """Channels, then key-frames, then pixels; grey frames each scaled, less what stays the same in a clip."""
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=2))
    frames = np.random.default_rng(0).integers(0, 255, (12, 3, 32, 32), dtype=np.uint8)
    with h5py.File(cache, "r+") as file:
        file["spatial"] = frames
        flow, apex = file["flow"][()].astype(np.float32), file["apex_index"][()]
    small = {side: flow.reshape(*flow.shape[:3], side, 32 // side, side, 32 // side).mean((4, 6)) for side in (16, 32)}
    for side, expected in small.items():
        flows = read_clip_images([cache], CLASSES, reads="flows", side=side).images.reshape(12, 3, 3, side, side)
        image = read_clip_images([cache], CLASSES, side=side).images.reshape(12, 3, side, side)
        for clip in range(12):
            np.testing.assert_allclose(image[clip], expected[clip, apex[clip]], atol=1e-5)
            for channel in range(3):
                for frame in range(3):
                    np.testing.assert_allclose(flows[clip, channel, frame], expected[clip, frame, channel], atol=1e-5)
    grey = read_clip_images([cache], CLASSES, reads="key-frames", side=32).images.reshape(12, 3, 32, 32)
    own = (frames - frames.mean((2, 3), keepdims=True)) / frames.std((2, 3), keepdims=True)
    np.testing.assert_allclose(grey, own - own.mean(axis=1, keepdims=True), atol=1e-4)
    with h5py.File(cache, "r+") as file:
        del file["spatial"]
        file["spatial"] = frames[:, :1]
    alone = read_clip_images([cache], CLASSES, reads="key-frames", side=32).images.reshape(12, 32, 32)
    np.testing.assert_allclose(alone, own[:, 0], atol=1e-4)


def test_caches_with_other_numbers_of_key_frames_do_not_fit_together(tmp_path):
    one, two = (make_cache(tmp_path / f"{n}.h5", *balanced(people=2)) for n in range(2))
    with h5py.File(two, "r+") as file:
        flow = file["flow"][:, :2]
        del file["flow"]
        file["flow"] = flow
    with pytest.raises(InputError, match="the caches differ in their numbers of key-frames"):
        read_clip_images([one, two], CLASSES, reads="flows")


def test_a_network_that_supervises_itself_is_asked_for_its_loss():
    class Own(torch.nn.Linear):
        asked = 0

        def supervise(self, x, y, loss):
            self.asked += 1
            scores = self(x)
            return 0 * loss(scores, y) + self.bias.square().sum(), scores

    rows, model = Rows(torch.randn(8, 4), torch.arange(8) % 3), Own(4, 3)
    before = model.weight.clone()
    with repeatable(0):
        fit(model, functional.cross_entropy, rows, None, Schedule(5, 1, 1e-2, 0.0, 4))
    assert model.asked == 10 and torch.equal(model.weight, before), "the loss of the scores would move the weights"


@pytest.mark.parametrize("refit", [False, True])
def test_inputs_are_standardised_by_the_clips_that_train_and_by_no_others(tmp_path, monkeypatch, refit):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=5))
    seen, honest = [], clip_networks.Centred

    def watched(rows, train):
        seen.append(len(train))
        return honest(rows, train)

    monkeypatch.setattr(clip_networks, "Centred", watched)
    train([cache], "ststnet", tmp_path, "people/s1", changes={"epochs": 1, "refit": refit})
    assert seen == ([18, 24] if refit else [18]), "of 30 clips six are tested and six choose the epoch"


def test_refit_trains_for_the_epochs_of_both_stages(tmp_path, monkeypatch):
    from merflow.systems import mersiamc3d

    cache = make_cache(tmp_path / "cache.h5", *balanced(people=5))
    asked, honest = [], fit

    def watched(model, loss, training, validation, schedule, *rest):
        course = honest(model, loss, training, validation, schedule, *rest)
        asked.append((schedule.epochs, course.epoch, validation is None))
        return course

    monkeypatch.setattr(clip_networks, "fit", watched)
    monkeypatch.setattr(mersiamc3d, "fit", watched)
    changes = {"epochs": 6, "prior_epochs": 4, "patience": 1, "learning_rate": 0.02, "refit": True}
    train([cache], "mersiamc3d", tmp_path, "people/s1", changes=changes)
    pairs, classes, pairs_again, classes_again = asked
    assert pairs[0] == 4 and classes[0] == 6 and pairs[1] < 4 and classes[1] < 6, "chosen before the last"
    assert pairs_again == (pairs[1], pairs[1], True) and classes_again == (classes[1], classes[1], True)


def test_registry():
    for name, system in NETWORKS.items():
        given = own_settings(name, {"epochs": 7, "learning_rate": None, "batch": 3, "modules": None})
        assert (given["epochs"], given["batch"]) == (7, 3)
        assert given["learning_rate"] == system.settings["learning_rate"]
        assert ("modules" in given) == (name == "msjfn"), "options of others are left out, null is the own value"
        assert isinstance(network(system.model, 3, given), torch.nn.Module)
    loaded = "import sys, merflow.systems.registry; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout.strip() == "False"


def test_an_option_has_one_meaning(monkeypatch):
    other = NETWORKS["ststnet"]._replace(options={"modules": {"type": "integer", "default": 1}})
    monkeypatch.setitem(NETWORKS, "other", other)
    with pytest.raises(ConfigError, match="option modules of other has another schema elsewhere"):
        option_schemas()


def test_no_training_needs_another_network_or_the_registry():
    """A change in one network, or another entry, then reruns no other network; the rule adds the file of its own."""
    scripts = {script.stem: {f.stem for f in needed(script)} for script in (REPO / "workflow/scripts").glob("*.py")}
    own = {source(name).stem for name in NETWORKS}
    assert {"ststnet", "off_apexnet", "msjfn", "mersiamc3d"} <= own and all(source(name).is_file() for name in NETWORKS)
    assert not any(own & files or "registry" in files for files in scripts.values())


HEAP = """
import torch
from torch.nn.functional import cross_entropy
from merflow.systems.clip_networks import network
from merflow.systems.registry import NETWORKS, own_settings
torch.set_num_threads(1)
for name, system in NETWORKS.items():
    own = own_settings(name, {})
    side = own.get("side", 28)
    shape = (3, side, side) if system.reads == "flow-image" else (3, 5, side, side)
    model = network(system.model, 5, own)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    for batch in (own["batch"], 15):
        for _ in range(3):
            x, y = torch.randn(batch, *shape), torch.arange(batch) % 5
            learns = hasattr(model, "supervise")
            loss = model.supervise(x, y, cross_entropy)[0] if learns else cross_entropy(model(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
"""


def test_a_training_at_its_own_size_leaves_the_memory_whole():
    """Some convolutions of some builds write beyond their memory: the process dies, or worse, goes on."""
    done = subprocess.run([sys.executable, "-c", HEAP], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
