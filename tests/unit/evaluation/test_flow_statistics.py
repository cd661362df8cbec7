"""Mean and variance of each clip's flow, against numpy on the whole cache at once."""

import h5py
import numpy as np
import pytest
from graph_caches import CLASSES, make_cache

from merflow.errors import InputError
from merflow.evaluation.flow_statistics import flow_statistics
from merflow.evaluation.settings import ClipLabels


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cache") / "micro.h5", 3, 2, 1, "micro")


def test_mean_and_variance_are_those_of_numpy(cache):
    rows = flow_statistics([cache], ClipLabels(["micro"], CLASSES, None))
    with h5py.File(cache) as file:
        flow, clips = file["flow"][:].astype(np.float64), file["clip"].asstr()[:].tolist()
        labels = file["label"].asstr()[:]
    length = np.sqrt(flow[:, :, 0] ** 2 + flow[:, :, 1] ** 2).reshape(len(clips), -1)
    assert len(rows) == len(clips) == 18
    for row in rows:
        place = clips.index(row["clip"])
        assert row["mean"] == pytest.approx(length[place].mean())
        assert row["variance"] == pytest.approx(length[place].var()) and row["variance"] > 0
        assert row["label"] == labels[place] and row["subject"].startswith("micro/") and row["fields"] == 3
    assert [row["label"] for row in rows] == [name for name in CLASSES for _ in range(6)], "in order of class"


def test_statistics_use_labels_of_the_experiment(cache):
    rows = flow_statistics([cache], ClipLabels(["micro"], ["left"], None))
    assert {row["label"] for row in rows} == {"left"} and len(rows) == 6
    labels = {"micro": {"s0-up-0": "positive", "s1-down-1": "negative"}}
    rows = flow_statistics([cache], ClipLabels(["micro"], ["negative", "positive"], labels))
    assert [(row["clip"], row["label"]) for row in rows] == [("s1-down-1", "negative"), ("s0-up-0", "positive")]


def test_flow_statistics_hold_one_clip_in_memory(cache, monkeypatch):
    asked = []
    read = h5py.Dataset.__getitem__

    def noting(self, place, *rest):
        if self.name == "/flow":
            asked.append(place)
        return read(self, place, *rest)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", noting)
    flow_statistics([cache], ClipLabels(["micro"], CLASSES, None))
    assert len(asked) == 18 and all(isinstance(place[0], int) for place in asked)


def test_dataset_without_flow_is_named(cache):
    with pytest.raises(InputError, match="no clip of micro has a class and optical flow"):
        flow_statistics([cache], ClipLabels(["micro"], ["nothing"], None))
