"""The flow stage against known motions, the ground truth of the demo, and real smiles."""

import cv2
import h5py
import numpy as np
import pytest
from demo_clips import film_micro_clips, film_still_face, subject_file
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_settings import flow_settings, keyframe_settings

from merflow.errors import InputError
from merflow.footage.images import read_grey
from merflow.preprocessing import flow as flow_module
from merflow.preprocessing.detection import find_face
from merflow.preprocessing.flow import (
    fit_similarity,
    flow_image,
    local_contrast,
    optical_strain,
    similarity_field,
    subject_flow,
)
from merflow.preprocessing.geometry import crop_transform, face_weights, map_points, warp
from merflow.preprocessing.keyframes import select_subject
from merflow.storage.tables import KEYFRAMES, write_table


def tvl1(first, second, **changes):
    return flow_module.pair_flow(first, second, flow_settings(**changes))


def clip_flow(frames, pairs, **changes):
    return flow_module.clip_flow(frames, pairs, flow_settings(**changes))


def texture(size=128, seed=0, x=0.0, y=0.0):
    """A smooth random picture whose content is moved by (x, y): a sum of waves, exact at any sub-pixel shift."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size].astype(float)
    picture = np.zeros((size, size))
    for _ in range(60):
        wave, phase = chance.normal(0, 0.35, 2), chance.uniform(0, 2 * np.pi)
        picture += np.cos(wave[0] * (columns - x) + wave[1] * (rows - y) + phase)
    return np.clip(128 + 14 * picture, 0, 255).round().astype(np.uint8)


def grid(size):
    axis = np.arange(size) - (size - 1) / 2
    return np.meshgrid(axis, axis)


# ---------------------------------------------------------------- pieces


def test_local_contrast_is_invariant_to_gain_and_slow_light():
    picture = texture().astype(float)
    ramp = np.linspace(0.8, 1.2, 128)[None, :]
    inside = np.s_[16:-16, 16:-16]
    plain = local_contrast(picture)
    assert plain.dtype == np.float32 and plain.min() >= 0 and plain.max() <= 1
    assert plain.std() > 0.1
    changes = [np.abs(local_contrast(other) - plain)[inside].mean() for other in (0.6 * picture + 30, picture * ramp)]
    assert max(changes) < 0.01
    # Without normalisation the change of brightness is this large.
    assert np.abs(picture * ramp - picture)[inside].mean() / 255 > 0.02


def test_local_contrast_of_flat_image_is_flat():
    np.testing.assert_allclose(local_contrast(np.full((64, 64), 90, np.uint8)), 0.5, atol=1e-4)


def test_local_contrast_limits_noise_of_flat_image():
    noise = np.random.default_rng(0).normal(0, 2, (128, 128))
    flat, full = local_contrast(90 + noise), local_contrast(texture() + noise)
    assert 0.01 < flat.std() < 0.5 * full.std()  # Divided by the deviation alone, both would be near to 1/6.


@pytest.mark.parametrize("shape", [(101, 127), (128, 128), (37, 50)])
def test_initial_flow_is_in_pixels_for_any_shape(shape):
    frames = np.stack([texture(x=x, y=y)[: shape[0], : shape[1]] for x, y in ((0, 0), (5.0, -3.0))])
    start = flow_module._initial_flow(*frames)
    assert start.shape == (2, *shape) and start.dtype == np.float32
    np.testing.assert_allclose(np.median(start[:, 8:-8, 8:-8], axis=(1, 2)), (5, -3), atol=0.5)


@pytest.mark.parametrize("backend", ["numba", "farneback"])
@pytest.mark.parametrize("shift", [(0.6, 0.0), (0.0, -0.6), (-1.5, 1.0), (7.0, 0.0)])
def test_flow_follows_a_shift_with_its_sign(shift, backend):
    flow = tvl1(texture(), texture(x=shift[0], y=shift[1]), backend=backend)
    assert flow.shape == (2, 128, 128) and flow.dtype == np.float32
    np.testing.assert_allclose(np.median(flow[:, 16:-16, 16:-16], axis=(1, 2)), shift, atol=0.08)


def test_farneback_is_that_of_opencv_and_ignores_parameters_of_tvl1():
    pair = texture(), texture(x=0.6)
    plain = {"backend": "farneback", "normalise": False, "smooth": 0.0}
    expected = cv2.calcOpticalFlowFarneback(*pair, np.zeros((128, 128, 2), np.float32), 0.5, 3, 15, 3, 5, 1.2, 0)
    for changes in ({}, {"scales": 1, "lambda_": 0.3, "warps": 5}):
        np.testing.assert_allclose(tvl1(*pair, **plain, **changes), expected.transpose(2, 0, 1), atol=1e-4)


def test_tvl1_of_equal_images_is_zero():
    assert np.abs(tvl1(texture(), texture())).max() < 1e-3


def test_normalisation_removes_motion_of_changing_light():
    lit = np.clip(texture() * np.linspace(0.75, 1.25, 128)[:, None], 0, 255).astype(np.uint8)
    motion = {on: np.hypot(*tvl1(texture(), lit, normalise=on)).mean() for on in (True, False)}
    assert motion[True] < 0.1 < motion[False]


def test_smoothing_removes_noise_and_keeps_motion():
    clips = film_micro_clips(1, whole=False)
    on_face = face_weights(128) > 0
    errors, lengths = [], []
    for clip in clips:
        fields = [clip_flow(clip.aligned(128), [(0, 1)], smooth=smooth)[0][0] for smooth in (0.015, 0)]
        errors.append([np.hypot(*(field - clip.true_flow(128)))[on_face].mean() for field in fields])
        lengths.append([np.percentile(np.hypot(*field)[on_face], 95) for field in fields])
    (smooth, plain), (long, longest) = np.mean(errors, axis=0), np.mean(lengths, axis=0)
    assert smooth < 0.97 * plain and long > 0.95 * longest


def test_smoothing_width_is_relative_to_the_side():
    """A point spreads to the width that is asked for, at every size; 0 leaves the field as it is."""
    for size in (101, 203):
        point = np.zeros((2, size, size), np.float32)
        point[:, size // 2, size // 2] = 1
        spread = flow_module._smooth(point, flow_settings(smooth=0.02))[1]
        x, _ = grid(size)
        assert spread.sum() == pytest.approx(1, abs=1e-4)
        assert np.sqrt((spread * x**2).sum()) == pytest.approx(0.02 * size, rel=0.05)
        np.testing.assert_array_equal(flow_module._smooth(point, flow_settings(smooth=0)), point)


similarities = st.tuples(
    st.floats(-0.02, 0.02), st.floats(-0.02, 0.02), st.floats(-3, 3), st.floats(-3, 3)
)  # fmt: skip


@given(similarities, st.sampled_from([32, 64, 128, 231]))
@settings(max_examples=30, deadline=None)
def test_fit_similarity_recovers_exact_motion(parameters, size):
    np.testing.assert_allclose(fit_similarity(similarity_field(parameters, size)), parameters, atol=1e-5)


@given(similarities)
@settings(max_examples=20, deadline=None)
def test_similarity_field_equals_matrix(parameters):
    a, b, tx, ty = parameters
    x, y = grid(64)
    matrix = np.array([[1 + a, -b], [b, 1 + a]])
    moved = np.einsum("ij,jhw->ihw", matrix, np.stack([x, y])) + np.array([tx, ty])[:, None, None]
    np.testing.assert_allclose(similarity_field(parameters, 64), moved - np.stack([x, y]), atol=1e-5)


@given(similarities, st.sampled_from(["mouth", "brows", "one side"]), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_fit_similarity_keeps_the_expression(parameters, place, seed):
    """Eyes at 36 % of the height. The expression is a push of 2 px over a third of the face, or of one half of it."""
    size = 128
    x, y = grid(size)
    head = similarity_field(parameters, size)
    bump = {
        "mouth": np.exp(-(x**2 / 30**2 + (y - 42) ** 2 / 18**2)),
        "brows": np.exp(-(x**2 / 40**2 + (y + 38) ** 2 / 10**2)),
        "one side": np.exp(-((x - 22) ** 2 / 16**2 + (y - 35) ** 2 / 20**2)),
    }[place]
    expression = np.stack([0.4 * bump, -2.0 * bump])
    noise = np.random.default_rng(seed).normal(0, 0.03, head.shape)
    on_face = face_weights(size) > 0
    left = head + expression + noise - similarity_field(fit_similarity(head + expression + noise), size)
    assert np.hypot(*(left - expression - noise))[on_face].mean() < 0.05
    # Plain least squares removes several times as much of the expression.
    design = np.stack([[x, -y, np.ones_like(x), 0 * x], [y, x, 0 * x, np.ones_like(x)]])[:, :, on_face]
    matrix = np.concatenate([design[0].T, design[1].T])
    observed = (head + expression + noise)[:, on_face].reshape(-1)
    plain = similarity_field(np.linalg.lstsq(matrix, observed, rcond=None)[0], size)
    assert np.hypot(*(head - plain))[on_face].mean() > 0.1


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (lambda x, y: (0.3 + 0 * x, -2.0 + 0 * y), 0.0),  # shift
        (lambda x, y: (-0.02 * y, 0.02 * x), 0.0),  # turn
        (lambda x, y: (0.05 * x, 0 * y), 0.05),  # stretch: exx
        (lambda x, y: (0 * x, -0.05 * y), 0.05),  # squeeze: eyy
        (lambda x, y: (0.06 * y, 0 * x), 0.06 / np.sqrt(2)),  # shear: exy = g / 2
        (lambda x, y: (0.03 * x + 0.02 * y, 0.04 * x - 0.01 * y), np.sqrt(0.03**2 + 0.01**2 + 2 * 0.03**2)),
    ],
)
def test_optical_strain_of_affine_fields(field, expected):
    flow = np.stack(field(*grid(32)))
    strain = optical_strain(np.stack([flow, 2 * flow]))
    assert strain.shape == (2, 32, 32) and strain.dtype == np.float32
    np.testing.assert_allclose(strain[0], expected, atol=1e-6)
    np.testing.assert_allclose(strain[1], 2 * expected, atol=1e-6)


def test_flow_image_hue_is_direction():
    flow = np.zeros((2, 9, 9), np.float32)
    flow[0, :, 6:] = 2  # right
    flow[0, :, :3] = -2  # left
    image = flow_image(flow)
    assert image.shape == (9, 9, 3) and image.dtype == np.uint8
    assert (image[:, 3:6] == 255).all()
    assert tuple(image[4, 8]) == (255, 0, 0) and tuple(image[4, 0]) == (0, 255, 255)
    assert (flow_image(flow, full=4)[4, 8] == [255, 128, 128]).all()
    assert (flow_image(np.zeros((2, 9, 9))) == 255).all()


# ---------------------------------------------------------------- quality gates


@pytest.mark.parametrize("size", [128, 231])
def test_gate_flow_error_of_noisy_micro_clips(size):
    """Gate: over clips, the median of (end-point error / true length), where that exceeds a fifth of its peak."""

    def median_error(estimate):
        errors = []
        for clip in clips:
            truth = clip.true_flow(size)
            length = np.hypot(*truth)
            seen = length > 0.2 * length.max()
            errors.append(np.median((np.hypot(*(estimate(clip) - truth)) / np.maximum(length, 1e-9))[seen]))
        return np.median(errors)

    clips = film_micro_clips(2, whole=False)
    assert median_error(lambda clip: clip_flow(clip.aligned(size), [(0, 1)])[0][0]) <= 0.4
    # A field of zeros fails the gate, and so does the field with the head's motion left in.
    assert median_error(lambda clip: np.zeros((2, size, size))) > 0.4
    assert median_error(lambda clip: clip_flow(clip.aligned(size), [(0, 1)], rigid=False)[0][0]) > 0.4


@pytest.mark.parametrize("person", [0, 1])
def test_gate_clip_flow_of_still_face_has_no_facial_motion(person):
    """Gate: mean length of the flow on the face under 0.25 px in every field."""
    frames = film_still_face(person)
    pairs = [(0, last) for last in (5, 10, 14, 19)]
    on_face = face_weights(128) > 0

    def motion(**options):
        return [np.hypot(*field)[on_face].mean() for field in clip_flow(frames, pairs, **options)[0]]

    assert max(motion()) < 0.25
    assert max(motion(rigid=False)) > 0.25  # Without compensation the gate is not passed.


def test_gate_flow_of_real_smiles_widens_the_mouth(faces_folder):
    """Neutral and smiling photographs of each person as a clip of two frames, and the landmarks of the neutral one."""
    corners, widening, backward = [48, 54], [], []
    for neutral in sorted((faces_folder / "neutral").glob("*.jpg")):
        first = read_grey(neutral)
        second = read_grey(faces_folder / "smiling" / f"{neutral.stem[:3]}_08.jpg")
        _, face = find_face([first], 68)
        transform = crop_transform(face.eyes, 128)
        frames = np.stack([warp(first, transform, 128), warp(second, transform, 128)])
        places = map_points(transform, face.landmarks)[corners].round().astype(int)
        order = [(0, 1), (1, 0)] if len(backward) < 8 else [(0, 1)]
        flows = clip_flow(frames, order)[0]
        left, right = (flows[:, 0, y - 4 : y + 5, x - 4 : x + 5].mean(axis=(1, 2)) for x, y in places)
        widening.append((right - left)[0])
        backward += list((right - left)[1:])
    widening = np.array(widening)
    assert len(widening) == 30
    # One of the thirty smiles with closed lips that do not widen.
    assert (widening > 0).sum() >= 29 and np.median(widening) > 1.5
    # With the two photographs exchanged the mouth narrows, so the flow follows the smile. Zero flow would fail.
    assert np.median(backward) < -0.5


# ---------------------------------------------------------------- the stage


def keyframe_rows(clip, numbers):
    return [
        {"clip": clip, "index": i - 1 if i else None, "frame": n, "magnitude_px": 0.0, "apex_source": "spotted"}
        for i, n in enumerate(numbers)
    ]


@pytest.fixture
def inputs(tmp_path):
    moving = np.stack([texture(64, x=0.3 * t) for t in range(6)])
    clips = {
        "s01/a b": (moving, 10, {}),
        "failed": "no face found in frames 0..4 of somewhere",
        "photo": (texture(64)[None], 3, {"kind": "still"}),
    }
    subject_file(tmp_path / "faces.h5", clips, 64)
    rows = keyframe_rows("s01/a b", [10, 12, 14, 14]) + [keyframe_rows("photo", [0, 3])[1]]
    write_table(rows, tmp_path / "keyframes.csv", KEYFRAMES)
    return tmp_path


def test_subject_flow_contract(inputs):
    subject_flow(inputs / "faces.h5", inputs / "keyframes.csv", inputs / "flow.h5", flow_settings(rigid=False))
    with h5py.File(inputs / "flow.h5") as file:
        assert sorted(group.attrs["clip"] for group in file.values()) == ["failed", "photo", "s01/a b"]
        group = file["s01%2Fa%20b"]
        assert group["flow"].dtype == np.float16 and group["flow"].shape == (3, 2, 64, 64)
        assert group["frame_numbers"][()].tolist() == [12, 14, 14] and group["frame_numbers"].dtype == np.int64
        assert group["rigid"].dtype == np.float32 and group["rigid"].shape == (3, 4)
        assert (group.attrs["status"], group.attrs["backend"], group.attrs["subject"]) == ("ok", "numba", "demo/s01")
        shifts = np.median(group["flow"][:, 0, 12:-12, 12:-12], axis=(1, 2))
        np.testing.assert_allclose(shifts, [0.6, 1.2, 1.2], atol=0.1)  # raw pixels, from onset
        np.testing.assert_array_equal(group["flow"][1], group["flow"][2])
        assert file["failed"].attrs["status"].startswith("no face") and len(file["failed"]) == 0
        assert file["photo"]["flow"].shape == (0, 2, 64, 64) and file["photo"]["rigid"].shape == (0, 4)
        assert file["photo"].attrs["status"] == "ok" and file["photo"].attrs["head_motion_px"] == 0


def test_subject_flow_subtracts_and_stores_head_motion(inputs):
    subject_flow(inputs / "faces.h5", inputs / "keyframes.csv", inputs / "flow.h5", flow_settings())
    with h5py.File(inputs / "flow.h5") as file:
        group = file["s01%2Fa%20b"]
        np.testing.assert_allclose(group["rigid"][:, 2], [0.6, 1.2, 1.2], atol=0.1)
        assert group.attrs["head_motion_px"] == pytest.approx(1.2, abs=0.1)
        assert np.abs(group["flow"][:, :, 12:-12, 12:-12]).mean() < 0.1


def test_head_motion_uses_geometry_of_face_crop(inputs):
    """The left half of the picture moves and the right one does not; a face of a third of its width is in either."""
    still, moved = texture(64), texture(64, x=1.5)
    frames = np.stack([still, np.hstack([moved[:, :32], still[:, 32:]])])
    subject_file(inputs / "faces.h5", {"left": (frames, 0, {}), "right": (frames, 0, {})}, 64)
    with h5py.File(inputs / "faces.h5", "r+") as file:
        for name, across in (("left", 0.2), ("right", 0.8)):
            del file[name].attrs["landmarks"]
            file[name].attrs["geometry"] = (6.0, 0.45, across)
    write_table(keyframe_rows("left", [0, 1]) + keyframe_rows("right", [0, 1]), inputs / "two.csv", KEYFRAMES)
    subject_flow(inputs / "faces.h5", inputs / "two.csv", inputs / "flow.h5", flow_settings())
    with h5py.File(inputs / "flow.h5") as file:
        sides = {"left": np.s_[12:-12, 6:22], "right": np.s_[12:-12, 42:58]}
        length = {name: np.hypot(*file[name]["flow"][0].astype(float)) for name in sides}
    assert all(length[name][sides[name]].mean() < 0.25 for name in sides)
    assert length["left"][sides["right"]].mean() > 1 and length["right"][sides["left"]].mean() > 1


def test_consecutive_flow_is_between_successive_key_frames(inputs):
    options = flow_settings(rigid=False, reference="consecutive")
    subject_flow(inputs / "faces.h5", inputs / "keyframes.csv", inputs / "flow.h5", options)
    with h5py.File(inputs / "flow.h5") as file:
        shifts = np.median(file["s01%2Fa%20b"]["flow"][:, 0, 12:-12, 12:-12], axis=(1, 2))
    np.testing.assert_allclose(shifts, [0.6, 0.6, 0.0], atol=0.1)


def test_subject_flow_is_reproducible(inputs):
    for name in ("one.h5", "two.h5"):
        subject_flow(inputs / "faces.h5", inputs / "keyframes.csv", inputs / name, flow_settings())
    assert (inputs / "one.h5").read_bytes() == (inputs / "two.h5").read_bytes()


def test_subject_flow_reads_output_of_select_subject(inputs):
    select_subject(inputs / "faces.h5", inputs / "real.csv", keyframe_settings(count=3))
    subject_flow(inputs / "faces.h5", inputs / "real.csv", inputs / "flow.h5", flow_settings())
    with h5py.File(inputs / "flow.h5") as file:
        assert file["s01%2Fa%20b"]["flow"].shape[0] == 3 and file["photo"]["flow"].shape[0] == 0


def test_subject_flow_names_mismatched_inputs(inputs):
    rows = keyframe_rows("photo", [3]) + keyframe_rows("s01/a b", [10, 99])
    write_table(rows, inputs / "wrong.csv", KEYFRAMES)
    with pytest.raises(InputError, match=r"wrong\.csv: frame 99 of clip s01/a b"):
        subject_flow(inputs / "faces.h5", inputs / "wrong.csv", inputs / "flow.h5", flow_settings())
    write_table(keyframe_rows("photo", [3]), inputs / "short.csv", KEYFRAMES)
    with pytest.raises(InputError, match="no row for clip s01/a b"):
        subject_flow(inputs / "faces.h5", inputs / "short.csv", inputs / "flow.h5", flow_settings())
    assert not (inputs / "flow.h5").exists()
