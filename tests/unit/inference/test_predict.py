"""Prediction: sources, search, answers with their uncertainty, occlusion, and the page."""

import json
import os
import shutil
from dataclasses import asdict, replace

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from configurations import plan
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stage_settings import align_settings, preparation, spotting_settings

from merflow.datasets.synthetic.long_clips import CHOOSING, STANDARD, film_long, plan_long
from merflow.errors import ConfigError, InputError
from merflow.footage.clip import Clip
from merflow.footage.fingerprints import EMPTY, check_unchanged
from merflow.inference import answers, search
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
from merflow.inference.candidates import gather_candidates
from merflow.inference.ensemble import ClipArrays
from merflow.inference.page import _films, coverage_at_threshold, heat_picture, points, write_prediction
from merflow.inference.results import SourceResult
from merflow.inference.settings import AnsweringExperiment, PageSettings
from merflow.inference.spotting import FacePosition, MotionTrack, SpottingResult
from merflow.preprocessing.faces import Face
from merflow.preprocessing.settings import STANDARD_GEOMETRY, Geometry
from merflow.storage.tables import ANSWERS, COVERAGE, INTERVALS, read_table, write_table
from merflow.study.prediction import Prediction
from merflow.study.sources import list_sources

CLASSES = ["happiness", "surprise", "disgust"]


def picture(path, number=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((60, 80), 40 + number, np.uint8))


# --- sources ----------------------------------------------------------------------------------------------------------


def test_list_sources_of_video_image_folder_and_mixed_folder(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "a.mp4").write_bytes(b"x")
    (tmp_path / "all" / "notes.txt").write_text("nothing")
    (tmp_path / "all" / "empty").mkdir()
    for number in range(3):
        picture(tmp_path / "all" / "b c" / f"{number}.png")
    assert list(list_sources(str(tmp_path / "all" / "a.mp4"))) == ["a.mp4"]
    (row,) = list_sources(str(tmp_path / "all" / "b c")).values()
    assert row["clip"] == "b c" and row["problem"] == "" and row["onset"] is None
    assert list(list_sources(str(tmp_path / "all"))) == ["a.mp4", "b%20c"]
    picture(tmp_path / "all" / "cover.png")
    with pytest.raises(InputError, match=r"holds videos \(such as a\.mp4\) and images \(such as cover\.png\)"):
        list_sources(str(tmp_path / "all"))


def table(folder, text):
    for number in range(10):
        picture(folder / "frames" / f"{number}.png")
    (folder / "clips.csv").write_text(text)
    return str(folder / "clips.csv")


def test_list_sources_of_table_without_labels(tmp_path):
    rows = ["clip,frames,onset,apex,offset,fps,label", "a,frames,1,3,7,100,joy", "b,frames,,,,,", "c,none,,,,,", ""]
    a, b, c = list_sources(table(tmp_path, "\n".join(rows))).values()
    assert (a["onset"], a["apex"], a["offset"], a["fps"], a["label"]) == (1, 3, 7, 100.0, "joy")
    assert (b["onset"], b["fps"], b["label"], b["problem"]) == (None, None, "", "")
    assert "does not exist" in c["problem"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.mp4", "does not exist"),
        ("empty", "holds no video"),
        ("one.png", "is one picture"),
        ("notes.txt", "is not a video by its name"),
        ("zero.mp4", "is empty"),
        ("nothing.csv", "expected the columns frames"),
        ("typo.csv", "did you mean 'onset'"),
        ("gone.csv", "nothing in"),
    ],
)
def test_list_sources_names_unusable_input(tmp_path, name, says):
    (tmp_path / "empty").mkdir()
    picture(tmp_path / "one.png")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "zero.mp4").write_bytes(b"")
    (tmp_path / "nothing.csv").write_text("clip,video\na,b\n")
    (tmp_path / "typo.csv").write_text("frames,onst\na,1\n")
    (tmp_path / "gone.csv").write_text("frames\nnowhere\n")
    with pytest.raises(InputError, match=says) as error:
        list_sources(str(tmp_path / name))
    assert name in str(error.value)


def locked(monkeypatch, *places):
    """Nobody may look into some folders; the tests may run as root, who may look everywhere."""

    def guard(owner, name):
        real = getattr(owner, name)

        def look(path=".", *rest, **more):
            if any(str(path) == str(place) or str(path).startswith(f"{place}/") for place in places):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *rest, **more)

        monkeypatch.setattr(owner, name, look)

    guard(os, "scandir")
    guard(os, "listdir")
    real = os.stat

    def stat(path, *rest, **more):
        if any(str(path).startswith(f"{place}/") for place in places):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "stat", stat)


