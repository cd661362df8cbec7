"""Key-frames: the motion curve against the ground truth of the demo, and invariants of the choice."""

import json
from itertools import combinations

import h5py
import numpy as np
import pandas as pd
import pytest
from demo_clips import EYE, MOUTH, film_micro_clips, film_still_face, pushed, subject_file
from environments import imported
from hypothesis import given, settings
from hypothesis import strategies as st
from repository import REPO
from stage_settings import keyframe_settings, preparation

from merflow.errors import ConfigError
from merflow.preprocessing.cache import build_cache, read_keyframes
from merflow.preprocessing.flow import subject_flow
from merflow.preprocessing.geometry import region_mask, stored_geometry
from merflow.preprocessing.keyframes import (
    _nearest_ascending,
    choose,
    choose_proportional,
    choose_uniform,
    motion_curve,
    select_subject,
    spot_apex,
)
from merflow.preprocessing.settings import STANDARD_GEOMETRY, Geometry
from merflow.runtime.code_hash import needed
from merflow.storage.tables import KEYFRAMES, read_table


@pytest.fixture(scope="module")
def face():
    return film_still_face(0, 8, noise=0.0, drift=0.0, light=False)[0]


# ---------------------------------------------------------------- the curve


def test_region_mask_excludes_the_eyes():
    mask = region_mask(128)
    assert mask[34, 40] and mask[34, 88] and mask[80, 64] and mask[108, 64]
    assert not mask[46, 40] and not mask[46, 88] and not mask[5, 64] and not mask[90, 5]
    assert region_mask(256).mean() == pytest.approx(mask.mean(), rel=0.05)
    np.testing.assert_array_equal(
        region_mask(128, STANDARD_GEOMETRY._replace(eye_across=0.5 + 16 / 128))[:, 16:], mask[:, :-16]
    )


def test_motion_curve_without_motion_is_zero(face):
    np.testing.assert_allclose(motion_curve(np.stack([face] * 4)), 0, atol=1e-3)


def test_motion_curve_grows_with_motion_in_crop_pixels(face):
    curve = motion_curve(np.stack([face] + [pushed(face, MOUTH, p) for p in (1, 2, 3)]))
    assert curve[0] == 0 and (np.diff(curve) > 0).all()
    # The mean of a top tenth is below the peak of the push and not far below.
    assert 0.3 < curve[2] / 2 < 1.0


def test_motion_curve_scales_with_crop_size(face):
    import cv2

    small = np.stack([face, pushed(face, MOUTH, 3)])
    large = np.stack([cv2.resize(frame, (231, 231), interpolation=cv2.INTER_CUBIC) for frame in small])
    assert motion_curve(large)[1] / motion_curve(small)[1] == pytest.approx(231 / 128, rel=0.15)


def test_motion_curve_ignores_blinks(face):
    blink, smile = pushed(face, EYE, 3, width=3), pushed(face, MOUTH, 1.5)
    curve = motion_curve(np.stack([face, blink, smile]))
    assert curve[1] < 0.5 * curve[2]


def test_motion_regions_follow_the_alignment(face, tmp_path):
    frames, motion = np.stack([face, pushed(face, MOUTH, 2)]), {}
    for eye_height in (STANDARD_GEOMETRY.eye_height, 0.01):  # Eyes at the hairline: the push is below all regions.
        subject_file(tmp_path / "faces.h5", {"clip": (frames, 0, {})})
        with h5py.File(tmp_path / "faces.h5", "r+") as file:
            file.attrs["settings"] = json.dumps({"crop": STANDARD_GEOMETRY.crop, "eye_height": eye_height})
        select_subject(tmp_path / "faces.h5", tmp_path / "keyframes.csv", keyframe_settings())
        motion[eye_height] = read_table(tmp_path / "keyframes.csv", KEYFRAMES)["magnitude_px"].max()
    assert motion[0.01] < 0.5 * motion[STANDARD_GEOMETRY.eye_height]


