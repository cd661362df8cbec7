"""The network of docs/add-a-model.md with its augmentation: which clips it changes, and how."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clip_network_training import FAST, train
from flow_caches import balanced, make_cache
from repository import REPO
from torch.nn import functional

from merflow.learning.batches import Centred
from merflow.protocols.settings import ClipSettings
from merflow.systems.clip_images import read_clip_images
from merflow.systems.registry import NETWORKS, NetworkSystem
from merflow.systems.saved_models import read_models

PAGE = REPO / "docs" / "add-a-model.md"


class Linear(torch.nn.Module):
    """In place of the page's layers, for inputs of any shape; keeps what it gets in training and otherwise."""

    def __init__(self, classes, size):
        super().__init__()
        self.scores = torch.nn.Linear(size, classes)
        self.inputs = {True: [], False: []}

    def forward(self, x):
        self.inputs[self.training].append(x.clone())
        return self.scores(x.flatten(1))


@pytest.fixture(scope="module")
def supervise():
    """The method ``supervise`` of the page, as it stands in a class."""
    network, _, method = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    namespace = {}
    exec(f"import torch\n{network}\n{method}", namespace)
    return namespace["TwoLayers"].supervise


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 4, 8, 8)], ids=["flow-image", "flows"])
def test_mirrored_clips_equal_those_of_mirrored_footage(supervise, shape):
    """A mirrored person moves to the other side: u changes its sign, then the mean image is subtracted."""
    rng = np.random.default_rng(0)
    raw = rng.normal(2, 3, (40, *shape)).astype(np.float32)
    turned = raw[..., ::-1] * np.array([-1, 1, 1]).reshape(3, *[1] * (len(shape) - 1))
    centred = Centred(raw.reshape(40, 3, -1), np.arange(30))
    plain, mirrored = (
        torch.from_numpy((clips.reshape(40, 3, -1) - centred.mean) / centred.divisor).float().view(40, *shape)
        for clips in (raw, turned)
    )
    network = Linear(3, plain[0].numel())
    network.register_buffer("mean_image", torch.from_numpy(centred.mean / centred.divisor).view(shape))
    torch.manual_seed(0)
    y = torch.arange(40) % 3
    value, scores = supervise(network, plain, y, functional.cross_entropy)
    (seen,) = network.inputs[True]
    unchanged, changed = (
        [torch.allclose(clip, other, atol=1e-4) for clip, other in zip(seen, clips, strict=True)]
        for clips in (plain, mirrored)
    )
    assert all(a != b for a, b in zip(unchanged, changed, strict=True)) and 10 < sum(changed) < 30
    assert value == functional.cross_entropy(scores, y) and scores.shape == (40, 3)
    wrong = plain.flip(-1)
    wrong[:, 0] *= -1
    assert (wrong - mirrored).abs().max() > 0.5, "minus u of the standardised clip is another image"


def test_training_mirrors_only_training_clips(tmp_path, monkeypatch, supervise):
    made = []

    class Watched(Linear):
        def __init__(self, classes, dropout):
            super().__init__(classes, 3 * 28 * 28)
            made.append(self)

    Watched.supervise = supervise
    monkeypatch.setitem(sys.modules, "merflow.systems.watched", SimpleNamespace(Watched=Watched))
    settings = {"epochs": 4, "patience": 4, "learning_rate": 1e-3, "batch": 32, "dropout": 0.0}
    monkeypatch.setitem(NETWORKS, "watched", NetworkSystem("watched:Watched", settings))
    monkeypatch.setitem(FAST, "watched", {})
    cache = make_cache(tmp_path / "cache.h5", *balanced(people=4))
    train([cache], "watched", tmp_path, "people/s1")
    (network,) = made
    (model,) = read_models(next(tmp_path.rglob("*.safetensors"))).values()
    weights = {name: tensor.numpy() for name, tensor in model.tensors.items()}
    assert set(weights) == {"network.scores.weight", "network.scores.bias", "centre.mean", "centre.divisor"}
    mean, divisor = weights["centre.mean"], weights["centre.divisor"]
    np.testing.assert_allclose(network.mean_image, (mean / divisor).reshape(3, 28, 28), atol=1e-6)
    rows = read_clip_images([cache], ClipSettings(["people"], ["happiness", "surprise", "disgust"], {})).rows[:]
    clips = torch.from_numpy((rows - mean) / divisor).view(-1, 3, 28, 28)

    def share_of_clips(inputs):
        return np.mean([(clips - x).abs().amax((1, 2, 3)).min().item() < 1e-4 for x in torch.cat(inputs)])

    assert 0.2 < share_of_clips(network.inputs[True]) < 0.8
    assert share_of_clips(network.inputs[False]) == 1
