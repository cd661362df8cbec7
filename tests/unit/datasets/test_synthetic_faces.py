"""Synthetic people: detected faces that differ, drawn or from photographs."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from synthetic_people import MACRO, MICRO, SHORT, drawn_person, pupil_positions

from merflow.datasets.synthetic import render
from merflow.datasets.synthetic.draw import MARGIN, OVERSAMPLING, draw_face
from merflow.errors import InputError


@pytest.fixture(scope="module")
def people():
    return [drawn_person(number) for number in range(24)]


def photograph_of(base):
    """The neutral frame, grey, cut from a base picture without the renderer under test."""
    side = base.picture.shape[0] // OVERSAMPLING
    grey = cv2.cvtColor(cv2.resize(base.picture, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    return np.ascontiguousarray(grey[MARGIN:-MARGIN, MARGIN:-MARGIN])


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
        far.append(np.hypot(*(np.stack([points[2:4].mean(0), points[0:2].mean(0)]) - pupil_positions(face)).T).max())
    assert np.median(far) < 4
    assert max(far) < 6


def test_pupils_are_where_drawing_says(people):
    for face in people[:6]:
        left, right = pupil_positions(face)
        assert right - left == pytest.approx([120, 0])
        grey = photograph_of(face).astype(float)
        for x, y in pupil_positions(face).round().astype(int):
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
    assert pupil_positions(small)[1] - pupil_positions(small)[0] == pytest.approx([60, 0])
    large = cv2.resize(photograph_of(draw_face(0, 0)), (240, 240), interpolation=cv2.INTER_AREA).astype(float)
    middle = np.s_[40:200, 60:180]
    assert np.corrcoef(large[middle].ravel(), photograph_of(small)[middle].ravel())[0, 1] > 0.9


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
        assert np.hypot(*np.subtract(*pupil_positions(face))) == pytest.approx(120)
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
    matrix[:, 2] = 2 * (pupil_positions(base).mean(axis=0) + MARGIN + 0.5) - 0.5 - scale * pupils.mean(axis=0)
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
