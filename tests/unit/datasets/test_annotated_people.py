"""People who act as annotated people do: the frequencies of their units, their sides, and what moves besides."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from synthetic_people import MACRO, MICRO, drawn_person

from merflow.datasets.synthetic import render
from merflow.datasets.synthetic.annotated import ceilings, frequencies, rows_of
from merflow.datasets.synthetic.distractions import distractions
from merflow.datasets.synthetic.expressions import ACTION_UNITS, unit_field
from merflow.datasets.synthetic.plan import plan_clips, plan_subject

ANNOTATED = replace(MICRO, repertoire="annotated")
SEVEN = ("happiness", "surprise", "disgust", "fear", "sadness", "anger", "others")
THREE = {"negative": 415, "positive": 51, "surprise": 179}
"""Clips of the table by class, without others."""
COMPOSITE = {"negative": 250, "positive": 109, "surprise": 83}


def performances(settings):
    return [performance for subject in settings.subject_names for performance in plan_subject(subject, settings)]


def test_table_counts_790_clips_of_drawn_units():
    rows = frequencies()
    assert (sum(row.clips for row in rows), sum(row.one_sided for row in rows)) == (790, 81)
    assert {row.emotion for row in rows} == set(SEVEN)
    assert all(set(row.units) <= ACTION_UNITS.keys() and 0 <= row.one_sided <= row.clips for row in rows)
    assert {label: sum(row.clips for row in rows_of(label)) for label in THREE} == THREE


@pytest.mark.parametrize(
    ("clips", "frequent", "best"),
    [
        (THREE, 0.65, 0.72),
        ({label: sum(row.clips for row in rows_of(label)) for label in SEVEN}, 0.36, 0.41),
        (COMPOSITE, 0.74, 0.77),
        (dict.fromkeys(THREE, 48), 0.79, 0.79),
    ],
)
def test_ceilings_of_true_units(clips, frequent, best):
    assert [round(value, 2) for value in ceilings(clips)] == [frequent, best]


def test_ceiling_is_one_if_no_units_are_shared():
    assert ceilings({"positive": 5}) == (1, 1)


def test_units_occur_as_often_as_annotated():
    """Counts of each label's units lie within 4.5 standard errors of their expectation; 2,500 clips a label."""
    clips = performances(
        replace(ANNOTATED, subjects=50, emotions=("disgust", "surprise", "positive"), clips_per_emotion=50)
    )
    for label in ("disgust", "surprise", "positive"):
        shown = Counter(tuple(clip.strengths) for clip in clips if clip.emotion == label)
        rows, number = rows_of(label), sum(shown.values())
        assert number == 2500 and shown.keys() <= {row.units for row in rows}
        total = sum(row.clips for row in rows)
        for row in rows:
            share = row.clips / total
            assert abs(shown[row.units] - number * share) < 4.5 * np.sqrt(number * share * (1 - share)), row


def test_share_of_one_sided_clips_is_as_annotated():
    """Surprise is on one side in 29 of 179 clips, disgust in 5 of 231."""
    clips = performances(replace(ANNOTATED, subjects=50, emotions=("disgust", "surprise"), clips_per_emotion=50))
    for label, share in (("surprise", 29 / 179), ("disgust", 5 / 231)):
        weak = np.array([min(clip.gains) for clip in clips if clip.emotion == label])
        assert np.mean(weak < 0.15) == pytest.approx(share, abs=4.5 * np.sqrt(share * (1 - share) / len(weak)))
        assert np.all((weak < 0.15) | (weak >= 0.6))


def test_a_person_keeps_the_style_of_a_unit():
    """One person repeats the place, width, direction and usual side of a unit; others have their own."""
    settings = replace(ANNOTATED, emotions=("surprise", "anger"), subjects=2, clips_per_emotion=1000)
    clips = [plan_subject(subject, settings) for subject in ("s01", "s02")]
    styles = [{clip.pushes[1] for clip in of if 1 in clip.strengths} for of in clips]
    assert [len(style) for style in styles] == [1, 1] and styles[0] != styles[1]
    one_sided = [clip for clip in clips[0] if tuple(clip.strengths) == (2,) and min(clip.gains) < 0.15]
    share = np.mean([clip.gains[0] > clip.gains[1] for clip in one_sided])
    assert len(one_sided) > 20 and abs(share - 0.5) > 0.1


