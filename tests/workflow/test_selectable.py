"""Every choice of docs/fidelity.md by its key, through the whole workflow: it runs, and it changes the answers."""

import h5py
import numpy as np
import pandas as pd
import people
import pytest

from conftest import copy_repository, snakemake

CHOICES = {
    "plain": {},
    "threshold": {"graph": {"threshold": 4.47213595499958}, "graphs": ["14+6"]},
    "sigma-image": {"graph": {"sigma": "image"}},
    "sigma-number": {"graph": {"sigma": 0.7}},
    "graph-4-0": {"graphs": ["4+0"]},
    "graph-4-6": {"graphs": ["4+6"]},
    "graph-12-0": {"graphs": ["12+0"]},
    "graph-5-3": {"graphs": ["5+3"]},
    "dual": {"graphs": ["8+2", "4+0"]},
    "twins": {"graphs": ["8+2", "8+2"]},
    "side-128": {"graph": {"side": 128}},
    "end-to-end": {"transfer": "end-to-end"},
    "untrained": {"macro": "none"},
    "other-macro": {"macro": "others"},
    "without-test-subjects": {"pretrain": {"exclude_test_subjects": True}},
    "all-macro-frames": {"pretrain": {"frames": "all"}},
    "concat": {"fusion": "concat"},
    "spatial": {"branches": ["spatial"]},
    "temporal": {"branches": ["temporal"]},
    "cross-entropy": {"loss": {"name": "cross-entropy"}},
    "alpha-per-class": {"loss": {"name": "focal", "alpha": [0.1, 1.0, 4.0], "gamma": 1.0}},
    "gamma": {"loss": {"name": "focal", "alpha": 1.0, "gamma": 4.0}},
    "u-and-v": {"temporal": {"signal": "u+v"}},
    "strain": {"temporal": {"signal": "strain"}},
    "two-consecutive": {"prep": "two-consecutive"},
    "hidden": {"head": {"hidden": 24}},
}
"""What differs from the plain experiment, which has one graph 8+2 of side 28, both branches stacked and focal loss."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = copy_repository(tmp_path_factory.mktemp("selectable"))
    people.draw(folder / "people", "micro", 3, 0)
    people.draw(folder / "posed", "macro", 4, 2)  # s03 is among both
    people.draw(folder / "others", "macro", 2, 7)
    plain = {
        "system": "tsdgcn",
        "macro": "posed",
        "micro": "people",
        "graphs": ["8+2"],
        "graph": {"side": 28},
        "pretrain": {"epochs": 1, "batch": 8, "learning_rate": 1e-3},
        "head": {"epochs": 4, "hidden": 16, "learning_rate": 1e-3},
    }
    experiments = {}
    for name, changes in CHOICES.items():
        experiments[name] = plain | {
            key: plain[key] | value if key in ("graph", "pretrain", "head") else value for key, value in changes.items()
        }
    config = people.config(folder, experiments=experiments, floors=[])
    config["datasets"]["others"] = {"layout": "manifest", "root": str(folder / "others"), "kind": "macro"}
    steps = {"keyframes": {"count": 2}, "flow": {"reference": "consecutive"}}
    config["preparations"] = people.SMALL["preparations"] | {"two-consecutive": steps}
    snakemake(folder, config=config)
    return folder / "results"


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_answers_for_every_clip_in_its_own_way(study, name):
    chances = {}
    for one in ("plain", name):
        table = pd.read_csv(study / "mine" / "experiments" / one / "predictions.csv").sort_values("clip")
        assert len(table) == 9 and table["subject"].nunique() == 3
        chances[one] = table.filter(like="p_").to_numpy()
        np.testing.assert_allclose(chances[one].sum(axis=1), 1, atol=1e-6)
    if name != "plain":
        assert np.abs(chances["plain"] - chances[name]).max() > 1e-4, "the key reaches nothing"


@pytest.mark.slow
def test_numbers_of_key_frames_and_flow_images_are_selectable(study):
    for prep, count in (("default", 3), ("two-consecutive", 2)):
        with h5py.File(study / "data" / "people" / prep / "cache.h5") as cache:
            assert cache["spatial"].shape[1] == cache["flow"].shape[1] == count
