"""The choices of docs/fidelity.md, one by one: each runs through the whole workflow and changes predictions."""

import h5py
import numpy as np
import pandas as pd
import people
import pytest
from repository import copy_repository, snakemake

from merflow.protocols.variants import variant_label

PLAIN = {
    "system": "tsdgcn",
    "macro": "posed",
    "micro": "people",
    "graphs": ["8+2"],
    "graph": {"side": 28},
    "pretrain": {"epochs": 1, "batch": 8, "learning_rate": 1e-3},
    "head": {"epochs": 4, "hidden": 16, "learning_rate": 1e-3},
}
FROZEN = [
    {"graph.threshold": 4.47213595499958, "graphs": ["14+6"]},
    {"graph.sigma": "image"},
    {"graph.sigma": 0.7},
    {"graphs": ["4+0"]},
    {"graphs": ["4+6"]},
    {"graphs": ["12+0"]},
    {"graphs": ["5+3"]},
    {"graphs": ["8+2", "4+0"]},
    {"graphs": ["8+2", "8+2"]},
    {"graph.side": 128},
    {"macro": "others"},
    {"pretrain.frames": "all"},
    {"pretrain.validation": 0},
    {"graph.symmetrise": "mean-degree"},
    {"graphs": ["8+2", "4+0"], "pretrain.together": True},
    {"fusion": "concat"},
    {"fusion": "stack"},
    {"spatial.relative": False},
    {"branches": ["spatial"]},
    {"branches": ["temporal"]},
    {"loss.name": "cross-entropy"},
    {"loss.alpha": [0.1, 1.0, 4.0]},
    {"loss.gamma": 4.0},
    {"temporal.signal": "u+v"},
    {"temporal.signal": "strain"},
    {"temporal.normalise": "constant"},
    {"head.hidden": 24},
    {"head.batch": 2},
]
"""Choices of shared networks: rows of a table of variants."""
TWO, EXCLUDING = ["8+2", "4+0"], PLAIN["pretrain"] | {"exclude_test_subjects": True}
OTHERS = {
    "end-to-end": {"transfer": "end-to-end", "spatial": {"relative": True}},
    "end-to-end-whole-images": {"transfer": "end-to-end"},
    "untrained": {"macro": "none"},
    "untrained-clips": {"macro": "none", "fusion": "clip"},
    "untrained-beside": {"macro": "none", "fusion": "concat"},
    "untrained-normalised": {"macro": "none", "temporal": {"normalise": "image"}},
    "untrained-relative": {"macro": "none", "spatial": {"relative": False}},
    "untrained-validation": {"macro": "none", "head": PLAIN["head"] | {"epoch_choice": "validation"}},
    "untrained-temporal": {"macro": "none", "branches": ["temporal"]},
    "channels": {"macro": "none", "branches": ["temporal"], "temporal": {"signal": "channels"}},
    "four-layers": {"macro": "none", "sgcn": {"layers": 4}},
    "batch-norm": {"macro": "none", "sgcn": {"batch_norm": True}},
    "without-test-subjects": {"pretrain": EXCLUDING},
    "without-test-subjects-dual": {"graphs": TWO, "pretrain": EXCLUDING},
    "without-test-subjects-together": {"graphs": TWO, "pretrain": EXCLUDING | {"together": True}},
    "two": {"prep": "two"},
    "consecutive": {"prep": "consecutive"},
}
"""Choices that train in each fold or use another preparation: experiments."""
SIAMESE = {
    "system": "mersiamc3d",
    "micro": "people",
    "network": {"side": 20, "width": 4, "epochs": 2, "prior": False, "epoch_choice": "fixed"},
}
FOUR = {"count": 4}
"""So many key-frames that the macro peak (apex and neighbours) is only a part of them."""
PREPARATIONS = {
    "proportional": {"keyframes": FOUR | {"method": "proportional"}},
    "interpolated": {"keyframes": FOUR | {"method": "proportional", "interpolate": True}},
    "uniform": {"keyframes": FOUR | {"method": "uniform"}},
    "farneback": {"keyframes": FOUR, "flow": {"backend": "farneback"}},
    "not-normalised": {"keyframes": FOUR, "flow": {"normalise": False}},
    "not-smoothed": {"keyframes": FOUR, "flow": {"smooth": 0}},
    "with-head-motion": {"keyframes": FOUR, "flow": {"rigid": False}},
}
"""Preparations that `siamese` is run with, by name."""
PAIRS = {"prior": True, "prior_epochs": 1}
SIAMESE_OTHERS = {
    "siamese-key-frames": {"network": SIAMESE["network"] | {"input_kind": "key-frames"}},
    "siamese-magnitude": {"network": SIAMESE["network"] | {"input_kind": "flows-magnitude"}},
    "siamese-not-augmented": {"augment": {"apply": False}},
    "siamese-prior": {"network": SIAMESE["network"] | PAIRS},
    "siamese-frozen": {"network": SIAMESE["network"] | PAIRS | {"frozen": 2}},
} | {f"siamese-{prep}": {"prep": prep} for prep in PREPARATIONS}
"""Choices of MERSiamC3D, compared with `siamese`."""
BASES = {
    variant_label({"graphs": ["8+2", "4+0"], "pretrain.together": True}): variant_label({"graphs": ["8+2", "4+0"]}),
    "untrained-clips": "untrained",
    "untrained-beside": "untrained",
    "untrained-normalised": "untrained",
    "untrained-relative": "untrained",
    "untrained-validation": "untrained",
    "untrained-temporal": "untrained",
    "end-to-end-whole-images": "end-to-end",
    "four-layers": "untrained",
    "batch-norm": "untrained",
    "channels": "untrained-temporal",
    "without-test-subjects-dual": "without-test-subjects",
    "without-test-subjects-together": "without-test-subjects-dual",
    "siamese-interpolated": "siamese-proportional",
    "siamese-frozen": "siamese-prior",
}
"""What a choice is compared with, if it is neither `plain` nor `siamese`: another choice that differs in one thing."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = copy_repository(tmp_path_factory.mktemp("selectable"))
    people.draw(folder / "people", "micro", 3, 0)
    people.draw(folder / "posed", "macro", 4, 2)  # s03 is among both
    people.draw(folder / "others", "macro", 2, 7)
    experiments = {"plain": PLAIN} | {name: PLAIN | changes for name, changes in OTHERS.items()}
    experiments |= {"siamese": SIAMESE} | {name: SIAMESE | changes for name, changes in SIAMESE_OTHERS.items()}
    config = people.config(
        folder, experiments=experiments, floors=[], tables={"choices": {"of": "plain", "rows": FROZEN}}
    )
    config["datasets"]["others"] = {"layout": "manifest", "root": str(folder / "others"), "kind": "macro"}
    config["preparations"] = {
        "default": {"keyframes": FOUR},
        "two": {"keyframes": {"count": 2}},
        "consecutive": {"keyframes": FOUR, "flow": {"reference": "consecutive"}},
        **PREPARATIONS,
    }
    snakemake(folder, config=config)
    tables = [
        pd.read_csv(folder / "results/mine" / name) for name in ("predictions.csv", "tables/choices/predictions.csv")
    ]
    return folder / "results", pd.concat(tables).set_index("experiment")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OTHERS, *SIAMESE_OTHERS, *map(variant_label, FROZEN)])
def test_every_choice_changes_predictions(study, name):
    base = BASES.get(name, "siamese" if name in SIAMESE_OTHERS else "plain")
    plain, chosen = (
        study[1].loc[experiment].sort_values("clip").filter(like="p_").to_numpy() for experiment in (base, name)
    )
    assert plain.shape == chosen.shape == (9, 3)
    np.testing.assert_allclose(chosen.sum(axis=1), 1, atol=1e-6)
    assert np.abs(plain - chosen).max() > 1e-4, "the key has no effect"


@pytest.mark.slow
def test_number_of_keyframes_is_selectable(study):
    for prep, count in (("default", 4), ("two", 2)):
        with h5py.File(study[0] / "data" / "people" / prep / "cache.h5") as cache:
            assert cache["spatial"].shape[1] == cache["flow"].shape[1] == count