def test_timing_is_that_of_real_clips():
    for fps in (100, 200):
        clips = performances(replace(ANNOTATED, fps=fps))
        rises = np.array([clip.apex - clip.onset for clip in clips]) / fps
        lengths = np.array([clip.offset - clip.onset for clip in clips]) / fps
        assert np.all((rises >= 0.05) & (rises <= 0.26)) and np.median(rises) == pytest.approx(0.17, abs=0.03)
        assert np.all((lengths >= 0.1) & (lengths <= 0.51)) and len(set(lengths)) > 10
        assert all(clip.onset > 0 and clip.offset < clip.frames - 1 for clip in clips)


def test_dimpler_moves_the_skin_towards_the_mouth_corners():
    anchors = drawn_person(0).anchors
    field = unit_field(anchors, {14: 1.0}, (1.0, 1.0), (480, 480))
    length = np.hypot(field[..., 0], field[..., 1])
    left, right = anchors.paired["mouth_corner"]
    rows, columns = np.mgrid[:480, :480]
    near = np.minimum(*(np.hypot(columns - x, rows - y) for x, y in (left, right))) < 0.6 * anchors.interocular
    assert length[near].max() == pytest.approx(1, abs=1e-3) and length[~near].max() < 0.1

    def at(right_px, down_px):
        return field[round(right[1] + down_px), round(right[0] + right_px)]

    assert at(25, 0)[0] < -0.2, "the cheek beside the corner moves inward"
    assert at(0, 26)[1] < -0.5, "the skin below the corner moves up"


def test_composite_has_its_clips_and_every_person_has_one():
    settings = replace(ANNOTATED, subjects=24, clips={"negative": 88, "positive": 32, "surprise": 25})
    clips = plan_clips("a", settings)
    assert Counter(clip.label for clip in clips) == settings.clips
    counts = Counter(clip.subject for clip in clips)
    assert len(counts) == 24 and max(counts.values()) > 2 * np.median(list(counts.values()))
    assert len({clip.clip for clip in clips}) == 145
    assert clips != plan_clips("a", replace(settings, first_subject=99))


def test_macro_clips_stay_prototypes():
    assert performances(replace(MACRO, repertoire="annotated")) == performances(MACRO)


def test_prototype_of_negative_is_one_of_its_emotions():
    """Two clips of each of twelve people show the four emotions."""
    settings = replace(MACRO, emotions=("negative",), clips_per_emotion=2)
    shown = {frozenset(clip.strengths) for clip in performances(settings)}
    assert shown == {frozenset(units) for units in ({4, 5, 7, 24}, {4, 9, 10}, {1, 2, 4, 5, 20, 26}, {1, 4, 15, 17})}


def test_blink_moves_the_film_near_the_eyes_only():
    """The film of closed lids differs from that of the same clip within 80 px of the pupils."""
    settings = replace(ANNOTATED, emotions=("disgust",), subjects=1, clips_per_emotion=1, noise=0.0, drift=0.0)
    performance = plan_subject("s01", settings)[0]
    base = render.base_picture("s01", settings)
    motion = render.clip_motion(base, performance, settings)
    lids = 9.6 * unit_field(base.anchors, {45: 1.0}, (1.0, 1.0), (480, 480))
    still, moved = (
        np.stack(list(render.render_frames(base, motion, performance, noise=0.0, light=0.0, others=others))).astype(int)
        for others in ([], [(lids, np.ones(performance.frames))])
    )
    changed = np.abs(still - moved).max(axis=(0, 3))
    rows, columns = np.mgrid[:480, :480]
    near = np.minimum(*(np.hypot(columns - x, rows - y) for x, y in base.anchors.paired["pupil"])) < 80
    assert changed[near].max() > 40 and changed[~near].max() <= 1


def test_distractions_are_as_frequent_as_stated():
    """Blinks .25 and changes of gaze .4 a second; a turn of the head in every clip, from a neutral start."""
    settings = replace(ANNOTATED, frame_size=60, interocular_px=15, clips_per_emotion=20)
    face, seconds, numbers = drawn_person(0), 0.0, []
    for performance in performances(settings):
        moved = distractions(face.anchors, performance, settings)
        seconds += performance.frames / settings.fps
        numbers.append(len(moved))
        assert all(field.shape == (60, 60, 2) and len(course) == performance.frames for field, course in moved)
        assert moved[0][1][0] == 0
    expected = 0.65 * seconds
    assert min(numbers) == 1
    assert abs(sum(numbers) - len(numbers) - expected) < 4.5 * np.sqrt(expected)
