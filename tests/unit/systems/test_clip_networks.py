"""Networks that read clips: their shapes and gradients, that they learn, and that they never see a test label."""

import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from clip_network_training import FAST, NETWORK, probs_of, train
from flow_caches import CLASSES, accuracy, balanced, make_cache
from repository import REPO
from torch.nn import functional

from merflow.errors import InputError
from merflow.evaluation.metrics import bootstrap_subjects
from merflow.learning.fit import Rows, fit, repeatable
from merflow.learning.settings import Schedule
from merflow.protocols.settings import ClipSettings
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, read_table
from merflow.systems import clip_networks, network_training
from merflow.systems.clip_images import read_clip_images
from merflow.systems.clip_networks import ClipNetwork, make_network
from merflow.systems.registry import NETWORKS, complete_block, network_settings

CLIPS = ClipSettings(["people"], CLASSES, {})
SHAPES = {"flow-image": (3, 28, 28), "flows": (3, 4, 16, 16)}


def made(system, classes=3, seed=0, **options):
    settings = network_settings(system, complete_block(system, NETWORK | FAST[system] | {"dropout": 0.0} | options))
    with repeatable(seed):
        return make_network(settings.model, classes, {"dropout": 0.0, **settings.options})


def clips(system, count, dtype=torch.float32):
    """Random input of a network."""
    shape = SHAPES[NETWORKS[system].input_kind]
    return torch.randn(count, *shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def block(inputs, outputs):
    """Parameters of a residual block of MSJFN: 3 x 3, 3 x 3 and 1 x 1, each with a normalisation."""
    return 9 * inputs * outputs + 9 * outputs * outputs + inputs * outputs + 3 * 2 * outputs


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


def test_ststnet_equals_three_separate_streams():
    """The other path: three convolutions, each with its normalisation and pooling, then one block of maps."""
    model, x = made("ststnet").double(), torch.randn(6, 3, 28, 28, dtype=torch.float64)
    x.requires_grad_()
    with torch.no_grad():
        model.normalise.weight.copy_(torch.linspace(-1, 2, 16))
        model.normalise.bias.copy_(torch.linspace(-1, 1, 16))
    blocks, first = [], 0
    for filters in (3, 5, 8):
        part = slice(first, first + filters)
        first += filters
        maps = functional.relu(functional.conv2d(x, model.streams.weight[part], model.streams.bias[part], padding=1))
        mean, variance = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), unbiased=False, keepdim=True)
        scale, shift = (p[part].view(1, -1, 1, 1) for p in (model.normalise.weight, model.normalise.bias))
        maps = (maps - mean) / (variance + 1e-5).sqrt() * scale + shift
        maps = functional.pad(maps, (1, 1, 1, 1), value=-torch.inf).unfold(2, 3, 3).unfold(3, 3, 3).amax((-2, -1))
        blocks.append(maps)
    block = torch.cat(blocks, dim=1)
    assert block.shape == (6, 16, 10, 10)
    expected = model.classify(block.reshape(6, 16, 5, 2, 5, 2).mean((3, 5)).reshape(6, -1))
    parameters = list(model.parameters())
    torch.testing.assert_close(model(x), expected)
    for ours, expected_gradient in zip(
        *(torch.autograd.grad(s.square().sum(), parameters) for s in (model(x), expected)), strict=True
    ):
        torch.testing.assert_close(ours, expected_gradient)


def test_off_apexnet_does_not_read_strain():
    model, x = made("off-apexnet"), torch.randn(4, 3, 28, 28)
    for channel, read in enumerate((True, True, False)):
        other = x.clone()
        other[:, channel] += 1
        assert torch.equal(model(x), model(other)) is not read


@pytest.mark.parametrize("system", NETWORKS)
def test_gradients_equal_finite_differences(system):
    model, x = made(system).double(), clips(system, 5, torch.float64)
    y, reach = torch.tensor([0, 1, 2, 1, 0]), 1e-7  # So near that hardly a unit passes its kink on the way.
    functional.cross_entropy(model(x), y).backward()
    generator = np.random.default_rng(0)
    for name, weights in model.named_parameters():
        for flat in generator.integers(weights.numel(), size=3):
            index, values = np.unravel_index(flat, weights.shape), []
            for step in (reach, -reach):
                with torch.no_grad():
                    weights[index] += step
                    values.append(functional.cross_entropy(model(x), y).item())
                    weights[index] -= step
            slope = (values[0] - values[1]) / (2 * reach)
            assert weights.grad[index].item() == pytest.approx(slope, rel=1e-3, abs=1e-8), name


