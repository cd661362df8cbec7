"""`merflow.open_cache` and `merflow.cross_validate`: caches as arrays, and protocols for classifiers of one's own."""

import h5py
import numpy as np
import pandas as pd
import pytest
from flow_caches import CLASSES, accuracy, balanced, make_cache
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import merflow
from merflow.errors import InputError
from merflow.metrics import bootstrap_subjects
from merflow.protocols.folds import draw_folds
from merflow.score import score_file


@pytest.fixture
def path(tmp_path):
    labels, subjects = balanced(people=5)
    return make_cache(tmp_path / "cache.h5", [*labels, ""], [*subjects, "people/s0"], strength=0.5)


def small_network():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 3))


def test_images_are_the_flow_at_the_apex(path):
    cache = merflow.open_cache(path)
    with h5py.File(path) as file:
        apex = np.stack([flow[index] for flow, index in zip(file["flow"][:], file["apex_index"][:], strict=True)])
    np.testing.assert_allclose(cache.images(side=32), apex, atol=1e-3)
    assert cache.images("flows", side=16).shape == (31, 3, 3, 16, 16)
    assert set(cache.clips["dataset"]) == {"people"} and list(cache.clips["label"])[-1] == ""


def test_torch_dataset_has_the_labelled_clips(path):
    images, classes = merflow.open_cache(path).to_torch()[:]
    assert images.shape == (30, 3, 28, 28)
    assert [sorted(CLASSES)[number] for number in classes] == balanced(people=5)[0]


def test_loso_of_a_pipeline_equals_sklearn(path, tmp_path):
    cache, pipeline = merflow.open_cache(path), make_pipeline(StandardScaler(), LogisticRegression())
    table = merflow.cross_validate(pipeline, cache)
    rows, (labels, subjects) = cache.images()[:30].reshape(30, -1), balanced(people=5)
    expected = cross_val_predict(pipeline, rows, labels, groups=subjects, cv=LeaveOneGroupOut())
    assert list(table.sort_values("clip")["predicted"]) == list(expected)
    assert (table["fold"] == table["subject"]).all() and (table["truth"] == table["predicted"]).mean() > 0.5
    table.to_csv(tmp_path / "mine.csv")
    assert score_file(tmp_path / "mine.csv")[0]["accuracy"] == pytest.approx(accuracy(table))
    assert bootstrap_subjects(table, CLASSES)["uf1"]


def test_module_learns_from_other_people_and_repeats_its_answers(path):
    first, second = (merflow.cross_validate(network, path) for network in [small_network()] * 2)
    pd.testing.assert_frame_equal(first, second)
    assert accuracy(first) > 0.6


def test_groups_of_people_are_those_of_the_protocol(path):
    table = merflow.cross_validate(LogisticRegression(), path, "subject-kfold", folds=2, seed=3)
    labels, subjects = balanced(people=5)
    expected = draw_folds("subject-kfold", subjects, labels, folds=2, seed=3)
    assert {name: set(rows["subject"]) for name, rows in table.groupby("fold")} == {
        fold.name: {subjects[index] for index in fold.test} for fold in expected
    }


def test_copy_of_a_clip_under_another_person_is_refused(path):
    with h5py.File(path, "r+") as file:
        file["flow"][7] = file["flow"][1]
    with pytest.raises(InputError, match="the same frames in training and test: people/s0/c001, people/s1/c007"):
        merflow.cross_validate(LogisticRegression(), path)


def test_file_without_the_arrays_of_a_cache_is_refused(path):
    with h5py.File(path, "r+") as file:
        del file["apex_index"]
    with pytest.raises(InputError, match="cache.h5 is no cache of clips"):
        merflow.open_cache(path)
