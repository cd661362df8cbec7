"""From caches to predictions: training loop, pre-training, features, fused head. Made-up data, small graphs."""

import json
import tempfile
import tracemalloc

import h5py
import numpy as np
import pytest
import torch
from graph_caches import CLASSES, HEAD, PRETRAIN, SETTINGS, SIZE, make_cache
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from merflow.errors import ConfigError, InputError
from merflow.evaluation.metrics import score
from merflow.learning.fit import Rows, Schedule, evaluate, fit, repeatable
from merflow.preprocessing.resize import area_resize
from merflow.protocols.folds import loso
from merflow.storage.disk_arrays import RowsInFile
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, PREDICTIONS, read_table
from merflow.systems.tsdgcn import finetune as finetuning
from merflow.systems.tsdgcn.features import extract
from merflow.systems.tsdgcn.finetune import Samples, Task, answer, finetune, fold_data, fuse, load_samples
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.pretrain import load_network, macro_images, outcome, pretrain
from merflow.systems.tsdgcn.signals import UNIT, flow_signal, grey_signal


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Two graphs with pre-trained weights and the features of a micro dataset."""
    folder = tmp_path_factory.mktemp("learning")
    macro = make_cache(folder / "macro.h5", 6, 3, 0, "macro")
    micro = make_cache(folder / "micro.h5", 5, 2, 1, "micro")
    with h5py.File(micro, "r+") as file:
        labels = file["label"].asstr()[:]
        labels[3] = ""
        file["label"][:] = labels.tolist()
    features = []
    for name, p, q in (("one", 8, 2), ("two", 4, 0)):
        build_graph(16, p, q).save(folder / f"{name}.graph.h5")
        pretrain(
            macro, folder / f"{name}.graph.h5", folder / f"{name}.safetensors", folder / f"{name}.csv", PRETRAIN, seed=3
        )
        extract(
            micro,
            folder / f"{name}.safetensors",
            folder / f"{name}.graph.h5",
            folder / f"{name}.h5",
            {"signal": "magnitude"},
        )
        features.append(folder / f"{name}.h5")
    return {"folder": folder, "macro": macro, "micro": micro, "features": features}


def run(made, where, features=None, **changes):
    files = [where / name for name in ("predictions.csv", "accuracy_train.csv", "curves.csv")]
    finetune(features or {0: [made["features"]]}, *files, SETTINGS | changes)
    return files


# --- resizing ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(size=st.integers(2, 40), side=st.integers(2, 40), seed=st.integers(0, 99))
def test_area_averages(size, side, seed):
    image = np.random.default_rng(seed).random((2, size, size))
    found = area_resize(image, side)
    # By definition: repeat each pixel `side` times, average blocks of `size`.
    fine = image.repeat(side, axis=1).repeat(side, axis=2).reshape(2, side, size, side, size)
    np.testing.assert_allclose(found, fine.mean(axis=(2, 4)), rtol=1e-5, atol=1e-6)
    assert found.dtype == np.float32


# --- the training loop ------------------------------------------------------------------------------------------------


def test_keras_decay_and_best_epoch():
    """Against a loop written out by hand with torch's own Adam."""
    x, y = torch.randn(40, 6), torch.arange(40) % 3
    training, validation = Rows(x[:28], y[:28]), Rows(x[28:], y[28:])
    schedule = Schedule(epochs=40, patience=4, learning_rate=0.03, decay=0.05, batch=10, weight_decay=0.01)
    with repeatable(5):
        net = torch.nn.Linear(6, 3)
        found = fit(net, functional.cross_entropy, training, validation, schedule)
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
    assert found.epoch == int(np.argmin(losses)) + 1
    assert len(found.curve) == 2 * len(losses) < 80
    np.testing.assert_allclose([r["loss"] for r in found.curve if r["split"] == "validation"], losses, rtol=1e-4)
    torch.testing.assert_close(net.weight, states[found.epoch - 1], rtol=1e-4, atol=1e-5)
    assert evaluate(net, functional.cross_entropy, validation, 5)["loss"] == pytest.approx(min(losses), rel=1e-4)


def test_without_validation_all_epochs_run():
    rows = Rows(torch.randn(9, 2), torch.arange(9) % 2)
    net = torch.nn.Linear(2, 2)
    found = fit(net, functional.cross_entropy, rows, None, Schedule(5, 1, 0.01, 0.0, 4))
    assert found.epoch == 5
    assert [row["split"] for row in found.curve] == ["train"] * 5