@pytest.mark.parametrize("system", NETWORKS)
def test_network_fits_ten_clips(system):
    x, y = clips(system, 10), torch.arange(10) % 3
    model = made(system)
    with repeatable(0):
        fit(model, functional.cross_entropy, Rows(x, y), None, Schedule(60, 1, 3e-3, 0.0, 256, 0.0))
    assert (model(x).argmax(1) == y).all()


EVERY_CHOICE = [(name, "validation") for name in NETWORKS] + [("ststnet", "fixed"), ("msjfn", "average")]


@pytest.mark.parametrize(("system", "epoch"), EVERY_CHOICE)
def test_accuracy_on_unseen_people_is_above_majority(tmp_path, system, epoch):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=6))
    changes = {"epoch_choice": epoch}
    tables = [train([cache], system, tmp_path, f"people/s{n}", changes=changes)[0] for n in range(6)]
    table = pd.concat(tables)
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
    first, _ = train([clean], system, tmp_path / "one", "people/s1", changes={"epochs": 5})
    second, _ = train([poisoned], system, tmp_path / "two", "people/s1", changes={"epochs": 5})
    assert first["truth"].tolist() != second["truth"].tolist()
    assert probs_of(first).tolist() == probs_of(second).tolist()


@pytest.mark.parametrize("selection", ["fixed", "nested"])
def test_training_gets_no_test_clip(tmp_path, monkeypatch, selection):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=4))
    folds, honest = [], ClipNetwork.train

    def watched(system, rows, classes, data, settings):
        folds.extend(data)
        yield from honest(system, rows, classes, data, settings)

    monkeypatch.setattr(ClipNetwork, "train", watched)
    nested = {"selection": selection, "inner_folds": 2, "grid": {"network.learning_rate": [1e-3, 2e-3]}}
    table, _ = train([cache], "ststnet", tmp_path / "a", "people/s1", changes={"epochs": 2}, **nested)
    assert len(folds) == (1 if selection == "fixed" else 5) and set(table["truth"]) == set(CLASSES)
    tested = set(range(6, 12))  # The clips of people/s1.
    for fold in folds:
        assert not tested & {*fold.train.tolist(), *fold.validation.tolist()}
        assert len(fold.train_labels) == len(fold.train) and len(fold.validation_labels) == len(fold.validation)


@pytest.mark.parametrize("system", NETWORKS)
def test_changed_test_clip_changes_no_other_prediction(tmp_path, system):
    """Inputs are standardised by training clips, so what a fold tests reaches nothing but its own answer."""
    clean = make_cache(tmp_path / "clean.h5", *balanced())
    changed = tmp_path / "changed.h5"
    changed.write_bytes(clean.read_bytes())
    with h5py.File(changed, "r+") as file:
        first = int(np.flatnonzero(file["subject"].asstr()[:] == "people/s1")[0])
        file["flow"][first] = 30 + file["flow"][first]
    before, _ = train([clean], system, tmp_path / "one", "people/s1", changes={"epochs": 3})
    after, _ = train([changed], system, tmp_path / "two", "people/s1", changes={"epochs": 3})
    assert probs_of(before)[0].tolist() != probs_of(after)[0].tolist()
    np.testing.assert_allclose(probs_of(before)[1:], probs_of(after)[1:], atol=1e-6)


@pytest.mark.parametrize("system", NETWORKS)
def test_fold_is_repeatable_and_depends_on_its_seed(tmp_path, system):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=3))
    first, second, other = (
        train([cache], system, tmp_path / name, "people/s1", seed, {"epochs": 4})[1]
        for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )
    for kind in first:
        assert first[kind].read_bytes() == second[kind].read_bytes()
    assert first["curves"].read_bytes() != other["curves"].read_bytes()


