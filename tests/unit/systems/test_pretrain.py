"""Pre-training: images are read from disk, and weights belong to their graph."""

import json

import pytest
from graph_caches import CLASSES, PRETRAIN, make_cache
from safetensors import safe_open
from training_jobs import pretrain

from merflow.errors import InputError
from merflow.learning.batches import Batches
from merflow.systems.tsdgcn import pretrain as module
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.pretrain import load_network


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