def test_divergence_is_named():
    rows = Rows(torch.full((4, 2), 1e30), torch.arange(4) % 2)
    with pytest.raises(ConfigError, match="learning_rate"):
        fit(torch.nn.Linear(2, 2), functional.cross_entropy, rows, rows, Schedule(9, 9, 1e30, 0.0, 4))


def test_repeatable_leaves_the_generator_alone():
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


# --- pre-training -----------------------------------------------------------------------------------------------------


def test_pretraining_learns_and_says_so(made):
    for name in ("one", "two"):
        result = outcome(made["folder"] / f"{name}.safetensors")
        assert result["accuracy_train"] > 0.8
        assert result["accuracy_validation"] > 0.7
        assert result["n_train"] + result["n_validation"] == 54 * 2
        assert len(result["subjects_validation"]) == 2
        curve = read_table(made["folder"] / f"{name}.csv", CURVES)
        assert set(curve["split"]) == {"train", "validation"}
        assert set(curve["name"]) == {{"one": "8+2", "two": "4+0"}[name]}
        best = curve[curve["split"] == "validation"].set_index("epoch")["loss"].idxmin()
        assert best == result["epoch"]


def test_same_seed_same_bytes(made, tmp_path):
    folder = made["folder"]
    for seed, same in ((3, True), (4, False)):
        pretrain(made["macro"], folder / "two.graph.h5", tmp_path / "w.safetensors", tmp_path / "c.csv", PRETRAIN, seed)
        equal = (tmp_path / "w.safetensors").read_bytes() == (folder / "two.safetensors").read_bytes()
        assert equal is same
        assert ((tmp_path / "c.csv").read_bytes() == (folder / "two.csv").read_bytes()) is same


def test_frames_of_macro_clips(made, tmp_path):
    cache = make_cache(tmp_path / "cache.h5", 2, 1, 5, "macro", frames=5)
    with h5py.File(cache, "r+") as file:
        file["apex_index"][:] = [0, 1, 2, 3, 4, 2]
        labels = file["label"].asstr()[:]
        labels[5] = ""
        file["label"][:] = labels.tolist()
        spatial = file["spatial"][:]
    images, labels, subjects, classes = macro_images(cache, 16, "peak")
    assert len(images) == 2 + 3 + 3 + 3 + 2
    assert (classes, subjects[0], subjects[-1]) == (CLASSES, "macro/s0", "macro/s1")
    assert list(labels) == [0] * 2 + [1] * 3 + [2] * 3 + [0] * 3 + [1] * 2
    expected = spatial[0, 1].reshape(16, 2, 16, 2).mean(axis=(1, 3))
    expected = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(images[1:2].reshape(16, 16), expected, rtol=1e-3, atol=1e-4)
    assert len(macro_images(cache, 16, "all")[0]) == 25


def test_foreign_weights_are_refused(made, tmp_path):
    folder = made["folder"]
    with pytest.raises(InputError, match="was trained on graph"):
        load_network(folder / "one.safetensors", build_graph(16, 4, 0))
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    for name in ("w.safetensors", "missing.safetensors"):
        with pytest.raises(InputError, match=name):
            load_network(tmp_path / name, build_graph(16, 4, 0))


def test_caches_that_cannot_train(made, tmp_path):
    cache = make_cache(tmp_path / "cache.h5", 2, 1, 5, "macro")
    with h5py.File(cache, "r+") as file:
        file["label"][:] = ["up"] * 6
    with pytest.raises(InputError, match="at least 2 classes"):
        macro_images(cache, 16, "peak")
    with h5py.File(cache, "r+") as file:
        file["label"][:] = ["up", "down", "sideways"] * 2
    with pytest.raises(InputError, match="sideways"):
        macro_images(cache, 16, "peak")
    with h5py.File(cache, "r+") as file:
        del file["spatial"]
        file["spatial"] = np.zeros((6, 0, SIZE, SIZE), np.uint8)
    with pytest.raises(InputError, match="no images"):
        macro_images(cache, 16, "peak")


# --- features ---------------------------------------------------------------------------------------------------------


