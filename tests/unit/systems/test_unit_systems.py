"""Systems that recognise action units: they learn several units of a clip, and give each a probability."""

from functools import partial

import numpy as np
import pytest
import torch
from clip_network_training import FAST, train
from flow_caches import CLASSES, balanced, make_cache
from torch.nn import functional
from training_jobs import run_linear

from merflow.learning.fit import repeatable
from merflow.learning.losses import class_weights, make_loss, probabilities, right, row_losses
from merflow.learning.settings import LossSettings
from merflow.storage.tables import PREDICTIONS, read_table
from merflow.systems.linear import fit
from merflow.systems.mersiamc3d import SameClass
from merflow.systems.msjfn import MSJFN

UNITS = ["AU1", "AU2"]
SHOWN = dict(zip(CLASSES, ("AU1", "AU1+AU2", "none"), strict=True))
LOSS = LossSettings("binary-cross-entropy", 1.0, 0.0, "balanced")


def units_of(labels):
    labelled = {f"c{n:03d}": SHOWN[label] for n, label in enumerate(labels)}
    return {"classes": UNITS, "labels": {"people": labelled | {"c000": ""}}, "units": True}


def f1_of(table, unit):
    truth, predicted = (table[name].str.contains(unit) for name in ("truth", "predicted"))
    return 2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())


@pytest.mark.parametrize("system", FAST)
def test_networks_learn_units(tmp_path, system):
    labels, subjects = balanced(each=3)
    cache = make_cache(tmp_path / "cache.h5", labels, subjects)
    changes = {"epochs": 25, "patience": 25, "epoch_choice": "fixed"}
    settings = units_of(labels) | {"loss": vars(LOSS)}
    table, files = train([cache], system, tmp_path / system, "people/s1", changes=changes, **settings)
    assert set(table["truth"]) == {"AU1", "AU1+AU2", "none"} and len(table) == 9
    assert min(f1_of(table, unit) for unit in UNITS) > 0.8
    assert (table["predicted"].str.contains("AU2") == (table["p_AU2"] > 0.5)).all()
    both = table[table["truth"] == "AU1+AU2"]
    assert (both[["p_AU1", "p_AU2"]].sum(axis=1) > 1.2).any(), "the probabilities of units do not share 1"
    assert set(read_table(files["test_epochs"], [])["answers"]) == {""}, "no answers of epochs are kept"


@pytest.mark.parametrize("system", ["linear-svm", "rbf-svm", "softmax", "all-ones"])
def test_baselines_answer_units_of_coded_clips(tmp_path, system):
    labels, subjects = balanced()
    cache = make_cache(tmp_path / "cache.h5", labels, subjects)
    settings = {"experiment": "floor", "protocol": "loso"} | units_of(labels)
    run_linear([cache], system, tmp_path / "p.csv", tmp_path / "a.csv", settings)
    table = read_table(tmp_path / "p.csv", PREDICTIONS)
    assert len(table) == len(labels) - 1 and "c000" not in set(table["clip"]), "it was not coded"
    if system == "all-ones":
        assert set(table["predicted"]) == {"AU1+AU2"}
    else:
        assert min(f1_of(table, unit) for unit in UNITS) > 0.8


@pytest.mark.parametrize("system", ["linear-svm", "softmax"])
def test_each_unit_has_the_baseline_of_its_two_classes(system):
    rng = np.random.default_rng(0)
    images, units = rng.normal(size=(40, 60)).astype(np.float32), rng.integers(0, 2, (40, 3))
    units[:, 2] = 0
    probs = fit(system, images, units, 3)(images)
    for column in (0, 1):
        np.testing.assert_allclose(probs[:, column], fit(system, images, units[:, column], 2)(images)[:, 1])
    assert (probs[:, 2] == 0).all(), "no training clip shows it"


def test_unit_loss_is_that_of_torch_with_weights_of_the_training_clips():
    labels = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0], [1, 1, 0]])
    scores, target = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.from_numpy(labels)
    weights = class_weights(LOSS, np.vstack([labels, labels[1:2]]), 3)
    torch.testing.assert_close(weights, torch.tensor([3 / 2, 3 / 2, 5]))
    expected = functional.binary_cross_entropy_with_logits(scores, target.float(), pos_weight=torch.tensor([1.0, 1, 4]))
    torch.testing.assert_close(make_loss(LOSS, labels, 3)(scores, target), expected)
    by_row = row_losses(scores[None], target[None], class_weights(LOSS, labels, 3)[None], LOSS)
    assert by_row.shape == (1, 4)
    torch.testing.assert_close(by_row.mean(), expected)
    assert right(torch.tensor([[2.0, -1.0], [2.0, -1.0]]), torch.tensor([[1, 0], [0, 0]])).tolist() == [1, 0.5]


@pytest.mark.parametrize("fusion", ["uniform", "learned", "none"])
def test_msjfn_fuses_the_probabilities_of_units(fusion):
    with repeatable(0):
        network = MSJFN(3, dropout=0.0, width=4, fusion=fusion, units=True).double().eval()
        images = torch.randn(5, 3, 28, 28, dtype=torch.float64)
    probs = partial(probabilities, units=True)
    parts = probs(network.predictions(images))
    torch.testing.assert_close(probs(network(images)), parts[0] if fusion == "none" else parts.mean(dim=0))


def test_clips_of_the_same_units_are_of_one_class():
    units = torch.tensor([[1, 0], [1, 1], [1, 0], [0, 0]])
    assert SameClass(units)[torch.tensor([0, 2, 3])].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
