"""Spotting: curves, intervals, and synthetic faces with known expressions."""

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from long_clips import CHOOSING, STANDARD, film_long, plan_long
from stage_settings import spotting_settings

from merflow.evaluation.interval_matching import overlap
from merflow.inference import curves, motion, spotting
from merflow.inference.curves import peaks, smooth
from merflow.inference.motion_track import (
    FEATURES,
    MACRO,
    MICRO,
    Candidate,
    MotionCurve,
    MotionTrack,
    load_track,
    save_track,
)
from merflow.inference.spotting import distinct
from merflow.preprocessing.detection import Face

SHORT = replace(STANDARD, seconds=3.2, fps=25, expressions=1, blinks=0.0, duration=(0.4, 0.5))


def grey_long(clip):
    """Yield number and grey frame of a long clip, like ``grey_frames``."""
    for number, frame in enumerate(film_long(clip)):
        yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)


def threshold(curve):
    return curves.threshold(curve, spotting_settings())


def spot(frames, fps):
    return spotting.select_candidates(track_motion(frames, fps), spotting_settings())


def track_motion(frames, fps, **options):
    return motion.track_motion(frames, fps, spotting_settings(), **options)


NO_MOTION = (0.0, 0.0, np.zeros(len(FEATURES), np.float32))


frames = st.integers(0, 400)
spans = st.tuples(frames, st.integers(2, 120)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@pytest.mark.parametrize("shape", [(4, 2000), (2000, 4), (1, 1)])
def test_track_motion_thumbnails_of_any_shape(shape):
    track = track_motion([(number, np.zeros(shape, np.uint8)) for number in range(2)], 25)
    assert not track.positions and [max(picture.shape) for _, picture in track.thumbnails] == [min(160, max(shape))] * 2


# --- curves -----------------------------------------------------------------------------------------------------------


def test_peaks_above_threshold_only():
    time = np.arange(300)
    noise = 0.1 + 0.01 * np.sin(time)
    curve = noise + 0.8 * np.exp(-(((time - 100) / 6) ** 2)) + 0.1 * np.exp(-(((time - 200) / 6) ** 2))
    assert peaks(curve, threshold(curve), 6) == [100]


def test_threshold_is_higher_for_restless_video():
    chance = np.random.default_rng(0)
    calm, restless = 0.1 + 0.01 * chance.random(500), 0.5 + 0.3 * chance.random(500)
    assert threshold(calm) == spotting_settings().least_motion
    assert threshold(restless) > restless.max()


def test_surroundings_are_the_seconds_on_either_side_without_the_peak():
    curve = np.full(400, 0.1)
    curve[190:211] = 9.0  # The peak itself, at 200.
    assert curves.surroundings(curve, 200, 6) == pytest.approx(0.1)
    curve[120:190:2] = curve[211:280:2] = 2.0  # Syllables.
    assert curves.surroundings(curve, 200, 6) == pytest.approx(2.0)
    assert curves.surroundings(np.full(3, np.nan), 1, 6) == 0


def test_peak_among_others_is_no_candidate():
    """A lone peak is a candidate; the same peak in a row of syllables is none."""
    for gap, count in ((1000, 1), (7, 0)):
        motion = np.full(400, 0.05)
        motion[200::gap] = motion[200::-gap] = 3.0
        curve = MotionCurve(0.2, 1, list(range(400)), motion.tolist(), [0.0] * 400)
        curve.candidates = [Candidate(196, 200, 204, 1.2, False)]
        track = MotionTrack(30, 400, 0, 399, 64, 64, {MICRO: curve})
        assert len(spotting.select_candidates(track, spotting_settings()).intervals) == count


def test_peaks_at_both_ends_of_the_curve():
    assert peaks(np.array([1.0, 0.2, 0.1, 0.3, 0.9]), 0.5, 2) == [0, 4]


def test_smooth_keeps_nan_without_face():
    curve = smooth([0.1] * 20 + [np.nan] * 20 + [0.1] * 20, 6)
    assert np.isnan(curve[20:40]).all() and np.allclose(curve[:20], 0.1) and np.allclose(curve[40:], 0.1)
    assert peaks(curve, 0.05, 100) and threshold(np.full(5, np.nan)) == spotting_settings().least_motion


# --- intervals --------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(spans, st.floats(0, 5)), max_size=12))
def test_distinct_keeps_stronger_of_overlapping_in_order(candidates):
    intervals = [Candidate(span[0], sum(span) // 2, span[1], strength, False) for span, strength in candidates]
    kept = distinct(intervals, 2)
    assert kept == sorted(kept, key=lambda interval: interval.onset) and set(kept) <= set(intervals)
    for place, interval in enumerate(kept):
        assert interval.offset - interval.onset >= 2
        assert all(
            overlap((interval.onset, interval.offset), (rival.onset, rival.offset)) < 0.5 for rival in kept[place + 1 :]
        )
    for interval in intervals:
        rivals = [
            rival for rival in kept if overlap((interval.onset, interval.offset), (rival.onset, rival.offset)) >= 0.5
        ]
        assert interval in kept or any(rival.strength >= interval.strength for rival in rivals)


@pytest.mark.parametrize(("rise", "fall"), [(8, 12), (20, 20), (12, 25)])
def test_resting_ends_of_raised_cosine(rise, fall):
    place = np.arange(120)
    course = np.where(
        place <= 50,
        np.cos(np.pi * np.clip((50 - place) / rise, 0, 1)),
        np.cos(np.pi * np.clip((place - 50) / fall, 0, 1)),
    )
    onset, offset = motion._resting_ends(0.5 - 0.5 * course, 50, 30)
    assert abs(onset - (50 - rise)) <= 2 and abs(offset - (50 + fall)) <= 2


# --- drawn faces ------------------------------------------------------------------------------------------------------


def test_spot_finds_expression_after_posture_change():
    clip = plan_long(CHOOSING + 40, SHORT)
    result = spot(grey_long(clip), clip.fps)
    (true,) = clip.expressions
    assert len(result.intervals) == 1
    interval = result.intervals[0]
    assert overlap((interval.onset, interval.offset), (true.onset, true.offset)) >= 0.5
    assert abs(interval.apex - true.apex) <= 2 and interval.onset < interval.apex < interval.offset
    assert len(result.track.positions) == 1 and not result.track.lost and result.track.frames == clip.frames


def test_spot_rejects_head_motion_and_blinks():
    clip = plan_long(CHOOSING + 41, replace(SHORT, expressions=0, blinks=1.5))
    result = spot(grey_long(clip), clip.fps)
    assert not result.intervals
    blinks = [event for event in clip.events if event.emotion == "blink"]
    assert blinks and len(result.blinks) == sum(5 < event.apex < clip.frames - 6 for event in blinks)


def test_track_motion_memory_is_constant(monkeypatch):
    face = Face((40, 40, 80, 80), 1.0, np.array([[110, 60], [95, 60], [50, 60], [65, 60], [80, 90.0]]))
    monkeypatch.setattr(motion, "find_face", lambda *_: (0, face))
    monkeypatch.setattr(motion.MotionComparison, "__call__", lambda *_: NO_MOTION)
    picture = np.random.default_rng(0).integers(0, 255, (160, 160), np.uint8)

    def peak(count):
        tracemalloc.start()
        track = track_motion(((number, picture) for number in range(count)), 50)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert track.frames == count and track.last == count - 1 and 12 <= len(track.thumbnails) <= 24
        return most

    assert peak(700) < 1.3 * peak(200)


def test_track_motion_follows_face_that_returns_elsewhere(monkeypatch):
    here = Face((40, 40, 80, 80), 1.0, np.array([[110, 60], [95, 60], [50, 60], [65, 60], [80, 90.0]]))
    there = Face((60, 40, 80, 80), 1.0, here.landmarks + [30, 0])
    asked = []

    def find(frames, *_):
        asked.append(int(frames[0][0, 0]))
        return (0, here) if asked[-1] < 60 else None if asked[-1] < 120 else (0, there)

    monkeypatch.setattr(motion, "find_face", find)
    monkeypatch.setattr(motion.MotionComparison, "__call__", lambda *_: NO_MOTION)
    track = track_motion(((number, np.full((160, 200), number, np.uint8)) for number in range(200)), 50)
    assert len(track.positions) == 2 and [place.frame for place in track.positions][0] == 0
    (gap,) = track.lost
    assert 60 <= gap[0] <= 110 and 120 <= gap[1] <= 135
    measured = np.isfinite(track.micro.motion)
    assert measured[0] and measured[-1] and not measured[len(measured) // 2 - 2 : len(measured) // 2 + 2].all()


@pytest.mark.parametrize(("detector", "cnn"), [("auto", 3), ("hog", 0), ("cnn", 3)])
def test_track_motion_tries_cnn_every_four_seconds(monkeypatch, detector, cnn):
    asked = []
    monkeypatch.setattr(motion, "find_face", lambda frames, _, upsample, name: asked.append(name))
    frames = ((number, np.zeros((160, 160), np.uint8)) for number in range(250))
    assert not motion.track_motion(frames, 25, spotting_settings(detector=detector)).positions
    assert len([name for name in asked if name != "hog"]) == cnn and set(asked) <= {detector, "hog"}
    assert asked.count("hog") == {"auto": 33, "hog": 36, "cnn": 0}[detector], "every 7 frames"


@pytest.mark.parametrize(("right", "places"), [(2, 1), (30, 2)])
def test_track_motion_recrops_moved_face_but_not_jitter(monkeypatch, right, places):
    here = Face((40, 40, 80, 80), 1.0, np.array([[110, 60], [95, 60], [50, 60], [65, 60], [80, 90.0]]))
    there = Face((40 + right, 40, 80, 80), 1.0, here.landmarks + [right, 0])
    monkeypatch.setattr(motion, "find_face", lambda frames, *_: (0, here if frames[0][0, 0] < 60 else there))
    monkeypatch.setattr(motion.MotionComparison, "__call__", lambda *_: NO_MOTION)
    track = track_motion(((number, np.full((160, 200), number, np.uint8)) for number in range(160)), 50)
    assert len(track.positions) == places and not track.lost
    assert np.isfinite(track.micro.motion).all(), "times on both sides of the move are compared in the place before it"


def test_refine_finds_onset_and_offset():
    clip = plan_long(CHOOSING + 40, SHORT)
    (true,) = clip.expressions
    crops = [
        (n, cv2.resize(frame, (160, 160))) for n, frame in grey_long(clip) if true.onset - 8 <= n <= true.offset + 8
    ]
    numbers, images = zip(*crops, strict=True)
    onset, offset = motion.refine(numbers, images, true.apex, round(clip.fps / 2), motion.MotionComparison())
    assert abs(onset - true.onset) <= 4 and abs(offset - true.offset) <= 4


@pytest.mark.parametrize(("fps", "seconds"), [(25, 8), (100, 6), (30, 3)])
def test_candidates_are_the_peaks_of_the_whole_curve(monkeypatch, fps, seconds):
    """Peaks are found and refined while the video is read; the curve as a whole has the same."""
    face = Face((40, 40, 80, 80), 1.0, np.array([[110, 60], [95, 60], [50, 60], [65, 60], [80, 90.0]]))
    chance, picture = np.random.default_rng(fps), np.zeros((160, 160), np.uint8)
    monkeypatch.setattr(motion, "find_face", lambda *_: (0, face))
    compared = lambda *_: (chance.random() ** 4, chance.random(), NO_MOTION[2])  # noqa: E731
    monkeypatch.setattr(motion.MotionComparison, "__call__", compared)
    monkeypatch.setattr(motion.MotionComparison, "flow", lambda *_: (chance.random((2, 160, 160)), np.zeros(4)))
    track = track_motion(((n, picture) for n in range(7, 7 + fps * seconds)), fps, kinds=(MICRO, MACRO), floor=0.1)
    for kind, curve in track.curves.items():
        reach = curve.reach(fps)
        smoothed = smooth(curve.motion, reach)
        expected = peaks(smoothed, 0.1, reach)
        assert [candidate.apex for candidate in curve.candidates] == [curve.centres[index] for index in expected]
        assert kind == MACRO or len(expected) > 3
        for index, candidate in zip(expected, curve.candidates, strict=True):
            assert candidate.strength == pytest.approx(smoothed[index])
            assert 7 <= candidate.onset <= candidate.apex <= candidate.offset < 7 + fps * seconds
            assert candidate.blink == bool(smooth(curve.lids, reach)[index] >= 2 * smoothed[index])
    assert len(track.features) == len(track.micro.motion) and track.features[0].shape == (len(FEATURES),)


def test_macro_curve_finds_slow_expression_only():
    settings = replace(SHORT, seconds=6.0, duration=(1.6, 1.8))
    clip = plan_long(CHOOSING + 40, settings)
    (true,) = clip.expressions
    track = track_motion(grey_long(clip), clip.fps, kinds=(MICRO, MACRO))
    found = max(track.curves[MACRO].candidates, key=lambda candidate: candidate.strength)
    assert overlap((found.onset, found.offset), (true.onset, true.offset)) >= 0.5
    strongest = max([candidate.strength for candidate in track.micro.candidates if not candidate.blink], default=0.0)
    assert strongest < found.strength / 2


def test_saved_track_is_read_again(tmp_path):
    clip = plan_long(CHOOSING + 40, SHORT)
    track = track_motion(grey_long(clip), clip.fps, kinds=(MICRO, MACRO))
    save_track(track, tmp_path / "motion.h5")
    again = load_track(tmp_path / "motion.h5")
    assert again.curves == track.curves and again.micro.candidates and again.lost == track.lost
    assert (np.array(again.features) == np.array(track.features)).all()
    assert (again.fps, again.frames, again.last, again.width) == (25.0, 80, 79, 240)


def test_long_clips_are_reproducible_and_their_expressions_apart():
    first, again = plan_long(CHOOSING), plan_long(CHOOSING)
    assert first.events == again.events and (first.rigid == again.rigid).all()
    ends = [(event.onset, event.offset) for event in first.expressions]
    assert all(b[0] - a[1] >= 0.6 * first.fps - 2 for a, b in zip(ends, ends[1:], strict=False))
    assert ends[-1][1] <= first.frames * 2 / 3