def test_features_are_those_of_the_network(made):
    folder = made["folder"]
    graph = build_graph(16, 8, 2)
    net, digest = load_network(folder / "one.safetensors", graph)
    with h5py.File(made["features"][0]) as file, h5py.File(made["micro"]) as cache:
        assert file["spatial"].shape == file["temporal"].shape == (30, 3, 512)
        assert file.attrs["weights"] == digest
        assert list(file.attrs["classes"]) == CLASSES
        assert file.attrs["dataset"] == "micro"
        np.testing.assert_array_equal(file["clip"][:], cache["clip"][:])
        image = cache["spatial"][11, 2].reshape(16, 2, 16, 2).mean(axis=(1, 3))
        image = (image - image.mean()) / image.std()
        motion = cache["flow"][11, 2, :2].astype(np.float64).reshape(2, 16, 2, 16, 2).mean(axis=(2, 4))
        length = np.sqrt((motion**2).sum(axis=0)) / (UNIT * SIZE)
        for branch, signal in (("spatial", image), ("temporal", length)):
            with torch.no_grad():
                expected = net.features(torch.from_numpy(signal.astype(np.float32)).reshape(1, -1))[0]
            np.testing.assert_allclose(file[branch][11, 2], expected, rtol=1e-3, atol=1e-4)