@pytest.mark.parametrize("geometry", [(2.6, 0.01, 0.5), (2.6, 0.36, 0.0)])
def test_motion_regions_follow_the_geometry_of_a_face_crop(face, tmp_path, geometry):
    """The push is below, or to the right of, all regions."""
    frames = np.stack([face, pushed(face, MOUTH, 2)])
    subject_file(tmp_path / "faces.h5", {"clip": (frames, 0, {"geometry": geometry})})
    with h5py.File(tmp_path / "faces.h5") as file:
        assert stored_geometry(file, file["clip"]) == Geometry(*geometry)
    assert motion_curve(frames, Geometry(*geometry))[1] < 0.5 * motion_curve(frames)[1]


def test_gate_spot_apex_is_within_two_frames():
    """Gate: in 90 % of noisy micro clips. All 120 of the default demo were tried by hand; here ten of two people."""
    clips = film_micro_clips(2, whole=True)

    def share(spotter):
        return np.mean([abs(spotter(clip) - clip.apex) <= 2 for clip in clips])

    curves = {id(clip): motion_curve(clip.aligned(128)) for clip in clips}
    assert share(lambda clip: spot_apex(curves[id(clip)])) >= 0.9
    # The first, middle and last frame fail the gate.
    assert share(lambda clip: 0) < 0.9
    assert share(lambda clip: len(clip.frames) // 2) < 0.9
    assert share(lambda clip: len(clip.frames) - 1) < 0.9


# ---------------------------------------------------------------- the choice


@pytest.mark.parametrize(("curve", "apex"), [([0.0], 0), ([0.0, 0.1], 1), ([0, 3, 1, 2], 1), ([9, 1, 2], 2)])
def test_spot_apex_is_the_highest_frame_after_onset(curve, apex):
    assert spot_apex(np.array(curve, float)) == apex


def test_choose_takes_equal_steps_of_curve():
    curve = np.concatenate([np.arange(0, 31), np.arange(29, -1, -1)]).astype(float)  # apex at 30
    curve[1:] = np.maximum(curve[1:], 0)
    assert choose(curve, 30, 1) == [30]
    assert choose(curve, 30, 2) == [30, 45]
    assert choose(curve, 30, 3) == [15, 30, 45]
    assert choose(curve, 30, 5) == [10, 20, 30, 40, 50]


def test_choose_follows_curve_not_time():
    slow_start = np.array([0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 2, 1, 0], float)
    assert choose(slow_start, 9, 5) == [7, 8, 9, 10, 11]


def test_choose_balances_short_side():
    rising = np.arange(20.0)
    assert choose(rising, 19, 5)[-1] == 19 and len(set(choose(rising, 19, 5))) == 5
    falling = np.concatenate([[0], np.arange(20, 0, -1)]).astype(float)
    assert choose(falling, 1, 5)[0] == 1 and len(set(choose(falling, 1, 5))) == 5


@pytest.mark.parametrize(("frames", "chosen"), [(1, [0] * 5), (2, [1] * 5), (4, [1, 1, 2, 3, 3]), (6, [1, 2, 3, 4, 5])])
def test_choose_repeats_frames_of_short_clips(frames, chosen):
    assert choose(np.arange(frames, dtype=float), frames - 1, 5) == chosen


@given(
    st.lists(st.floats(0, 3), min_size=2, max_size=30),
    st.integers(1, 8),
    st.integers(0, 100),
)
@settings(max_examples=200, deadline=None)
def test_choose_invariants(values, count, where):
    curve = np.array([0.0, *values[1:]])
    apex = where % len(curve)
    chosen = choose(curve, apex, count)
    assert len(chosen) == count
    assert chosen == sorted(chosen)
    assert min(chosen) >= 1 and max(chosen) < len(curve)  # never the onset
    assert len(set(chosen)) == min(count, len(curve) - 1)
    if count <= len(curve) - 1:
        assert max(apex, 1) in chosen


@given(st.lists(st.floats(0, 5), min_size=1, max_size=9), st.lists(st.floats(0, 5), min_size=0, max_size=4))
@settings(max_examples=200, deadline=None)
def test_nearest_ascending_is_optimal(values, levels):
    levels = levels[: len(values)]
    values, levels = np.array(values), np.array(levels)
    places = _nearest_ascending(values, levels)
    assert len(places) == len(levels) and all(a < b for a, b in zip(places, places[1:], strict=False))
    best = min(np.abs(values[list(some)] - levels).sum() for some in combinations(range(len(values)), len(levels)))
    assert np.abs(values[places] - levels).sum() == pytest.approx(best, abs=1e-9)


# ---------------------------------------------------------------- the stage


@pytest.fixture(scope="module")
def subject(tmp_path_factory, face):
    """A clip whose mouth moves most in its fourth frame, with and without an annotation, and the odd ones."""
    folder = tmp_path_factory.mktemp("keyframes")
    frames = np.stack([face] + [pushed(face, MOUTH, pixels) for pixels in (0.7, 1.4, 2.4, 1.6, 1.0, 0.5)])
    clips = {
        "annotated": (frames, 100, {"apex": 104}),
        "s1/free": (frames, 7, {}),
        "failed": "no face found",
        "photo": (face[None], 4, {"kind": "still"}),
        "single": (face[None], 0, {}),
    }
    subject_file(folder / "faces.h5", clips)
    return folder


def rows_of(table, clip):
    return table[table["clip"] == clip].sort_values("index", na_position="first")


def test_select_subject_contract(subject):
    select_subject(subject / "faces.h5", subject / "out.csv", keyframe_settings())
    table = read_table(subject / "out.csv", KEYFRAMES)
    assert list(table.columns) == KEYFRAMES
    assert set(table["clip"]) == {"annotated", "s1/free", "photo", "single"}

    rows = rows_of(table, "annotated")
    assert rows["index"].isna().iloc[0] and rows["index"].iloc[1:].tolist() == [0, 1, 2, 3, 4]
    assert rows["frame"].iloc[0] == 100 and rows["frame"].iloc[3] == 104
    assert set(rows["apex_source"]) == {"annotated"}
    assert set(rows["apex_annotated"]) == {104} and set(rows["apex_spotted"]) == {103}
    assert rows["magnitude_px"].iloc[0] == 0 and (rows["magnitude_px"].iloc[1:] > 0).all()

    free = rows_of(table, "s1/free")
    assert free["frame"].tolist()[0] == 7 and free["frame"].is_monotonic_increasing
    assert free["frame"].tolist()[3] == 10 and set(free["apex_source"]) == {"spotted"}
    assert free["apex_annotated"].isna().all()

    photo = rows_of(table, "photo")
    assert photo["index"].tolist() == [0] and photo["frame"].tolist() == [4]
    assert photo["apex_source"].tolist() == ["still"]

    assert rows_of(table, "single")["frame"].tolist() == [0] * 6


def test_apex_setting_spotted_ignores_annotation(subject):
    select_subject(subject / "faces.h5", subject / "spotted.csv", keyframe_settings(apex="spotted", count=3))
    rows = rows_of(read_table(subject / "spotted.csv", KEYFRAMES), "annotated")
    assert len(rows) == 4 and rows["frame"].iloc[2] == 103 and set(rows["apex_source"]) == {"spotted"}


def test_select_subject_is_reproducible(subject):
    for name in ("one.csv", "two.csv"):
        select_subject(subject / "faces.h5", subject / name, keyframe_settings())
    assert (subject / "one.csv").read_bytes() == (subject / "two.csv").read_bytes()


def test_select_subject_of_face_crop_without_landmarks(face, tmp_path):
    frames = np.stack([face, pushed(face, MOUTH, 2), pushed(face, MOUTH, 1)])
    subject_file(tmp_path / "faces.h5", {"seen": (frames, 0, {}), "elsewhere": (frames, 0, {})})
    with h5py.File(tmp_path / "faces.h5", "r+") as file:
        for name, height in (("seen", 0.36), ("elsewhere", 0.01)):
            del file[name].attrs["landmarks"]
            file[name].attrs["geometry"] = (2.6, height, 0.5)
    select_subject(tmp_path / "faces.h5", tmp_path / "out.csv", keyframe_settings(count=1))
    table = read_table(tmp_path / "out.csv", KEYFRAMES).set_index(["clip", "index"])["magnitude_px"]
    assert table["elsewhere", 0] < 0.5 * table["seen", 0]


def test_uniform_key_frames_are_equal_time_steps(subject):
    select_subject(subject / "faces.h5", subject / "uniform.csv", keyframe_settings(method="uniform", count=3))
    select_subject(subject / "faces.h5", subject / "three.csv", keyframe_settings(count=3))
    uniform, motion = (read_table(subject / f"{name}.csv", KEYFRAMES) for name in ("uniform", "three"))
    rows = rows_of(uniform, "annotated")
    assert rows["frame"].tolist() == [100, 102, 104, 106]
    # The curve is that of the motion; only the chosen frames differ.
    assert set(rows["apex_spotted"]) == {103} and rows["magnitude_px"].iloc[2] == pytest.approx(
        rows_of(motion, "annotated").set_index("frame").loc[104, "magnitude_px"]
    )
    assert rows_of(uniform, "photo").equals(rows_of(motion, "photo"))
    assert rows_of(uniform, "single")["frame"].tolist() == [0] * 4


@given(st.integers(1, 60), st.integers(1, 10))
def test_choose_uniform_invariants(frames, count):
    chosen = choose_uniform(frames, count)
    assert len(chosen) == count and chosen == sorted(chosen)
    assert min(chosen) >= min(1, frames - 1) and max(chosen) <= frames - 1
    assert len(set(chosen)) == min(count, max(frames - 1, 1))
    if count < frames:
        assert chosen[-1] == frames - 1
        steps = np.diff([0, *chosen])
        assert steps.max() - steps.min() <= 1, "equal as far as whole frames are"


@pytest.mark.parametrize(
    ("frames", "apex", "count", "chosen"),
    [
        (101, 25, 10, [8, 17, 25, 36, 46, 57, 68, 79, 89, 100]),  # 2 + 6 between onset, apex and offset.
        (101, 50, 10, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
        (101, 100, 4, [25, 50, 75, 100]),  # The apex is the last frame.
        (101, 0, 4, [1, 34, 67, 100]),  # It is the onset.
        (101, 50, 1, [50]),
        (101, 50, 2, [50, 100]),
        (12, 1, 10, [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]),  # No frame is between onset and apex.
        (6, 2, 5, [1, 2, 3, 4, 5]),
        (4, 2, 5, [1, 1, 2, 3, 3]),
        (1, 0, 3, [0, 0, 0]),
    ],
)
def test_choose_proportional(frames, apex, count, chosen):
    assert choose_proportional(frames, apex, count) == chosen
    if count > 2 and frames > count + 1 and apex > 1:  # The same places, of which only apex and offset are filmed.
        kept = [place if place in (apex, frames - 1) else None for place in chosen]
        assert choose_proportional(frames, apex, count, interpolate=True) == kept


@given(st.integers(2, 60), st.integers(0, 59), st.integers(2, 12))
def test_choose_proportional_invariants(frames, apex, count):
    apex = apex % frames
    chosen = choose_proportional(frames, apex, count)
    assert len(chosen) == count and chosen == sorted(chosen) and chosen[-1] == frames - 1 and max(apex, 1) in chosen
    assert len(set(chosen)) == min(count, frames - 1) and chosen[0] > 0
    made = choose_proportional(frames, apex, count, interpolate=True)
    filmed = [place for place in made if place is not None]
    assert len(made) == count and filmed == sorted({max(apex, 1), frames - 1}) and made[-1] == frames - 1
    before = made.index(max(apex, 1))
    if max(apex, 1) < frames - 1:
        assert abs(before - (count - 2) * max(apex, 1) / (frames - 1)) <= 0.5, "in proportion to time"


def test_select_subject_requires_scores_for_adaptive_only(subject):
    (subject / "scores.csv").write_text("clip,frame,score\n")
    for options, scores in (({"method": "adaptive"}, None), ({}, subject / "scores.csv")):
        with pytest.raises(ConfigError, match="keyframes.method: .* only adaptive uses scores"):
            select_subject(subject / "faces.h5", subject / "no.csv", keyframe_settings(**options), scores)


def test_select_keyframes_imports_no_torch_or_scorer():
    """A change of the scorer leaves the key-frames of the other methods alone, and their jobs start quickly."""
    script = REPO / "workflow" / "scripts" / "select_keyframes.py"
    assert "torch" not in imported(script) and "torch" in imported(script.with_name("score_frames.py"))
    assert not {"scorer.py", "training.py"} & {file.name for file in needed(script)}


# ---------------------------------------------------------------- where the cache finds the apex


def test_index_of_keyframes_is_place_in_flow_and_cache(subject, tmp_path):
    settings = preparation(keyframes={"count": 4})
    faces, keyframes, flow, cache = (subject / "faces.h5", *(tmp_path / name for name in ("k.csv", "f.h5", "c.h5")))
    select_subject(faces, keyframes, settings.keyframes)
    subject_flow(faces, keyframes, flow, settings.flow)
    clips = [{"clip": clip, "subject": "demo/s01", "label": "x", "kind": "micro"} for clip in ("annotated", "s1/free")]
    build_cache(
        clips, [faces], [keyframes], [flow], cache=cache, quality=tmp_path / "q.csv", dataset="demo",
        preparation="default", settings=settings, classes=["x"], code="",
    )  # fmt: skip
    table = read_table(keyframes, KEYFRAMES)
    with h5py.File(faces) as aligned, h5py.File(flow) as fields, h5py.File(cache) as file:
        for clip, group, apex in (("annotated", "annotated", 104), ("s1/free", "s1%2Ffree", 10)):
            place = file["clip"].asstr()[()].tolist().index(clip)
            (index,) = table[(table["clip"] == clip) & (table["frame"] == apex)]["index"].astype(int)
            assert file["apex_index"][place] == index and fields[group]["frame_numbers"][index] == apex
            np.testing.assert_array_equal(file["flow"][place, index, :2], fields[group]["flow"][index])
            frame = aligned[group]["frame_numbers"][()].tolist().index(apex)
            np.testing.assert_array_equal(file["spatial"][place, index], aligned[group]["frames"][frame])


@pytest.mark.parametrize(
    ("frames", "apex", "source", "expected"),
    [
        ([3, 5, 8, 10, 12], 8, "annotated", 2),
        ([3, 5, 8, 10, 12], 8, "spotted", 2),
        ([4, 8, 12, 16, 20], 10, "annotated", 1),  # Uniform: the earlier of two that are as near.
        ([4, 8, 12, 16, 20], 11, "annotated", 2),
        ([4, 8, 12, 16, 20], 20, "annotated", 4),
        ([1, 1, 2, 3, 3], 3, "annotated", 3),
        ([3, 5, 8, 10, 12], 0, "annotated", 3),  # Annotated at onset, which is no key-frame: the most motion.
    ],
)
def test_read_keyframes_finds_apex_index(tmp_path, face, frames, apex, source, expected):
    subject_file(tmp_path / "faces.h5", {"clip": (np.stack([face] * 21), 0, {})})
    table = pd.DataFrame({"clip": "clip", "index": [None, *range(5)], "frame": [0, *frames], "apex_source": source})
    table["magnitude_px"] = [0, 1, 2, 3, 4, 1]
    table["apex_annotated"], table["apex_spotted"] = (apex, 9) if source == "annotated" else (9, apex)
    with h5py.File(tmp_path / "faces.h5") as file:
        frames, place = read_keyframes(file["clip"], {}, table)
    assert place == expected and frames.shape == (5, 128, 128)
