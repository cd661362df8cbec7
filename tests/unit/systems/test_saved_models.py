"""The file of trained models."""

from types import SimpleNamespace

import numpy as np
import pytest
from training_jobs import selection_settings

from merflow.errors import InputError
from merflow.protocols.settings import ClipSettings
from merflow.storage.weights import write_weights
from merflow.systems.saved_models import SavedModel, models_in, read_models, write_models
from merflow.systems.settings import LinearSettings

CLIPS = ClipSettings(["d"], ["a", "b"], {"d": {"c1": "secret"}})
SETTINGS = LinearSettings("mine", CLIPS, selection_settings({}), {0: "splits.csv"}, 1, "any")


def result(seed, fold, value):
    arrays = {"network.w": np.full((2, 3), value, np.float32), "network.count": np.array(int(value))}
    return SimpleNamespace(
        repeat=seed, fold=fold, models=[SavedModel({"network": "any", "options": {"width": value}}, arrays)]
    )


def test_models_are_read_by_seed_fold_and_member(tmp_path):
    results = [result(0, "d/s1", 1.0), result(0, "d/s2", 2.0), result(7, "d/s1", 3.0)]
    results[2].models.extend(result(7, "d/s1", 4.0).models)
    write_models(results, tmp_path / "m.safetensors", SETTINGS)
    models = read_models(tmp_path / "m.safetensors")
    names = ("seed", "fold", "member")
    assert [tuple(model[name] for name in names) for model in models_in(tmp_path / "m.safetensors")] == list(models)
    assert list(models)[-2:] == [(7, "d/s1", 0), (7, "d/s1", 1)]
    for (seed, fold, member), model in models.items():
        (same,) = [r.models[member] for r in results if (r.repeat, r.fold) == (seed, fold)]
        assert model.about["options"] == same.about["options"]
        assert {name: tensor.numpy().tolist() for name, tensor in model.tensors.items()} == {
            name: array.tolist() for name, array in same.arrays.items()
        }
    assert b"secret" not in (tmp_path / "m.safetensors").read_bytes(), "no label is stored"


def test_file_of_no_models_is_empty(tmp_path):
    write_models([], tmp_path / "m.safetensors", SETTINGS)
    assert models_in(tmp_path / "m.safetensors") == [] and read_models(tmp_path / "m.safetensors") == {}


@pytest.mark.parametrize("folds", ["[1]", "{", '[{"seed": 0}]', '[{"seed": null, "fold": "a"}]', "5"])
def test_file_of_something_else_is_refused(tmp_path, folds):
    write_weights({}, tmp_path / "m.safetensors", {"folds": folds})
    with pytest.raises(InputError, match="holds no models of merflow"):
        read_models(tmp_path / "m.safetensors")
