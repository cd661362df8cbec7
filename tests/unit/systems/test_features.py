"""From caches to features: pre-training on macro images, signals, outputs of the SGCN."""

import json

import h5py
import numpy as np
import pytest
import torch
from graph_caches import CLASSES, PRETRAIN, SIZE, make_cache
from training_jobs import pretrain

from merflow.errors import InputError
from merflow.storage.tables import CURVES, read_table
from merflow.systems.tsdgcn.features import extract
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.pretrain import load_network, macro_images, outcome
from merflow.systems.tsdgcn.signals import UNIT, flow_signal, grey_signal


def test_pretrain_learns_and_records_its_outcome(pretrained):
    for name in ("one", "two"):
        result = outcome(pretrained["folder"] / f"{name}.safetensors")
        assert result["accuracy_train"] > 0.8
        assert result["accuracy_validation"] > 0.7
        assert result["n_train"] + result["n_validation"] == 54 * 2
        assert len(result["subjects_validation"]) == 2
        curve = read_table(pretrained["folder"] / f"{name}.csv", CURVES)
        assert set(curve["split"]) == {"train", "validation"}
        assert set(curve["name"]) == {{"one": "8+2", "two": "4+0"}[name]}
        best = curve[curve["split"] == "validation"].set_index("epoch")["loss"].idxmin()
        assert best == result["epoch"]


def test_pretrain_with_same_seed_gives_same_bytes(pretrained, tmp_path):
    folder = pretrained["folder"]
    for seed, same in ((3, True), (4, False)):
        pretrain(
            pretrained["macro"], folder / "two.graph.h5", tmp_path / "w.safetensors", tmp_path / "c.csv", PRETRAIN, seed
        )
        equal = (tmp_path / "w.safetensors").read_bytes() == (folder / "two.safetensors").read_bytes()
        assert equal is same
        assert ((tmp_path / "c.csv").read_bytes() == (folder / "two.csv").read_bytes()) is same


def test_macro_images_reads_frames_near_the_apex(pretrained, tmp_path):
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


def test_load_network_refuses_foreign_weights(pretrained, tmp_path):
    folder = pretrained["folder"]
    with pytest.raises(InputError, match="was trained on graph"):
        load_network(folder / "one.safetensors", build_graph(16, 4, 0))
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    for name in ("w.safetensors", "missing.safetensors"):
        with pytest.raises(InputError, match=name):
            load_network(tmp_path / name, build_graph(16, 4, 0))


def test_macro_images_names_unusable_caches(pretrained, tmp_path):
    cache = make_cache(tmp_path / "cache.h5", 2, 1, 5, "macro")
    with h5py.File(cache, "r+") as file:
        file["label"][:] = ["up"] * 6
    with pytest.raises(InputError, match="at least 2 of up, down, left"):
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


def test_extract_writes_outputs_of_the_network(pretrained):
    folder = pretrained["folder"]
    graph = build_graph(16, 8, 2)
    net, digest = load_network(folder / "one.safetensors", graph)
    with h5py.File(pretrained["features"][0]) as file, h5py.File(pretrained["micro"]) as cache:
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


def test_grey_signal_ignores_brightness_and_contrast():
    image = np.random.default_rng(0).integers(40, 80, (2, 3, 48, 48), dtype=np.uint8)
    signal = grey_signal(image, 24)
    assert signal.shape == (2, 3, 24, 24)
    np.testing.assert_allclose(signal.mean(axis=(2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(signal.std(axis=(2, 3)), 1, rtol=1e-4)
    np.testing.assert_allclose(grey_signal(2 * image + 30, 24), signal, rtol=1e-3, atol=1e-4)
    assert (grey_signal(np.full((1, 1, 48, 48), 77, np.uint8), 24) == 0).all()


def test_flow_signal_of_constant_motion():
    flow = np.zeros((2, 3, 3, 50, 50), np.float16)
    flow[:, :, 0], flow[:, :, 1], flow[:, :, 2] = 0.3, -0.4, 0.02
    magnitude = flow_signal(flow, 25, "magnitude")
    assert magnitude.shape == (2, 3, 25, 25)
    np.testing.assert_allclose(magnitude, 1.0, rtol=1e-3)
    both = flow_signal(flow, 25, "u+v")
    assert both.shape == (2, 6, 25, 25)
    np.testing.assert_allclose(both[0, :, 3, 4], [0.6, -0.8] * 3, rtol=1e-3)
    np.testing.assert_allclose(flow_signal(flow, 25, "strain"), 2.0, rtol=1e-3)
    channels = flow_signal(flow, 25, "channels")
    assert channels.shape == (2, 3, 3, 25, 25)
    np.testing.assert_allclose(channels[0, :, :, 3, 4], [[0.6, -0.8, 2.0]] * 3, rtol=1e-3)


@pytest.mark.parametrize("signal", ["magnitude", "u+v", "strain", "channels"])
def test_flow_images_can_have_mean_0_and_deviation_1(signal):
    flow = np.random.default_rng(0).normal(0.2, 0.3, (2, 3, 3, 50, 50)).astype(np.float16)
    plain, images = (flow_signal(flow, 25, signal, normalise) for normalise in ("constant", "image"))
    mean, deviation = (getattr(plain, name)(axis=(-2, -1), keepdims=True) for name in ("mean", "std"))
    np.testing.assert_allclose(images, (plain - mean) / deviation, atol=1e-4)
    assert (flow_signal(0 * flow, 25, signal, "image") == 0).all()


def test_extract_of_u_and_v_is_repeatable(pretrained, tmp_path):
    inputs = [pretrained["micro"], pretrained["folder"] / "two.safetensors", pretrained["folder"] / "two.graph.h5"]
    for name in ("a.h5", "b.h5"):
        extract(*inputs, tmp_path / name, "u+v")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["temporal"].shape == (30, 6, 512)
        assert file.attrs["rows_per_flow"] == 2


def test_weights_name_their_origin(pretrained):
    from safetensors import safe_open

    with safe_open(pretrained["folder"] / "one.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["graph_digest"] == build_graph(16, 8, 2).digest
    assert json.loads(metadata["classes"]) == CLASSES
    assert json.loads(metadata["settings"]) == PRETRAIN
