"""Fixtures that tests of several systems share."""

import h5py
import pytest
from graph_caches import PRETRAIN, make_cache
from training_jobs import pretrain

from merflow.systems.tsdgcn.features import extract
from merflow.systems.tsdgcn.graph import build_graph


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory):
    """Two graphs with pre-trained weights and the features of a micro dataset."""
    folder = tmp_path_factory.mktemp("learning")
    macro = make_cache(folder / "macro.h5", 6, 3, 0, "macro")
    micro = make_cache(folder / "micro.h5", 5, 2, 1, "micro")
    with h5py.File(micro, "r+") as file:
        labels = file["label"].asstr()[:]
        labels[3] = ""
        file["label"][:] = labels.tolist()
    features = []
    for name, p, q in (("one", 8, 2), ("two", 4, 0)):
        build_graph(16, p, q).save(folder / f"{name}.graph.h5")
        pretrain(
            macro, folder / f"{name}.graph.h5", folder / f"{name}.safetensors", folder / f"{name}.csv", PRETRAIN, seed=3
        )
        extract(
            micro,
            folder / f"{name}.safetensors",
            folder / f"{name}.graph.h5",
            folder / f"{name}.h5",
            "magnitude",
        )
        features.append(folder / f"{name}.h5")
    return {"folder": folder, "macro": macro, "micro": micro, "features": features}