def test_brightness_and_contrast_do_not_matter():
    image = np.random.default_rng(0).integers(40, 80, (2, 3, 48, 48), dtype=np.uint8)
    found = grey_signal(image, 24)
    assert found.shape == (2, 3, 24, 24)
    np.testing.assert_allclose(found.mean(axis=(2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=(2, 3)), 1, rtol=1e-4)
    np.testing.assert_allclose(grey_signal(2 * image + 30, 24), found, rtol=1e-3, atol=1e-4)
    assert (grey_signal(np.full((1, 1, 48, 48), 77, np.uint8), 24) == 0).all()


def test_flow_signals():
    flow = np.zeros((2, 3, 3, 50, 50), np.float16)
    flow[:, :, 0], flow[:, :, 1], flow[:, :, 2] = 0.3, -0.4, 0.02
    magnitude = flow_signal(flow, 25, "magnitude")
    assert magnitude.shape == (2, 3, 25, 25)
    np.testing.assert_allclose(magnitude, 1.0, rtol=1e-3)
    both = flow_signal(flow, 25, "u+v")
    assert both.shape == (2, 6, 25, 25)
    np.testing.assert_allclose(both[0, :, 3, 4], [0.6, -0.8] * 3, rtol=1e-3)
    np.testing.assert_allclose(flow_signal(flow, 25, "strain"), 2.0, rtol=1e-3)


def test_two_rows_for_u_and_v_and_repeatable_bytes(made, tmp_path):
    inputs = [made["micro"], made["folder"] / "two.safetensors", made["folder"] / "two.graph.h5"]
    for name in ("a.h5", "b.h5"):
        extract(*inputs, tmp_path / name, {"signal": "u+v"})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["temporal"].shape == (30, 6, 512)
        assert file.attrs["rows_per_flow"] == 2
    with pytest.raises(ConfigError, match="angle"):
        extract(*inputs, tmp_path / "c.h5", {"signal": "angle"})
    assert not (tmp_path / "c.h5").exists()
    for fusion, shape in (("stack", (29, 9, 512)), ("concat", (29, 6, 1024))):
        assert load_samples([[tmp_path / "a.h5"]], SETTINGS | {"fusion": fusion}).rows.shape == shape


def test_stills_have_no_temporal_rows(made, tmp_path):
    folder = made["folder"]
    cache = make_cache(tmp_path / "cache.h5", 3, 1, 5, "stills", frames=1)
    with h5py.File(cache, "r+") as file:
        del file["flow"]
        file["flow"] = np.zeros((9, 0, 3, SIZE, SIZE), np.float16)
    extract(cache, folder / "one.safetensors", folder / "one.graph.h5", tmp_path / "f.h5", {"signal": "magnitude"})
    assert load_samples([[tmp_path / "f.h5"]], SETTINGS | {"branches": ["spatial"]}).rows.shape == (9, 1, 512)
    with pytest.raises(InputError, match="no temporal features"):
        load_samples([[tmp_path / "f.h5"]], SETTINGS)


# --- fusion and head --------------------------------------------------------------------------------------------------


def test_classes_of_an_experiment_leave_the_other_clips_out(made):
    every = load_samples([made["features"]], SETTINGS)
    some = load_samples([made["features"]], SETTINGS | {"classes": CLASSES[1:]})
    kept = [clip for clip in every.clips if clip["truth"] in CLASSES[1:]]
    assert some.classes == CLASSES[1:] and some.clips == kept and len(kept) < len(every.clips)


def test_fusion_is_eq_4_and_5(made):
    arrays = {}
    for number, path in enumerate(made["features"]):
        with h5py.File(path) as file:
            arrays[number] = {branch: np.delete(file[branch][:], 3, axis=0) for branch in ("spatial", "temporal")}
    dual = {branch: np.concatenate([arrays[0][branch], arrays[1][branch]], axis=2) for branch in arrays[0]}
    stack = load_samples([made["features"]], SETTINGS)
    np.testing.assert_array_equal(stack.rows[:][:, :3], dual["spatial"])
    np.testing.assert_array_equal(stack.rows[:][:, 3:], dual["temporal"])
    assert list(stack.branch) == [0, 0, 0, 1, 1, 1]
    concat = load_samples([made["features"]], SETTINGS | {"fusion": "concat"})
    np.testing.assert_array_equal(concat.rows[:][:, 1, :1024], dual["spatial"][:, 1])
    np.testing.assert_array_equal(concat.rows[:][:, 1, 1024:], dual["temporal"][:, 1])
    single = load_samples([made["features"][:1]], SETTINGS | {"branches": ["temporal"]})
    np.testing.assert_array_equal(single.rows[:], arrays[0]["temporal"])
    with pytest.raises(InputError, match="as many key-frames as flow images"):
        fuse({"spatial": np.zeros((2, 3, 4)), "temporal": np.zeros((2, 5, 4))}, "concat")
    with pytest.raises(ConfigError, match="sum"):
        fuse({"spatial": np.zeros((2, 3, 4))}, "sum")


def test_files_that_do_not_belong_together(made, tmp_path):
    other = make_cache(tmp_path / "other.h5", 3, 1, 2, "other")
    folder = made["folder"]
    extract(other, folder / "two.safetensors", folder / "two.graph.h5", tmp_path / "f.h5", {"signal": "magnitude"})
    with pytest.raises(InputError, match="other clips"):
        load_samples([[made["features"][0], tmp_path / "f.h5"]], SETTINGS)
    both = load_samples([made["features"][1:], [tmp_path / "f.h5"]], SETTINGS | {"datasets": ["first", "second"]})
    assert len(both.clips) == 29 + 9
    assert {clip["dataset"] for clip in both.clips} == {"micro", "other"}, "that of the subject"
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file.attrs["classes"] = ["left", "down", "up"]
    with pytest.raises(InputError, match="differ"):
        load_samples([made["features"][1:], [tmp_path / "f.h5"]], SETTINGS)
    with pytest.raises(InputError, match="is damaged|not a feature file"):
        load_samples([[made["macro"]]], SETTINGS)


@pytest.mark.parametrize("fusion", ["stack", "concat"])
def test_tables(made, tmp_path, fusion):
    features = {0: [made["features"]], 7: [made["features"]]}
    predictions, accuracy_train, curves = (
        read_table(path, columns)
        for path, columns in zip(
            run(made, tmp_path, features, fusion=fusion), (PREDICTIONS, ACCURACY_TRAIN, CURVES), strict=True
        )
    )
    assert len(predictions) == 2 * 29
    assert not predictions.duplicated(["repeat", "clip"]).any()
    assert "" not in set(predictions["truth"])
    assert set(predictions["dataset"]) == {"micro"}
    assert (predictions["fold"] == predictions["subject"]).all()
    chances = predictions[[f"p_{name}" for name in CLASSES]].to_numpy(float)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-6)
    assert [CLASSES[i] for i in chances.argmax(axis=1)] == list(predictions["predicted"])
    accuracy = (predictions["truth"] == predictions["predicted"]).mean()
    assert accuracy > 0.75
    assert (predictions["truth"] == "up").mean() < 0.5  # a constant answer fails the same gate
    assert len(accuracy_train) == 10
    assert set(accuracy_train["stage"]) == {"finetune"}
    assert accuracy_train["accuracy"].between(0.5, 1).all()
    assert set(curves["name"]) == set(predictions["fold"])
    assert set(curves["split"]) == {"train", "validation"}


def test_same_bits_on_a_second_run(made, tmp_path):
    first = [path.read_bytes() for path in run(made, tmp_path / "a")]
    second = [path.read_bytes() for path in run(made, tmp_path / "b")]
    assert first == second
    third = [path.read_bytes() for path in run(made, tmp_path / "c", {1: [made["features"]]})]
    assert third[0] != first[0]


