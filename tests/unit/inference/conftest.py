"""A results folder that the tests of this room share."""

import pytest
from graph_caches import PRETRAIN, make_cache
from small_ensembles import (
    SHORT,
    SIDE,
    SUBJECTS,
    weights,
)
from training_jobs import pretrain

from merflow.systems.tsdgcn.graph import build_graph


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """A results folder with two caches, a graph, and a network of each of two seeds."""
    folder = tmp_path_factory.mktemp("ensemble") / "results"
    folder.mkdir()
    make_cache(folder / "micro.h5", SUBJECTS, 1, 1, "micro")
    make_cache(folder / "macro.h5", 3, 1, 0, "macro")
    for seed in (0, 1):
        build_graph(SIDE, 4, 2, seed=seed).save(folder / f"graph{seed}.h5")
        settings = PRETRAIN | SHORT
        pretrain(
            folder / "macro.h5", folder / f"graph{seed}.h5", weights(folder, seed), folder / "w.csv", settings, seed
        )
    return folder