def test_fixed_epochs_train_on_validation_clips(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=6))
    _, files = train([cache], "ststnet", tmp_path, "people/s1", changes={"epochs": 8})
    curve = read_table(files["curves"], CURVES)
    assert set(curve["split"]) == {"train", "validation"} and set(curve["name"]) == {"people/s1"}
    without_validation = read_table(files["accuracy_train"], ACCURACY_TRAIN)["n"].item()
    _, files = train([cache], "ststnet", tmp_path, "people/s1", changes={"epochs": 8, "epoch_choice": "fixed"})
    curve = read_table(files["curves"], CURVES)
    assert set(curve["split"]) == {"train"} and len(curve) == 8
    assert without_validation < read_table(files["accuracy_train"], ACCURACY_TRAIN)["n"].item() == 30


def test_refit_trains_all_clips_for_the_chosen_epochs(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=6))
    table, files = train(
        [cache], "ststnet", tmp_path / "refit", "people/s1", changes={"epochs": 12, "epoch_choice": "refit"}
    )
    curve = read_table(files["curves"], CURVES).query("split == 'validation'")
    epoch = int(curve.loc[curve["loss"].idxmin(), "epoch"])
    assert read_table(files["accuracy_train"], ACCURACY_TRAIN)["n"].item() == 30
    fixed = {"epochs": epoch, "epoch_choice": "fixed"}
    again, _ = train([cache], "ststnet", tmp_path / "fixed", "people/s1", changes=fixed)
    assert table.equals(again)
    unrefitted, _ = train([cache], "ststnet", tmp_path / "held", "people/s1", changes={"epochs": 12})
    assert not table.equals(unrefitted)


def test_fold_without_clips_has_empty_tables(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=3))
    table, files = train([cache], "ststnet", tmp_path, "people/s9")
    assert table.empty and read_table(files["curves"], CURVES).empty


def test_clip_images_on_disk_equal_those_in_memory(tmp_path):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=2))
    relabelled = {"people": {"c000": "disgust", "c003": "happiness"}}
    samples = read_clip_images([cache], ClipSettings(["people"], CLASSES, relabelled))
    truth = [(clip["clip"], clip["truth"]) for clip in samples.clips_with_truth]
    assert truth == [("c000", "disgust"), ("c003", "happiness")]
    assert samples.labels.tolist() == [2, 0] and samples.rows.shape == (2, 3, 784)
    images = read_clip_images([cache], CLIPS, in_memory=True).rows
    np.testing.assert_array_equal(samples.rows[:], images[[0, 3]])