def test_repeats_side_by_side_are_the_same_bytes(made, tmp_path, monkeypatch):
    features = {seed: [made["features"]] for seed in (3, 1, 2)}
    one, two = [], []
    for processes, where in ((1, one), (2, two)):
        folder = tmp_path / str(processes)
        where += [folder / name for name in ("predictions.csv", "accuracy_train.csv", "curves.csv")]
        finetune(features, *where, SETTINGS, processes=processes)
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]
    assert list(dict.fromkeys(read_table(two[0], PREDICTIONS)["repeat"])) == [3, 1, 2]
    monkeypatch.setattr(finetuning, "load_samples", None)
    with pytest.raises(TypeError):  # What goes wrong beside comes back.
        finetune(features, *two, SETTINGS, processes=2)


def test_poisoned_test_labels_change_nothing(made, monkeypatch):
    """Each subject's labels are poisoned before anything is read: the answers to its clips stay as they were."""
    load, poisoned = finetuning.load_samples, None

    def load_poisoned(*given):
        samples = load(*given)
        wrong = (samples.labels + np.isin(samples.subjects, poisoned)) % 3
        return Samples(samples.clips, samples.rows, samples.branch, wrong, samples.classes)

    def answers():
        ((found,),) = answer([Task({0: [made["features"]]}, SETTINGS, [SETTINGS["loss"]])])
        return {
            row["clip"]: (row["subject"], [row[f"p_{name}"] for name in CLASSES]) for row in found.predictions
        }  # fmt: skip

    honest = answers()
    monkeypatch.setattr(finetuning, "load_samples", load_poisoned)
    for subject in sorted({subject for subject, _ in honest.values()})[:2]:
        poisoned = [subject]
        changed = answers()
        same = {clip for clip, found in honest.items() if changed[clip] == found}
        assert same >= {clip for clip, (owner, _) in honest.items() if owner == subject}
        # The same labels train the other folds: a poison that nobody drinks would prove nothing.
        assert len(same) < len(honest) / 2


def test_permuted_labels_leave_chance_and_no_more(monkeypatch):
    """Heads on 50 permutations of the labels: the mean UAR is within two standard errors of chance, or below it."""
    rng, people = np.random.default_rng(0), np.repeat([f"d/{n}" for n in range(5)], 6)
    truth = np.tile(np.arange(3), 10)
    rows = (rng.normal(0, 1, (30, 1, 8)) + 2 * np.eye(3, 8)[truth][:, None]).astype(np.float32)

    def permuted(_, given):
        labels = rng.permutation(truth) if given["experiment"] else truth
        clips = [
            {"dataset": "d", "subject": str(who), "clip": str(n), "truth": CLASSES[labels[n]]}
            for n, who in enumerate(people)
        ]
        return Samples(clips, rows, np.zeros(1, np.int64), labels, CLASSES)

    monkeypatch.setattr(finetuning, "load_samples", permuted)
    head = HEAD | {"epochs": 12, "learning_rate": 1e-2}
    tasks = [Task({0: []}, SETTINGS | {"experiment": n, "head": head}, [SETTINGS["loss"]]) for n in range(51)]
    reached = []
    for ((found, *_),) in answer(tasks):
        own = [[row[name] for row in found] for name in ("truth", "predicted")]
        reached.append(score(*own, CLASSES)["uar"])
    honest, *reached = reached
    assert honest > 0.6, "there is something to learn"
    assert np.mean(reached) <= 1 / 3 + 2 * np.std(reached, ddof=1) / np.sqrt(50)


def test_test_features_change_no_training(made):
    samples = load_samples([made["features"]], SETTINGS)
    fold = loso(samples.subjects, samples.labels, seed=0)[0]
    rows = samples.rows[:]
    rows[fold.test] += 100
    one, other = (
        fold_data(Samples(samples.clips, x, samples.branch, samples.labels, CLASSES), fold, (0, 0))
        for x in (samples.rows[:], rows)
    )
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len(one.rows) + len(one.held_rows) == len(samples.rows) - len(fold.test)