@pytest.mark.parametrize("name", ["room", "room/a.mp4", "room/clips.csv", "room/frames"])
def test_list_sources_names_unreadable_input(tmp_path, monkeypatch, name):
    picture(tmp_path / "room" / "frames" / "1.png")
    (tmp_path / "room" / "a.mp4").write_bytes(b"x")
    (tmp_path / "room" / "clips.csv").write_text("frames\na.mp4\n")
    locked(monkeypatch, tmp_path / "room")
    with pytest.raises(InputError, match=f"clips: \\S*{name} cannot be read \\(Permission denied\\)"):
        list_sources(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a" * 300 + ".mp4", "a" * 5000, "no\0body.mp4", "~nobody-of-this-name/a.mp4"])
def test_list_sources_names_impossible_path(name):
    with pytest.raises(InputError, match="clips: "):
        Prediction(study(clips=name))


def test_list_sources_skips_unreadable_folder(tmp_path, monkeypatch):
    for name in ("good", "room"):
        picture(tmp_path / "all" / name / "1.png")
        picture(tmp_path / "all" / name / "2.png")
    locked(monkeypatch, tmp_path / "all" / "room")
    prediction = Prediction(study(clips=str(tmp_path / "all"), results=str(tmp_path / "results")))
    assert prediction.sources["good"]["problem"] == ""
    assert "room cannot be read: Permission denied" in prediction.sources["room"]["problem"]
    assert prediction.source_token("good") != prediction.source_token("room") == EMPTY and prediction.searches is False
    with check_unchanged(prediction.sources.values(), "clips"):
        pass


def test_list_sources_of_table_with_invalid_rows(tmp_path):
    rows = ["clip,frames", "a,frames", f"b,{'b' * 300}.mp4", f"c,{'c' * 300}", "d,no\0body", "e,no\0body.mp4", ""]
    sources = list_sources(table(tmp_path, "\n".join(rows)))
    assert [name for name, row in sources.items() if not row["problem"]] == ["a"] and len(sources) == 5


def test_list_sources_without_input():
    with pytest.raises(InputError, match=r"--config clips=/path/to/video\.mp4"):
        list_sources(None)


def study(**changes):
    return plan(changes).training


def test_prediction_answers_by_experiments_with_networks(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    clips = str(tmp_path / "a.mp4")
    prediction = Prediction(study(clips=clips))
    assert prediction.answering == ["tsdgcn", "msjfn", "mersiamc3d"] and prediction.preparations == ["default"]
    assert prediction.name == "a.mp4" and prediction.folder == "results/demo/predict/a.mp4" and prediction.searches
    assert Prediction(study(clips=clips, predict={"experiments": ["msjfn"]})).answering == ["msjfn"]
    for name in ("majority", "nobody"):
        with pytest.raises(ConfigError, match=f"{name} does not train a network.*tsdgcn, msjfn, mersiamc3d"):
            Prediction(study(clips=clips, predict={"experiments": [name]}))


def test_prediction_folders_of_equal_names_differ(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").write_bytes(b"x")
    results = str(tmp_path / "results")
    first = Prediction(study(clips=str(tmp_path / "one" / "a.mp4"), results=results))
    earlier_answers = tmp_path / "results/demo/predict/a.mp4/answers.json"
    earlier_answers.parent.mkdir(parents=True)
    earlier_answers.write_text(f'{{"input": "{first.path}"}}')
    second = Prediction(study(clips=str(tmp_path / "two" / "a.mp4"), results=results))
    assert second.name.startswith("a.mp4-") and second.name != first.name
    assert Prediction(study(clips=str(tmp_path / "one" / "a.mp4"), results=results)).name == "a.mp4"


def test_prediction_folder_of_name_that_is_not_utf8(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/m\xe9.mp4")
    with open(path, "wb") as file:
        file.write(b"x")
    prediction = Prediction(study(clips=path, results=str(tmp_path / "results")))
    assert prediction.name == "m%E9.mp4" and prediction.path == path and prediction.source_token("m%5Cudce9.mp4")
    earlier_answers = tmp_path / "results/demo/predict/m%E9.mp4/answers.json"
    earlier_answers.parent.mkdir(parents=True)
    earlier_answers.write_text('{"input": "another"}')
    assert Prediction(study(clips=path, results=str(tmp_path / "results"))).name.startswith("m%E9.mp4-")


def test_source_token_follows_content_not_time(tmp_path):
    from merflow.footage.fingerprints import record_source

    file = tmp_path / "a.mp4"
    file.write_bytes(b"one")
    settled = {"clips": str(file), "results": str(tmp_path / "results")}
    prediction = Prediction(study(**settled))
    token = prediction.source_token("a.mp4")
    record_source(
        [prediction.sources["a.mp4"]], token, tmp_path / "results/demo/predict/a.mp4/sources/a.mp4/source.json"
    )
    file.touch()
    assert Prediction(study(**settled)).source_token("a.mp4") == token
    file.write_bytes(b"two")
    assert Prediction(study(**settled)).source_token("a.mp4") != token


# --- the look ---------------------------------------------------------------------------------------------------------


def source(frames, **changes):
    row = {"clip": "it", "label": "", "frames": str(frames), "onset": None, "apex": None, "offset": None, "fps": None}
    return Clip(**row | {"subject": "clips/somebody", "kind": "micro"} | changes)


def search_source(source, folder, alone=False):
    search.search_source(source, None, spotting_settings(), folder, alone)


def test_search_source_without_face_fails_only_if_alone(tmp_path):
    for number in range(4):
        picture(tmp_path / "frames" / f"{number}.png", number)
    with pytest.raises(InputError, match=r"no face found in frames 0\.\.3"):
        search_source(source(tmp_path / "frames"), tmp_path / "out", alone=True)
    search_source(source(tmp_path / "frames"), tmp_path / "out")
    with h5py.File(tmp_path / "out/looked.h5") as file:
        assert "no face found" in file.attrs["status"]
    assert read_table(tmp_path / "out/intervals.csv", INTERVALS).empty
    (tmp_path / "bad.mp4").write_bytes(b"this is no video" * 100)
    with pytest.raises(InputError, match=r"bad\.mp4 cannot be opened"):
        search_source(source(tmp_path / "bad.mp4"), tmp_path / "out", alone=True)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A drawn video of 3.2 s at 25 frames per second with one expression, and when it is."""
    settings = replace(STANDARD, seconds=3.2, fps=25, expressions=1, blinks=0.0, duration=(0.4, 0.5))
    clip = plan_long(CHOOSING + 40, settings)
    path = tmp_path_factory.mktemp("video") / "long.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (240, 240))
    for frame in film_long(clip):
        writer.write(frame)
    writer.release()
    return path, clip


def test_search_source_stores_frames_of_candidates(video, tmp_path):
    path, clip = video
    search_source(source(path), tmp_path)
    rows = read_table(tmp_path / "intervals.csv", INTERVALS)
    (true,) = clip.expressions
    assert list(rows["found"]) == [search.SEARCHED] and rows["fps"].iloc[0] == 25
    onset, offset = int(rows["onset"].iloc[0]), int(rows["offset"].iloc[0])
    assert onset <= true.apex <= offset and abs(onset - true.onset) <= 3 and abs(offset - true.offset) <= 3
    (clip,) = search.candidate_clips(source(path), tmp_path / "intervals.csv")
    kept = sorted(int(file.stem) for file in tmp_path.glob("_frames/*/*.png"))
    assert kept == list(range(onset, offset + 1)) and clip.apex is None and clip.onset == onset
    search.align_candidates(source(path), tmp_path / "intervals.csv", tmp_path / "faces.h5", align_settings(size=64))
    with h5py.File(tmp_path / "faces.h5") as file:
        (group,) = file.values()
        assert group.attrs["status"] == "ok" and len(group["frames"]) == len(kept)


@pytest.mark.parametrize(
    ("annotation", "kind", "ends"),
    [
        ({"onset": 10, "offset": 60}, "given", (10, 60)),
        ({"fps": 100.0}, "whole", (0, 79)),
        ({"apex": 40}, "given", (34, 46)),
    ],
)
def test_search_source_of_short_or_annotated_clip(video, tmp_path, monkeypatch, annotation, kind, ends):
    monkeypatch.setattr(search, "spot", None)
    monkeypatch.setattr("merflow.inference.spotting._MotionComparison.__call__", lambda *_: (0.1, 0.1))
    search_source(source(video[0], **annotation), tmp_path)
    (row,) = read_table(tmp_path / "intervals.csv", INTERVALS).to_dict("records")
    assert (row["found"], row["onset"], row["offset"]) == (kind, *ends) and row["frames"] == str(video[0])
    (clip,) = search.candidate_clips(source(video[0]), tmp_path / "intervals.csv")
    assert clip.apex == annotation.get("apex")


@pytest.mark.parametrize("whole", [True, False])
def test_search_and_align_of_names_that_are_not_utf8(video, tmp_path, whole):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/f\xe9/m\xe9.mp4")
    os.mkdir(os.path.dirname(path))
    shutil.copy(video[0], path)
    (row,) = list_sources(path).values()
    assert (row["frames"], row["clip"], row["problem"]) == (path, r"m\udce9.mp4", "")
    ends = {"onset": 10, "offset": 30} if whole else {}
    search_source(Clip(**row | ends), tmp_path / "out")
    search.align_candidates(
        Clip(**row | ends), tmp_path / "out/intervals.csv", tmp_path / "faces.h5", align_settings(size=32)
    )
    with h5py.File(tmp_path / "faces.h5") as file:
        (group,) = file.values()
        assert group.attrs["status"] == "ok" and group.attrs["clip"].startswith(r"m\udce9.mp4")


def test_search_source_status_of_name_that_is_not_utf8(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/m\xe9.mp4")
    with open(path, "wb") as file:
        file.write(b"this is no video" * 100)
    search_source(source(path), tmp_path / "out")
    with h5py.File(tmp_path / "out/looked.h5") as file:
        assert r"m\udce9.mp4 cannot be opened" in file.attrs["status"]


def test_align_candidates_stops_if_footage_was_removed(tmp_path):
    frames = tmp_path / "disk" / "clip"
    for number in range(3):
        picture(frames / f"{number}.png")
    rows = [{"clip": "it", "source": "it", "found": "whole", "frames": str(frames), "onset": 0, "offset": 2, "fps": 9}]
    write_table(rows, tmp_path / "intervals.csv", INTERVALS)
    files = tmp_path / "intervals.csv", tmp_path / "faces.h5"
    search.align_candidates(source(frames), *files, align_settings())
    (tmp_path / "faces.h5").unlink()
    (tmp_path / "disk").rename(tmp_path / "away")
    with pytest.raises(InputError, match=r"clips: \S*/disk is gone"):
        search.align_candidates(source(frames), *files, align_settings())
    assert not (tmp_path / "faces.h5").exists()


def write_search_results(folder, status):
    folder.mkdir()
    with h5py.File(folder / "looked.h5", "w") as file:
        file.attrs.update(clip=folder.name, status=status)
    write_table([], folder / "intervals.csv", INTERVALS)
    return [str(folder / "looked.h5")], [str(folder / "intervals.csv")]


def test_gather_candidates_fails_only_if_all_sources_fail(tmp_path):
    good = write_search_results(tmp_path / "good", "ok")
    bad = write_search_results(tmp_path / "bad", "no face found in it")
    prepared = preparation(align={"size": 32}, keyframes={"count": 3})
    attributes = {"preparation": "default", "settings": prepared, "code": "x"}
    files = {"cache": tmp_path / "cache.h5", "quality": tmp_path / "quality.csv"}
    gather_candidates(good[0] + bad[0], good[1] + bad[1], [], [], [], **files, **attributes)
    with h5py.File(tmp_path / "cache.h5") as file:
        assert len(file["clip"]) == 0 and file["flow"].shape == (0, 3, 3, 32, 32)
    with pytest.raises(InputError, match="bad: no face found in it"):
        gather_candidates(*bad, [], [], [], **files, **attributes)


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


def test_heat_picture_is_blue_for_drops_orange_for_gains():
    grid = np.zeros((8, 8))
    grid[1, 1], grid[6, 6] = 0.4, -0.4
    picture_ = heat_picture(np.full((64, 64), 128, np.uint8), grid).astype(int)
    at = picture_[12, 12], picture_[52, 52], picture_[12, 52]
    assert at[0][2] > at[0][0] + 40 and at[1][0] > at[1][2] + 40 and (at[2] == 128).all()


def test_points_of_a_drop():
    assert [points(fall) for fall in (0.83, -0.17, 0.001, -0.001)] == ["-83", "+17", "0", "0"]


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


def page_settings(**changes):
    empty = {"preparations": [], "experiments": {}, "synthetic": [], "sources": {}}
    return PageSettings(
        **{"name": "clips", "input": "clips", "study": "s", "uncertain_below": 0.5}
        | {"max_unsearched_seconds": 1.0}
        | empty
        | changes
    )


def write_page(folder, rows, input_path="clips"):
    """Write the page of sources without candidates, or that could not be searched; return its folder."""
    folder.mkdir()
    files = {name: [] for name in ("faces", "keyframes", "flow", "quality", "tables", "regions")}
    write_table([], folder / "coverage.csv", COVERAGE)
    files |= {"search_results": [], "intervals": [], "coverage": folder / "coverage.csv"}
    for number, row in enumerate(rows):
        results, intervals = write_motionless_source(folder / str(number), row)
        files["search_results"].append(results)
        files["intervals"].append(intervals)
    settings = page_settings(input=input_path, sources={row.clip: asdict(row) for row in rows})
    write_prediction(settings, files, folder / "out")
    return folder / "out"


def write_motionless_source(folder, row):
    """``looked.h5`` and ``intervals.csv`` of two seconds in which nothing happens."""
    folder.mkdir()
    chance = np.random.default_rng(0)
    face = Face((20, 20, 40, 40), 1.0, np.array([[55, 30], [47, 30], [25, 30], [33, 30], [40, 45.0]]))
    track = MotionTrack(50, 0, 49, 80, 80, list(range(50)), list(chance.random(50)), [0.0] * 50)
    track.positions = [FacePosition(0, np.eye(2, 3), face)]
    track.thumbnails = [(number, chance.integers(0, 255, (80, 80), np.uint8)) for number in range(0, 48, 4)]
    with h5py.File(folder / "looked.h5", "w") as file:
        file.attrs.update(clip=row.clip, status=row.problem or "ok", fps=25.0, fps_from="as the video says")
        search.write_track(file, SpottingResult(track, [], []), 25.0, spotting_settings())
    write_table([], folder / "intervals.csv", INTERVALS)
    return folder / "looked.h5", folder / "intervals.csv"


def test_answers_json_of_input_that_is_not_utf8(tmp_path):
    for name in (b"/m\xe9.mp4", "/mé.mp4".encode()):
        path = os.fsdecode(os.fsencode(tmp_path) + name)
        out = write_page(tmp_path / str(len(name)), [source(path)], path)
        assert json.loads((out / "answers.json").read_text(encoding="utf-8"))["input"] == path
    assert "mé.mp4" in (out / "answers.json").read_text(encoding="utf-8")


def test_page_of_many_clips_limits_films(tmp_path, monkeypatch):
    rows = [source(tmp_path / name, clip=name) for name in "abcd"]
    page = (write_page(tmp_path / "few", rows) / "index.html").read_text()
    assert page.count('aria-label="Video strip"') == page.count("Motion there and back over 2.0 s, ") / 2 == 4
    assert "clips are shown" not in page
    monkeypatch.setattr("merflow.inference.page.MAX_SHOWN", 3)
    page = (write_page(tmp_path / "many", rows) / "index.html").read_text()
    assert page.count('aria-label="Video strip"') == 3 and "Video strip and motion of 3 of 4 clips are shown" in page
    assert 'id="source-3"' in page, "what is known of a clip stays"


def test_films_of_shown_candidates_come_first(tmp_path, monkeypatch):
    sources = []
    for number, candidates in enumerate(([], ["a"], ["b"], [])):
        results, _ = write_motionless_source(tmp_path / str(number), source(tmp_path, clip="s"))
        track = {"first": 0, "fps": 25.0, "seconds": 2.0, "threshold": 0.3, "width": 80}
        rows = [{"clip": name, "onset": 3, "offset": 9} for name in candidates]
        sources.append(SourceResult(number, "s", "", str(results), track, rows))
    assert list(_films(sources, {"b"})) == [2, 0, 3]
    monkeypatch.setattr("merflow.inference.page.MAX_SHOWN", 1)
    assert list(_films(sources, {"b"})) == [2]


def test_coverage_at_threshold(tmp_path):
    rows = [
        {"experiment": "a", "threshold": t / 100, "answered": 1 - t / 200, "accuracy": 0.5 + t / 400, "n_clips": 60}
        for t in range(101)
    ]
    write_table(rows, tmp_path / "coverage.csv", list(rows[0]))
    experiments = {name: AnsweringExperiment("msjfn", "default", CLASSES, ["d"], "loso") for name in "ab"}
    settings = page_settings(uncertain_below=0.6, experiments=experiments)
    assert coverage_at_threshold(settings, tmp_path / "coverage.csv") == {
        "a": {"answered": 0.7, "accuracy": 0.65, "clips": 60, "of_all": 0.5}
    }
    between = page_settings(uncertain_below=0.603, experiments=experiments)
    assert coverage_at_threshold(between, tmp_path / "coverage.csv")["a"]["answered"] == 0.695, "as the report"
