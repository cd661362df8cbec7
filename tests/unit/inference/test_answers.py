"""Answers with their uncertainty, occlusion, and clips unlike those of training."""

import h5py
import numpy as np
import pandas as pd
import pytest
from graph_caches import make_cache
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from merflow.inference import answers
from merflow.inference.answers import (
    grid_masks,
    occlude,
    occlusion_drops,
    range_flags,
    rate_flags,
    region_masks,
    summarize_members,
    training_ranges,
)
from merflow.inference.ensemble import ClipArrays
from merflow.inference.settings import AnswerSettings
from merflow.preprocessing.settings import STANDARD_GEOMETRY, Geometry
from merflow.storage.tables import ANSWERS, read_table, write_table

CLASSES = ["happiness", "surprise", "disgust"]


# --- answers ----------------------------------------------------------------------------------------------------------


probs = arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 4), st.just(3)), elements=st.floats(0.01, 1))


@given(probs, st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_summarize_members_invariants(members, least):
    members = members / members.sum(axis=2, keepdims=True)
    rows = summarize_members(members, CLASSES, least)
    mean = members.mean(axis=0)
    assert np.allclose(rows[[f"p_{name}" for name in CLASSES]], mean)
    assert np.allclose(rows["p_top"], mean.max(axis=1))
    sure = rows["p_top"] >= least
    assert (rows["answer"] == rows["top"].where(sure, "uncertain")).all()
    assert rows["entropy"].between(-1e-9, 1 + 1e-9).all()
    assert (rows["mutual_information"] <= rows["entropy"] + 1e-9).all() and (rows["mutual_information"] >= 0).all()
    for place, name in enumerate(CLASSES):
        low, high = rows[f"p_low_{name}"], rows[f"p_high_{name}"]
        assert (low <= high + 1e-12).all() and (low >= members[:, :, place].min(axis=0) - 1e-12).all()


def test_mutual_information_excludes_shared_uncertainty():
    alike = np.tile([[[0.4, 0.3, 0.3]]], (4, 1, 1))
    apart = np.array([[[0.98, 0.01, 0.01]], [[0.01, 0.98, 0.01]]])
    assert summarize_members(alike, CLASSES, 0.5)["mutual_information"].iloc[0] == pytest.approx(0, abs=1e-9)
    row = summarize_members(apart, CLASSES, 0.5).iloc[0]
    assert row["mutual_information"] > 0.5 and row["members_agree"] == 0.5 and row["answer"] == "uncertain"


def test_answer_of_units_is_every_probable_one():
    members = np.array([[[0.9, 0.6, 0.1], [0.2, 0.1, 0.3]], [[0.7, 0.3, 0.1], [0.2, 0.1, 0.3]], [[1.0, 0.9, 0.1]] * 2])
    members[2, 1] = [0.2, 0.1, 0.3]
    rows = summarize_members(members, ["AU1", "AU2", "AU4"], 0.95, units=True)
    assert rows["answer"].tolist() == ["AU1+AU2", "none"] and rows["top"].tolist() == ["AU1", "AU4"]
    assert rows["p_top"].tolist() == pytest.approx([2.6 / 3, 0.3])
    assert rows["members_agree"].tolist() == pytest.approx([2 / 3, 1])
    assert rows["mutual_information"].iloc[0] > 0.05 and rows["mutual_information"].iloc[1] == pytest.approx(0)
    certain = summarize_members(np.array([[[1.0, 0.0, 1.0], [0.5, 0.5, 0.5]]]), ["AU1", "AU2", "AU4"], 0.5, units=True)
    assert certain["entropy"].tolist() == pytest.approx([0, 1])


def test_answer_at_the_threshold_is_certain():
    rows = summarize_members(np.array([[[0.5, 0.3, 0.2], [0.49, 0.31, 0.2]]]), CLASSES, 0.5)
    assert list(rows["answer"]) == ["happiness", "uncertain"] and list(rows["top"]) == ["happiness", "happiness"]


def test_answers_keep_numeric_class_names(tmp_path):
    rows = summarize_members(np.array([[[0.6, 0.4]], [[0.7, 0.3]]]), ["007", "1.0"], 0.5)
    write_table(rows.assign(clip="a", experiment="e", flags=""), tmp_path / "answers.csv", ANSWERS)
    read = read_table(tmp_path / "answers.csv", ANSWERS)
    assert list(read["answer"]) == ["007"] and list(read["top"]) == ["007"] and read["p_top"].iloc[0] == 0.65


# --- occlusion --------------------------------------------------------------------------------------------------------


class OfOneRegion:
    """An ensemble whose first class is as probable as the mouth moves."""

    classes = CLASSES

    def __init__(self, mask):
        self.mask = mask

    def probabilities(self, clips):
        first = np.clip(clips.flow[:, 0, 0][:, self.mask].astype(float).mean(axis=1), 0, 1)
        return np.stack([first, (1 - first) / 2, (1 - first) / 2], axis=1)


def clip_arrays(size=64):
    chance = np.random.default_rng(0)
    flow = np.full((1, 2, 3, size, size), 0.8, np.float16)
    return ClipArrays(chance.integers(0, 255, (1, 2, size, size), np.uint8), flow, np.array([1]))


def test_occlusion_drops_only_for_the_used_region():
    masks = region_masks(64, STANDARD_GEOMETRY)
    clips = clip_arrays()
    ensemble = OfOneRegion(masks["mouth"])
    fall = dict(zip(masks, occlusion_drops(ensemble, clips, 0, list(masks.values())), strict=True))
    assert fall.pop("mouth") == pytest.approx(0.8, abs=1e-3)
    assert all(abs(value) < 1e-9 for value in fall.values())
    grid = occlusion_drops(ensemble, clips, 0, grid_masks(64)).reshape(8, 8)
    rows = np.flatnonzero(grid.sum(axis=1) > 1e-6)
    assert rows.min() >= 5 and grid.sum() == pytest.approx(0.8, abs=1e-3)
    assert occlusion_drops(ensemble, clips, 1, list(masks.values())).min() < -0.3, "the other classes gain"


def test_occlude_changes_only_the_mask():
    clips, mask = clip_arrays(), region_masks(64, STANDARD_GEOMETRY)["brows"]
    (spatial,), (flow,) = (lambda covered: (covered.spatial, covered.flow))(occlude(clips, [mask]))
    assert (flow[..., mask] == 0).all() and (flow[..., ~mask] == clips.flow[0][..., ~mask]).all()
    assert (spatial[..., ~mask] == clips.spatial[0][..., ~mask]).all()
    assert len(np.unique(spatial[0][mask])) == 1 and abs(int(spatial[0][mask][0]) - clips.spatial[0, 0].mean()) <= 1
    assert (clips.flow == np.float16(0.8)).all(), "the clip itself is as it was"


@given(st.integers(32, 231), st.floats(2.2, 3.2), st.floats(0.2, 0.45))
@settings(max_examples=30, deadline=None)
def test_region_masks_are_disjoint_and_grid_covers_all(size, crop, eye_height):
    masks = np.stack(list(region_masks(size, Geometry(crop, eye_height)).values()))
    assert masks.sum(axis=0).max() <= 1 and masks.any(axis=(1, 2)).sum() >= 4
    assert (np.stack(grid_masks(size)).sum(axis=0) == 1).all()


class Networks(OfOneRegion):
    """Members that differ in their number alone."""

    units = False

    def __init__(self, mask, count):
        super().__init__(mask)
        self.count, self.asked = count, []

    def members(self, clips):
        return np.stack([self.probabilities(clips)] * self.count)

    def subsample(self, count):
        self.asked.append(count)
        return Networks(self.mask, count)


def test_regions_are_of_shown_candidates_and_few_networks(tmp_path, monkeypatch):
    monkeypatch.setattr("merflow.inference.candidates.MAX_SHOWN", 1)
    make_cache(tmp_path / "cache.h5", 3, 1, 1, "micro")
    with h5py.File(tmp_path / "cache.h5") as file:
        clips = list(file["clip"].asstr()[:])
    measures = pd.DataFrame({name: np.linspace(1, 2, len(clips)) for name in answers.MEASURES}, index=clips)
    monkeypatch.setattr(answers, "clip_measures", lambda *_: measures)
    rows = [{"clip": clip, "found": "searched", "fps": 25.0, "strength": n} for n, clip in enumerate(clips)]
    ensemble = Networks(region_masks(32, STANDARD_GEOMETRY)["mouth"], 4)
    answer_settings = AnswerSettings(2.6, 0.36, 0.5, ["a"], ["b"], [], region_networks=1)
    files = tmp_path / "table.csv", tmp_path / "regions.h5"
    answers.answer_clips(ensemble, "e", tmp_path / "cache.h5", "", answer_settings, pd.DataFrame(rows), *files)
    assert ensemble.asked == [1] and list(read_table(files[0], ANSWERS)["clip"]) == clips
    with h5py.File(files[1]) as file:
        assert list(file["clip"].asstr()[:]) == [clips[-1]] and file["grid"].shape == (1, 8, 8)
        assert file["drops"].shape == (1, len(answers.REGIONS))


# --- training ranges --------------------------------------------------------------------------------------------------


def test_range_flags_name_clips_unlike_training():
    scales = zip(answers.MEASURES, (1, 0.1, 2, 40), strict=True)
    ranges = training_ranges([pd.DataFrame({name: np.linspace(1, 3, 50) * scale for name, scale in scales})])
    middle = {name: np.mean(ranges[name]) for name in ranges}
    assert range_flags(middle, ranges) == []
    (said,) = range_flags(middle | {"motion": 9.0}, ranges)
    assert "how far the face moves is more than in training (9, not 1.02 to 2.98)" in said
    (said,) = range_flags(middle | {"interocular_px": 4.0}, ranges)
    assert "size of the face is less" in said
    assert range_flags(middle | {"motion": np.nan}, ranges) == [], "not measured is not unlike"
    assert rate_flags(200, [200, 200]) == [] and rate_flags(30, []) == []
    assert rate_flags(30, [200, 200]) == ["30 frames per second, in training 200"]
    assert rate_flags(30, [90, 200]) == ["30 frames per second, in training 90 to 200"]


def test_flow_measures_are_relative_to_the_crop():
    flow = np.zeros((2, 3, 40, 40), np.float16)
    flow[1, 0, :4] = 2.0
    measures = answers.flow_measures(flow, 1)
    assert measures["motion"] == pytest.approx(5.0) and measures["spread"] == pytest.approx(0.1)
    assert answers.flow_measures(flow, 0)["motion"] == 0