def test_class_weights_reach_the_loss(made, tmp_path):
    with pytest.raises(ConfigError, match="2 values for 3 classes"):
        run(made, tmp_path, loss={"name": "focal", "alpha": [1.0, 2.0], "gamma": 0.0})
    shares = []
    for alpha in (1.0, [0.01, 0.01, 1.0]):
        short = HEAD | {"epochs": 2, "learning_rate": 1e-3}
        files = run(made, tmp_path, loss={"name": "focal", "alpha": alpha, "gamma": 0.0}, head=short)
        shares.append(read_table(files[0], PREDICTIONS)["p_left"].mean())
    assert shares[1] > shares[0] + 0.03


def test_losses_side_by_side_answer_as_each_alone(made, tmp_path):
    losses = [{"name": "focal", "alpha": 1.0, "gamma": gamma} for gamma in (0.0, 2.0)] + [{"name": "cross-entropy"}]
    features = {0: [made["features"]], 3: [made["features"]]}
    (together,) = answer([Task(features, SETTINGS, losses)])
    for loss, found in zip(losses, together, strict=True):
        ((alone,),) = answer([Task(features, SETTINGS, [loss])])
        assert found.predictions == alone.predictions and found.curves == alone.curves
        assert found.accuracy_train == alone.accuracy_train
    assert together[0].predictions == together[2].predictions, "focal loss without focus is cross entropy"
    assert together[0].predictions != together[1].predictions


def test_folds_that_wait_together_are_what_they_are_alone(made, monkeypatch):
    features = {0: [made["features"]], 3: [made["features"]]}
    ((together,),) = answer([Task(features, SETTINGS, [SETTINGS["loss"]])])
    monkeypatch.setattr(finetuning, "LESSONS_AT_ONCE", 1)
    ((alone,),) = answer([Task(features, SETTINGS, [SETTINGS["loss"]])])
    assert together == alone


def test_weights_tell_where_they_come_from(made):
    from safetensors import safe_open

    with safe_open(made["folder"] / "one.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["graph_digest"] == build_graph(16, 8, 2).digest
    assert json.loads(metadata["classes"]) == CLASSES
    assert json.loads(metadata["settings"]) == PRETRAIN


@settings(max_examples=30, deadline=None)
@given(st.lists(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.floats(allow_nan=False)))))
def test_rows_that_waited_on_the_disk_are_what_they_were(rows):
    with tempfile.TemporaryFile() as file:
        one, two = RowsInFile.of(rows, file.fileno()), RowsInFile.of([{"a": 0.1 + 0.2}], file.fileno())
        for _ in range(2):
            assert list(one) == rows and list(two) == [{"a": 0.1 + 0.2}]


@pytest.mark.parametrize("processes", [1, 2])
def test_answers_of_validation_clips_wait_on_the_disk(made, tmp_path, monkeypatch, processes):
    """They are a row for each fold and clip: millions, where clips and people are many."""
    kept = []

    def write(found, *files):
        kept.extend(part for answers in found for part in answers.validation)
        finetuning.answers_before(found, *files)

    monkeypatch.setattr(finetuning, "answers_before", finetuning.write_answers, raising=False)
    monkeypatch.setattr(finetuning, "write_answers", write)
    tables = [tmp_path / f"{name}.csv" for name in ("p", "a", "c")]
    features = {seed: [made["features"]] for seed in (0, 1)}
    own = SETTINGS | {"head": HEAD | {"epochs": 1, "patience": 1}}
    finetune(features, *tables, own, processes, validation=tmp_path / "v.csv")
    assert len(kept) == 2 * 5 and all(isinstance(part, RowsInFile) for part in kept)
    table = read_table(tmp_path / "v.csv", PREDICTIONS)
    assert table.groupby(["repeat", "fold"], sort=False).ngroups == 10
    assert not table.duplicated(["repeat", "fold", "clip"]).any()


def test_memory_does_not_grow_with_folds_when_their_answers_are_written(tmp_path):
    def peak(folds):
        rows = [
            {name: f"{name} {n}" for name in PREDICTIONS} | {"p_a": n / 300, "p_b": 1 - n / 300} for n in range(300)
        ]
        with tempfile.TemporaryFile() as file:
            parts = [RowsInFile.of(rows, file.fileno()) for _ in range(folds)]
            tracemalloc.start()
            answers = finetuning.Answers([], [], [], parts, [])
            finetuning.write_answers([answers], *(tmp_path / f"{name}.csv" for name in "pacv"))
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert len(read_table(tmp_path / "v.csv", PREDICTIONS)) == folds * len(rows)
        return found

    peak(1)
    assert peak(30) < 1.5 * peak(3)
