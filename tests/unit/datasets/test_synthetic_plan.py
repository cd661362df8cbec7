"""The plan of synthetic clips: what each person shows, and which way each part of the face moves."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from synthetic_people import MACRO, MICRO, drawn_person

from merflow.datasets.settings import STANDARD_MACRO, STANDARD_MICRO
from merflow.datasets.synthetic import render
from merflow.datasets.synthetic.expressions import ACTION_UNITS, EMOTIONS, unit_field
from merflow.datasets.synthetic.plan import envelope, plan_clips, plan_subject

# --- plan -------------------------------------------------------------------------------------------------------------


def test_plan_is_deterministic_and_lists_clips_once():
    clips = plan_clips("demo", MICRO)
    assert clips == plan_clips("demo", MICRO)
    assert clips != plan_clips("demo", replace(MICRO, seed=1))
    assert len(clips) == len({clip.clip for clip in clips}) == 12 * 5 * 2
    first = clips[0]
    assert (first.clip, first.subject, first.label) == ("s01_happiness_1", "demo/s01", "happiness")
    assert (first.frames, first.fps, first.kind) == ("somewhere/s01/s01_happiness_1", 200, "micro")


def test_planning_needs_no_vision_library():
    code = (
        "import sys; from merflow.datasets.synthetic.plan import plan_clips;"
        "from merflow.datasets.settings import STANDARD_MICRO; plan_clips('d', STANDARD_MICRO);"
        "print([name for name in ('cv2', 'dlib', 'h5py', 'scipy', 'torch') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3], check=True
    )
    assert done.stdout.strip() == "[]"


def test_macro_and_micro_subjects_are_different_people():
    macro = {MACRO.person_number(clip.subject) for clip in plan_clips("a", MACRO)}
    micro = {MICRO.person_number(clip.subject) for clip in plan_clips("b", MICRO)}
    assert macro == set(range(12))
    assert micro == set(range(12, 24))
    assert np.array_equal(render.base_picture("s02", MICRO).picture, drawn_person(13).picture)


def test_clip_does_not_depend_on_others():
    all_clips = {clip.clip: clip for clip in plan_clips("demo", MICRO)}
    fewer = replace(MICRO, emotions=("fear",), clips_per_emotion=1, subjects=2)
    for clip in plan_clips("demo", fewer):
        assert clip == all_clips[clip.clip]


@given(
    kind=st.sampled_from(["micro", "macro"]),
    frames=st.integers(8, 300),
    seed=st.integers(0, 2**32),
    subject=st.integers(1, 99),
    low=st.floats(0, 5),
    width=st.floats(0, 5),
)
@hypothesis_settings(max_examples=100, deadline=None)
def test_performance_respects_settings(kind, frames, seed, subject, low, width):
    standard = STANDARD_MICRO if kind == "micro" else STANDARD_MACRO
    settings = replace(standard, frames=frames, seed=seed, amplitude=(low, low + width), emotions=tuple(EMOTIONS))
    for performance in plan_subject(f"s{subject:02d}", settings):
        assert 0 < performance.onset < performance.apex < performance.offset <= frames - 1
        assert low <= performance.amplitude_px <= low + width
        lowest, highest = settings.side_gain
        assert all(lowest <= gain <= highest for gain in performance.gains)
        usual = EMOTIONS[performance.emotion]
        assert performance.strengths.keys() == usual.keys()
        assert all(0.8 <= performance.strengths[unit] / usual[unit] <= 1.2 for unit in usual)
        course = performance.envelope
        assert course.shape == (frames,)
        assert int(course.argmax()) == performance.apex


@given(
    onset=st.integers(0, 20),
    rise=st.integers(1, 60),
    fall=st.integers(1, 60),
    after=st.integers(1, 20),
    rest=st.floats(0, 1),
)
def test_envelope_rises_to_one_and_falls_to_its_rest(onset, rise, fall, after, rest):
    apex, offset = onset + rise, onset + rise + fall
    course = envelope(offset + after, onset, apex, offset, rest)
    assert course.dtype == np.float32
    assert np.all(course[: onset + 1] == 0)
    assert course[apex] == 1
    assert np.allclose(course[offset:], rest, atol=1e-6)
    assert np.all(np.diff(course[onset : apex + 1]) >= 0)
    assert np.all(np.diff(course[apex:]) <= 1e-6)
    if rise % 2 == 0:
        assert course[onset + rise // 2] == pytest.approx(0.5, abs=1e-6)


# --- expressions ------------------------------------------------------------------------------------------------------


def fields(kind_settings, emotions, subjects):
    for subject in subjects:
        face = drawn_person(kind_settings.person_number(subject))
        for performance in plan_subject(subject, replace(kind_settings, emotions=tuple(emotions))):
            yield performance, unit_field(face.anchors, performance.strengths, performance.gains, (480, 480))


def test_field_has_unit_length_and_side_gains():
    anchors = drawn_person(0).anchors
    field = unit_field(anchors, {12: 1.0}, (0.7, 1.0), (480, 480))
    length = np.hypot(field[..., 0], field[..., 1])
    assert field.dtype == np.float32
    assert length.max() == pytest.approx(1, abs=1e-3)
    assert length[:, :240].max() / length[:, 240:].max() == pytest.approx(0.7, abs=0.01)


def test_action_units_move_expected_regions():
    anchors = drawn_person(0).anchors

    def at(emotion, name):
        field = unit_field(anchors, EMOTIONS[emotion], (1.0, 1.0), (480, 480))
        left, right = (field[tuple(point.round().astype(int)[::-1])] for point in anchors.paired[name])
        assert left == pytest.approx(right * [-1, 1], abs=0.02)
        return right

    assert at("happiness", "mouth_corner")[0] > 0.3 and at("happiness", "mouth_corner")[1] < -0.5
    assert at("sadness", "mouth_corner")[1] > 0.4 and at("sadness", "brow_inner")[1] < -0.2
    assert at("surprise", "brow_inner")[1] < -0.5 and at("surprise", "brow_outer")[1] < -0.5
    assert at("fear", "mouth_corner")[0] > 0.5 and at("fear", "brow_inner")[1] < 0
    assert at("disgust", "nose_wing")[1] < -0.5
    assert at("anger", "brow_inner")[1] > 0.5 and at("anger", "brow_inner")[0] < -0.2
    assert set().union(*EMOTIONS.values()) <= ACTION_UNITS.keys()


def test_fields_separate_emotions_across_people():
    """Nearest mean of other people's fields; chance is one in six."""
    fields_by_emotion, asked = {emotion: [] for emotion in EMOTIONS}, []
    for settings, subjects in ((MICRO, ["s01", "s02", "s03"]), (MACRO, ["s01", "s02", "s03", "s04"])):
        for performance, field in fields(settings, list(EMOTIONS), subjects):
            (asked if settings is MICRO else fields_by_emotion[performance.emotion]).append(
                field[::8, ::8].ravel() if settings is MACRO else (performance.emotion, field[::8, ::8].ravel())
            )
    means = {emotion: np.mean(of, axis=0) for emotion, of in fields_by_emotion.items()}
    right = [
        max(means, key=lambda name: field @ means[name] / np.linalg.norm(means[name])) == emotion
        for emotion, field in asked
    ]
    assert np.mean(right) == 1
