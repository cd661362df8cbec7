"""Pre-training: images are read from disk, and weights belong to their graph."""

import json

import pytest
import torch
from graph_caches import CLASSES, PRETRAIN, make_cache
from safetensors import safe_open
from training_jobs import pretrain

from merflow.errors import InputError
from merflow.learning.batches import Batches
from merflow.storage.tables import CURVES, read_table
from merflow.systems.settings import PretrainSettings
from merflow.systems.tsdgcn import pretrain as module
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.pretrain import load_network, outcome


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Weights of a short pre-training, which gets batches that are read from disk, not a tensor."""
    macro = make_cache(tmp_path / "macro.h5", 4, 1, 0, "macro")
    build_graph(16, 8, 2).save(tmp_path / "graph.h5")
    fit = module.fit

    def watched(network, loss, training, *others):
        assert isinstance(training.x, Batches)
        return fit(network, loss, training, *others)

    monkeypatch.setattr(module, "fit", watched)
    weights = tmp_path / "weights.safetensors"
    pretrain(macro, tmp_path / "graph.h5", weights, tmp_path / "c.csv", PRETRAIN | {"epochs": 3}, seed=0)
    return weights


def test_weights_name_their_graph_and_classes(weights):
    graph, other = build_graph(16, 8, 2), build_graph(16, 8, 2, seed=1)
    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
    assert metadata["graph_digest"] == graph.digest
    assert json.loads(metadata["classes"]) == CLASSES
    assert load_network(weights, graph)[0].classifier.out_features == len(CLASSES)
    # Both graphs have the same name.
    with pytest.raises(InputError, match=f"trained on graph {graph.digest}, not on {other.digest}") as caught:
        load_network(weights, other)
    assert "weights.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_people_train_without_validation(tmp_path):
    macro = make_cache(tmp_path / "macro.h5", 4, 2, 0, "macro")
    build_graph(16, 8, 2).save(tmp_path / "graph.h5")
    settings = PRETRAIN | {"epochs": 3, "patience": 1, "validation": 0.0}
    pretrain(macro, tmp_path / "graph.h5", tmp_path / "w.safetensors", tmp_path / "c.csv", settings, seed=0)
    result = outcome(tmp_path / "w.safetensors")
    assert (result["epoch"], result["n_train"], result["n_validation"]) == (3, 48, 0)
    assert result["subjects_validation"] == []


def test_two_networks_are_trained_as_one(tmp_path):
    """Both files have the accuracy of one classifier on the concatenated features (Eq. 4)."""
    macro = make_cache(tmp_path / "macro.h5", 4, 2, 0, "macro")
    graphs = [build_graph(16, 8, 2), build_graph(16, 4, 0)]
    names = ("first", "second")
    for graph, name in zip(graphs, names, strict=True):
        graph.save(tmp_path / f"{name}.h5")
    files = [[tmp_path / f"{name}.{suffix}" for name in names] for suffix in ("h5", "safetensors", "csv")]
    module.pretrain(macro, *files, PretrainSettings(**PRETRAIN | {"epochs": 6}), seed=0)
    networks = [load_network(weights, graph)[0] for weights, graph in zip(files[1], graphs, strict=True)]
    results = [outcome(weights) for weights in files[1]]
    assert results[0] == results[1] and (results[0]["n_train"], results[0]["n_validation"]) == (36, 12)
    images, labels, *_ = module.macro_images(macro, 16, "peak")
    x = torch.from_numpy(images[:].reshape(len(labels), -1))
    with torch.no_grad():
        features = torch.cat([network.features(x) for network in networks], dim=1)
        classifier = torch.cat([network.classifier.weight for network in networks], dim=1)
        bias = networks[0].classifier.bias + networks[1].classifier.bias
        right = ((features @ classifier.T + bias).argmax(dim=1).numpy() == labels).sum()
        alone = [int((network(x).argmax(dim=1).numpy() == labels).sum()) for network in networks]
    counted = sum(results[0][f"accuracy_{part}"] * results[0][f"n_{part}"] for part in ("train", "validation"))
    assert right == pytest.approx(counted) and alone != [right, right]
    curves = [read_table(file, CURVES).drop(columns="name") for file in files[2]]
    assert curves[0].equals(curves[1])
