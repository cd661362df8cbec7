"""The true flow of synthetic clips follows every point, and the film moves as it says."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from expression_motion import expression_flow
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.optimize import fsolve
from synthetic_people import MACRO, MICRO, drawn_person

from merflow.datasets.synthetic import render
from merflow.datasets.synthetic.plan import plan_subject
from merflow.datasets.synthetic.truth import Motion, crop_flow, true_flow


@pytest.fixture(scope="session")
def macro_motion():
    """A strong expression on a head that moves, with the clip that shows it."""
    settings = replace(MACRO, emotions=("surprise",), drift=3.0)
    performance = plan_subject("s01", settings)[0]
    return performance, render.clip_motion(drawn_person(0), performance, settings)


# --- truth ------------------------------------------------------------------------------------------------------------


def follow(motion, point, frame, onset):
    """Where a point of the onset frame is in another frame: one point at a time, by root finding, without OpenCV."""
    height, width = motion.field.shape[:2]
    centre = complex((width - 1) / 2, (height - 1) / 2)

    def head(number):
        dx, dy, angle, scale = motion.rigid[number]
        return complex(dx, dy), scale * np.exp(1j * angle)

    def displacement(place, number):
        strength = motion.amplitude_px * motion.envelope[number]
        u, v = (
            map_coordinates(motion.field[..., i].astype(float), [[place.imag], [place.real]], order=1, mode="nearest")[
                0
            ]
            for i in (0, 1)
        )
        return strength * complex(u, v)

    shift, turn = head(onset)
    then = (complex(*point) - shift - centre) / turn + centre
    neutral = then - displacement(then, onset)

    def missed(z):
        place = complex(*z)
        miss = place - displacement(place, frame) - neutral
        return miss.real, miss.imag

    now = complex(*fsolve(missed, (neutral.real, neutral.imag), xtol=1e-6))
    shift, turn_now = head(frame)
    together = centre + shift + turn_now * (now - centre)
    return np.array([together.real, together.imag]), turn * (now - then)


@pytest.mark.parametrize(("onset", "apex"), [("onset", "apex"), ("apex", "offset"), ("offset", "onset")])
def test_true_flow_follows_points(macro_motion, onset, apex):
    performance, motion = macro_motion
    onset, frame = getattr(performance, onset), getattr(performance, apex)
    both, face = true_flow(motion, frame, onset), expression_flow(motion, frame, onset)
    assert both.dtype == face.dtype == np.float32
    chance = np.random.default_rng(0)
    points = chance.integers(60, 440, (60, 2))
    expected = [follow(motion, point, frame, onset) for point in points]
    there = np.array([both[y, x] + (x, y) for x, y in points])
    moved = np.array([(step.real, step.imag) for _, step in expected])
    assert np.abs(there - [place for place, _ in expected]).max() < 0.02
    assert np.abs(np.array([face[y, x] for x, y in points]) - moved).max() < 0.02
    # The check can fail: the field without root finding is off by more.
    unsolved = motion.field * np.float32(motion.strength(frame) - motion.strength(onset))
    assert np.abs(np.array([unsolved[y, x] for x, y in points]) - moved).max() > 0.2


def test_no_motion_between_frame_and_itself(macro_motion):
    performance, motion = macro_motion
    for frame in (performance.onset, performance.apex):
        assert np.abs(true_flow(motion, frame, frame)).max() < 0.02


def test_longest_displacement_is_amplitude(macro_motion):
    performance, motion = macro_motion
    upright = Motion(motion.field, motion.envelope, np.array([[0, 0, 0, 1.0]] * len(motion.rigid)), motion.amplitude_px)
    length = np.linalg.norm(expression_flow(upright, performance.apex, 0), axis=-1)
    assert length.max() == pytest.approx(performance.amplitude_px, rel=0.01)


def test_film_moves_as_truth_says(macro_motion, monkeypatch):
    """Without noise, light and shading, a later frame looked up along the true flow is the onset frame."""
    monkeypatch.setattr(render, "_SHADING", 0.0)
    for performance, motion, face in [
        (*macro_motion, drawn_person(0)),
        (
            (micro := plan_subject("s01", MICRO)[0]),
            render.clip_motion(drawn_person(12), micro, MICRO),
            drawn_person(12),
        ),
    ]:
        frames = [
            cv2.cvtColor(f, cv2.COLOR_BGR2GRAY)
            for f in render.render_frames(face, motion, performance, noise=0, light=False)
        ]
        first, last = frames[performance.onset], frames[performance.apex]
        flow = true_flow(motion, performance.apex, performance.onset)
        pixels = np.stack(np.meshgrid(np.arange(480, dtype=np.float32), np.arange(480, dtype=np.float32)), axis=-1)

        def error(moved, pixels=pixels, first=first, last=last):
            back = cv2.remap(last, pixels + moved, None, cv2.INTER_CUBIC).astype(float)
            return np.sqrt(np.mean((back - first)[80:430, 120:360] ** 2))

        assert error(flow) < 2
        assert error(flow) < 0.35 * error(np.zeros_like(flow))
        assert error(flow) < 0.35 * error(-flow)
        assert error(flow) < 0.8 * error(expression_flow(motion, performance.apex, performance.onset))


@given(st.floats(0.2, 3), st.floats(-0.5, 0.5), st.floats(-20, 60), st.floats(-20, 60))
@hypothesis_settings(deadline=None)
def test_crop_flow_of_linear_flow_is_exact(scale, angle, right, down):
    size, jacobian, shift = 32, np.array([[0.01, -0.02], [0.03, 0.02]]), np.array([1.5, -0.7])
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # The crop's middle lies at (100 + right, 100 + down) in the source.
    transform = np.column_stack([linear, (size - 1) / 2 - linear @ (100 + np.array([right, down]))])
    pixels = np.stack(np.meshgrid(np.arange(480.0), np.arange(480.0)), axis=-1)
    flow = (pixels @ jacobian.T + shift).astype(np.float32)
    cropped = crop_flow(flow, transform, size)
    assert cropped.shape == (2, size, size)
    assert cropped.dtype == np.float32
    for q in np.array([[0, 0], [31, 0], [5, 20], [16, 16]]):
        p = np.linalg.solve(linear, q - transform[:, 2])
        if np.all(p >= 0):
            # Moving the point in the source and mapping both ends into the crop gives the same vector.
            end = linear @ (p + jacobian @ p + shift) + transform[:, 2]
            assert cropped[:, q[1], q[0]] == pytest.approx(end - q, abs=0.01 * max(1, scale))
