"""Pre-training: Chebyshev terms are computed once, and weights belong to their graph."""

import json

import pytest
import torch
from graph_caches import CLASSES, PRETRAIN, make_cache
from safetensors import safe_open
from training_jobs import pretrain

from merflow.errors import InputError
from merflow.learning.batches import Batches
from merflow.systems.tsdgcn import pretrain as module
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.pretrain import load_network
from merflow.systems.tsdgcn.sgcn import SGCN

EPOCHS = 3


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Run a short pre-training; return its weights file, and the number of images of each computation of terms."""
    macro = make_cache(tmp_path / "macro.h5", 4, 1, 0, "macro")
    build_graph(16, 8, 2).save(tmp_path / "graph.h5")
    calls, terms = [], SGCN.terms

    def counted(self, x):
        calls.append(len(x))
        return terms(self, x)

    monkeypatch.setattr(SGCN, "terms", counted)

    def run(name, memory):
        monkeypatch.setattr(module, "TERMS_SPACE", memory)
        calls.clear()
        weights = tmp_path / f"{name}.safetensors"
        pretrain(macro, tmp_path / "graph.h5", weights, tmp_path / "c.csv", PRETRAIN | {"epochs": EPOCHS}, seed=0)
        return weights, list(calls)

    return run


def test_terms_are_computed_once_if_they_fit_on_disk(train):
    graph = build_graph(16, 8, 2)
    # 12 clips of two images; one of the four people chooses the epoch.
    needed = 4 * SGCN(graph, 3).terms_per_image * 24
    cached, calls = train("cached", needed)
    assert calls == [18, 6]
    fresh, calls = train("fresh", needed - 1)
    assert len(calls) > 3 * EPOCHS
    assert max(calls) <= PRETRAIN["batch"]
    with safe_open(cached, "pt") as one, safe_open(fresh, "pt") as other:
        assert set(one.keys()) == set(other.keys())
        for name in one.keys():  # noqa: SIM118 - not a dictionary
            torch.testing.assert_close(one.get_tensor(name), other.get_tensor(name), rtol=1e-3, atol=1e-4)


def test_terms_are_kept_on_disk(train, monkeypatch):
    """The training gets batches that are read from disk, not a tensor."""
    handed, fit = [], module.fit

    def watched(network, loss, training, *others):
        handed.append(type(training.x))
        return fit(network, loss, training, *others)

    monkeypatch.setattr(module, "fit", watched)
    train("stored", 2**30)
    assert handed == [Batches]


def test_weights_name_their_graph_and_classes(train):
    graph, other = build_graph(16, 8, 2), build_graph(16, 8, 2, seed=1)
    weights, _ = train("weights", 0)
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
