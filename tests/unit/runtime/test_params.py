"""Settings classes from ``snakemake.params``."""

from dataclasses import asdict

import pytest

from merflow.learning.settings import AugmentSettings, LossSettings
from merflow.protocols.settings import ClipSettings, SelectionSettings
from merflow.runtime.script_context import from_params
from merflow.systems.settings import (
    CellSettings,
    FinetuneSettings,
    FoldTrainingSettings,
    HeadSettings,
    PretrainSettings,
    SGCNSettings,
    SignalSettings,
)

FINETUNE = FinetuneSettings(
    "e",
    ClipSettings(("a",), ("x", "y"), {"a": {"c1": "x"}}),
    SelectionSettings("nested", "refit", {"loss.gamma": (1.0, 2.0)}, 3, 0.2),
    {0: "splits.csv"},
    1,
    SignalSettings(("spatial",), "stack", "u+v", "constant", "no"),
    LossSettings("focal", (1.0, 2.0), 1.0),
    HeadSettings(1, 1, 1e-3, 0.0, 8, 0.0, hidden=8, dropout=0.5),
)


def test_from_params_is_the_inverse_of_asdict():
    pretrain = PretrainSettings(1, 1, 1e-3, 0.0, 8, 0.5, "peak", 0.2)
    augment = AugmentSettings(True, 5.0, 0.1, 0.1, 0.2)
    more = {"pretrain": pretrain, "together": False, "sgcn": SGCNSettings(4, True), "augment": augment}
    fold = FoldTrainingSettings(**vars(FINETUNE), transfer="frozen", network_seeds=(3,), **more)
    cell = CellSettings("row", "", "loso", FINETUNE, {0: (("f.h5",),)}, ("w.safetensors",))
    for settings in (FINETUNE, fold, cell):
        assert from_params(type(settings), asdict(settings)) == settings


def test_from_params_refuses_unknown_and_missing_keys():
    params = asdict(FINETUNE.loss)
    with pytest.raises(TypeError, match="beta"):
        from_params(LossSettings, params | {"beta": 1.0})
    del params["gamma"]
    with pytest.raises(TypeError, match="gamma"):
        from_params(LossSettings, params)