def test_clip_images_of_each_input_kind(tmp_path):
    """Channels, then key-frames, then pixels; grey frames each scaled, less what stays the same in a clip."""
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=2))
    frames = np.random.default_rng(0).integers(0, 255, (12, 3, 32, 32), dtype=np.uint8)
    with h5py.File(cache, "r+") as file:
        file["spatial"] = frames
        flow, apex = file["flow"][()].astype(np.float32), file["apex_index"][()]
    small = {side: flow.reshape(*flow.shape[:3], side, 32 // side, side, 32 // side).mean((4, 6)) for side in (16, 32)}
    for side, expected in small.items():
        flows = read_clip_images([cache], CLIPS, "flows", side).rows[:].reshape(12, 3, 3, side, side)
        image = read_clip_images([cache], CLIPS, side=side).rows[:].reshape(12, 3, side, side)
        lengths = read_clip_images([cache], CLIPS, "flows-magnitude", side).rows[:].reshape(flows.shape)
        np.testing.assert_array_equal(lengths[:, :2], flows[:, :2])
        np.testing.assert_allclose(lengths[:, 2], np.hypot(flows[:, 0], flows[:, 1]), rtol=1e-6)
        for clip in range(12):
            np.testing.assert_allclose(image[clip], expected[clip, apex[clip]], atol=1e-5)
            for channel in range(3):
                for frame in range(3):
                    np.testing.assert_allclose(flows[clip, channel, frame], expected[clip, frame, channel], atol=1e-5)
    grey = read_clip_images([cache], CLIPS, "key-frames", 32).rows[:].reshape(12, 3, 32, 32)
    scaled = (frames - frames.mean((2, 3), keepdims=True)) / frames.std((2, 3), keepdims=True)
    np.testing.assert_allclose(grey, scaled - scaled.mean(axis=1, keepdims=True), atol=1e-4)
    with h5py.File(cache, "r+") as file:
        del file["spatial"]
        file["spatial"] = frames[:, :1]
    alone = read_clip_images([cache], CLIPS, "key-frames", 32).rows[:].reshape(12, 32, 32)
    np.testing.assert_allclose(alone, scaled[:, 0], atol=1e-4)


def test_caches_with_different_key_frames_are_refused(tmp_path):
    first, second = (make_cache(tmp_path / f"{n}.h5", *balanced(people=2)) for n in range(2))
    with h5py.File(second, "r+") as file:
        flow = file["flow"][:, :2]
        del file["flow"]
        file["flow"] = flow
    with pytest.raises(InputError, match="the datasets differ in their numbers of key-frames"):
        read_clip_images([first, second], ClipSettings(["one", "two"], CLASSES, {}), "flows")


def test_fit_uses_supervise_of_the_network():
    class Own(torch.nn.Linear):
        asked = 0

        def supervise(self, x, y, loss):
            self.asked += 1
            scores = self(x)
            return 0 * loss(scores, y) + self.bias.square().sum(), scores

    rows, model = Rows(torch.randn(8, 4), torch.arange(8) % 3), Own(4, 3)
    before = model.weight.clone()
    with repeatable(0):
        fit(model, functional.cross_entropy, rows, None, Schedule(5, 1, 1e-2, 0.0, 4, 0.0))
    assert model.asked == 10 and torch.equal(model.weight, before), "the loss of the scores would move the weights"


@pytest.mark.parametrize("epoch", ["validation", "refit"])
def test_inputs_are_standardised_by_training_clips_only(tmp_path, monkeypatch, epoch):
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=5))
    seen, honest = [], clip_networks.Centred

    def watched(rows, train):
        seen.append(len(train))
        return honest(rows, train)

    monkeypatch.setattr(clip_networks, "Centred", watched)
    train([cache], "ststnet", tmp_path, "people/s1", changes={"epochs": 1, "epoch_choice": epoch})
    assert seen == ([18, 24] if epoch == "refit" else [18]), "of 30 clips six are tested and six choose the epoch"


def test_refit_trains_for_the_epochs_that_validation_clips_chose(tmp_path, monkeypatch):
    from merflow.systems import mersiamc3d

    cache = make_cache(tmp_path / "cache.h5", *balanced(people=5))
    asked, honest = [], fit

    def watched(model, loss, training, validation, schedule, *rest, **kept):
        course = honest(model, loss, training, validation, schedule, *rest, **kept)
        asked.append((schedule.epochs, course.epoch, validation is None))
        return course

    monkeypatch.setattr(network_training, "fit", watched)
    monkeypatch.setattr(mersiamc3d, "fit", watched)
    changes = {"epochs": 6, "prior_epochs": 4, "patience": 1, "learning_rate": 0.02, "epoch_choice": "refit"}
    train([cache], "mersiamc3d", tmp_path, "people/s1", changes=changes)
    pairs, classes, pairs_again, classes_again = asked
    assert classes[0] == 6 and classes[1] < 6 and not classes[2], "chosen before the last"
    assert classes_again == (classes[1], classes[1], True)
    assert pairs == pairs_again == (4, 4, True), "all epochs of prior learning, without validation clips"


HEAP = """
import torch
from torch.nn.functional import cross_entropy
from merflow.systems.clip_networks import make_network
from merflow.systems.registry import NETWORKS, complete_block, network_settings
torch.set_num_threads(1)
for name, system in NETWORKS.items():
    block = {"weight_decay": 0.0, "epoch_choice": "validation"}
    settings = network_settings(name, complete_block(name, block))
    frames = () if settings.input_kind == "flow-image" else (5,)
    shape = (3, *frames, settings.side, settings.side)
    model = make_network(settings.model, 5, {"dropout": settings.dropout, **settings.options})
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    for batch in (settings.batch, 15):
        for _ in range(3):
            x, y = torch.randn(batch, *shape), torch.arange(batch) % 5
            learns = hasattr(model, "supervise")
            loss = model.supervise(x, y, cross_entropy)[0] if learns else cross_entropy(model(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
"""


def test_training_at_default_size_does_not_corrupt_memory():
    """Some convolutions of some builds write beyond their memory: the process dies, or worse, goes on."""
    done = subprocess.run([sys.executable, "-c", HEAP], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
