"""Which detector finds a face, which of several faces is taken, and which finds are dropped."""

import cv2
import dlib
import numpy as np
import pytest
from still_clip import still_clip

from merflow.footage.images import read_grey
from merflow.preprocessing import detection
from merflow.preprocessing.detection import find_face, is_face, prominence

FIVE = np.array([[0.72, 0.35], [0.6, 0.35], [0.28, 0.35], [0.4, 0.35], [0.5, 0.65]])
"""Landmarks of a face in a box of side 1."""
SIXTY_EIGHT = np.repeat([[0.5, 0.5], [0.34, 0.35], [0.66, 0.35], [0.5, 0.8]], [36, 6, 6, 20], axis=0)
BLANK = np.zeros((300, 400), np.uint8)


@pytest.fixture(scope="module")
def picture():
    """A drawn face, 480x480, 120 px between the pupils."""
    return still_clip(0, 8, noise=0.0, drift=0.0)[0]


@pytest.fixture
def fake(monkeypatch):
    """Replace detectors and landmarks: ``fake(hog, cnn)`` takes boxes (score, left, top, side) of each frame.

    Returns the list of calls, which grows: detector and index of the frame.
    """
    calls = []

    def install(hog, cnn, landmarks=FIVE):
        frames = [np.full_like(BLANK, index) for index in range(max(len(hog), len(cnn)))]

        def boxes_of(name, table):
            def boxes(frame, *_):
                calls.append((name, index := int(frame[0, 0])))
                return [
                    (score, dlib.drectangle(x, y, x + side - 1, y + side - 1)) for score, x, y, side in table[index]
                ]

            return boxes

        monkeypatch.setattr(detection, "_hog_boxes", boxes_of("hog", hog))
        monkeypatch.setattr(detection, "_cnn_boxes", boxes_of("cnn", cnn))
        monkeypatch.setattr(detection.cv2, "equalizeHist", lambda frame: frame)
        monkeypatch.setattr(
            detection, "_fit_landmarks", lambda _, frame, box: landmarks * box.width() + [box.left(), box.top()]
        )
        return frames, calls

    return install


# ---------------------------------------------------------------- order of detectors


@pytest.mark.parametrize(("detector", "used"), [("auto", "hog"), ("hog", "hog"), ("cnn", "cnn")])
def test_find_face_asks_cnn_only_if_told_or_needed(fake, detector, used):
    frames, calls = fake([[(1.0, 150, 100, 90)]] * 3, [[(1.0, 150, 100, 90)]] * 3)
    index, face = find_face(frames, upsample=0, detector=detector)
    assert (index, face.detector, face.faces) == (0, used, 1)
    assert {name for name, _ in calls} == {used}


def test_find_face_asks_cnn_once_after_all_of_hog(fake):
    frames, calls = fake([[]] * 3, [[(0.4, 150, 100, 90)]] * 3)
    index, face = find_face(frames, upsample=1)
    assert (index, face.detector, face.box) == (0, "cnn", (150, 100, 90, 90))
    assert calls == [("hog", 0), ("hog", 1), ("hog", 2)] * 2 + [("cnn", 0)]


def test_find_face_hog_alone_never_asks_cnn(fake):
    frames, calls = fake([[]] * 2, [[(0.4, 150, 100, 90)]] * 2)
    assert find_face(frames, detector="hog") is None
    assert {name for name, _ in calls} == {"hog"}


def test_find_face_loads_cnn_only_when_needed(picture, monkeypatch):
    monkeypatch.setattr(dlib, "cnn_face_detection_model_v1", lambda _: pytest.fail("loaded"))
    detection._detector.cache_clear()
    assert find_face([picture])[1].detector == "hog"
    with pytest.raises(pytest.fail.Exception, match="loaded"):
        find_face([BLANK])


@pytest.mark.parametrize("shape", [(79, 640), (640, 17), (1, 1)])
def test_find_face_by_cnn_takes_images_of_any_shape(shape):
    assert find_face([np.zeros(shape, np.uint8)], detector="cnn") is None


def test_cnn_agrees_with_hog(picture):
    for frame in (picture, cv2.resize(picture, (1500, 1500))):
        hog, cnn = (find_face([frame], detector=name)[1] for name in ("hog", "cnn"))
        np.testing.assert_allclose(cnn.eyes, hog.eyes, atol=0.03 * hog.box[2])


def test_cnn_boxes_lie_where_those_of_hog_lie():
    """Boxes come in steps of a tenth of their side; on average both have one place, as the landmark models expect."""
    offsets, sizes = [], []
    for person in range(8):
        frame = cv2.resize(still_clip(person, 8, noise=0.0, drift=0.0)[0], (240, 240), interpolation=cv2.INTER_AREA)
        hog, cnn = (np.array(find_face([frame], detector=name)[1].box) for name in ("hog", "cnn"))
        offsets.append((cnn[:2] + cnn[2:] / 2 - hog[:2] - hog[2:] / 2) / hog[2])
        sizes.append(cnn[2] / hog[2])
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.04 and 0.85 < np.mean(sizes) < 1.15


# ---------------------------------------------------------------- several faces


def test_prominence_prefers_large_and_central():
    centre = dlib.drectangle(150, 100, 250, 200)
    assert prominence(centre, (300, 400)) == pytest.approx(centre.area())
    assert prominence(dlib.drectangle(-50, -50, 50, 50), (300, 400)) == 0
    values = [prominence(dlib.drectangle(x, 100, x + 100, 200), (300, 400)) for x in (150, 220, 300)]
    assert values == sorted(values, reverse=True) and values[2] < values[0] / 1.9


@pytest.mark.parametrize("detector", ["hog", "cnn"])
def test_find_face_takes_largest_not_highest_score(fake, detector):
    people = [[(1.26, 170, 20, 60), (1.23, 120, 120, 150)]]
    face = find_face(fake(people, people)[0], detector=detector)[1]
    assert (face.box[2], face.score, face.faces) == (150, 1.23, 2)


def test_find_face_sums_over_the_frames(fake):
    """A large false detection in one frame does not hide a face that is in all; a face may appear late."""
    frames, _ = fake([[(1.0, 30, 30, 80)], [(1.0, 34, 31, 80), (0.1, 200, 100, 90)], [(1.0, 38, 30, 80)]], [])
    index, face = find_face(frames)
    assert (index, face.box[0], face.faces) == (0, 30, 2)
    frames, _ = fake([[(1.0, 20, 20, 40)], [(1.0, 150, 100, 120), (1.0, 20, 20, 40)]], [])
    index, face = find_face(frames)
    assert (index, face.box[0], face.faces) == (1, 150, 2)


def test_find_face_counts_a_moving_face_once(fake):
    frames, _ = fake([[(1.0, 100 + 20 * n, 100, 90)] for n in range(5)], [])
    assert find_face(frames)[1].faces == 1


def test_find_face_prefers_person_to_better_seen_photograph(picture):
    """Real HOG scores: the tilted person's is lower."""
    tilt = cv2.getRotationMatrix2D((240, 240), 22, 1)
    scene = np.full((480, 640), 120, np.uint8)
    scene[:, 80:560] = cv2.warpAffine(picture, tilt, (480, 480), borderMode=cv2.BORDER_REPLICATE)
    scene[10:190, 440:620] = cv2.resize(picture, (180, 180), interpolation=cv2.INTER_AREA)
    person, photograph = sorted(detection._hog_boxes(scene, 0, None), key=lambda found: -found[1].width())
    assert photograph[0] > person[0]
    _, face = find_face([scene])
    assert face.faces == 2 and face.score == person[0]


# ---------------------------------------------------------------- false finds


@pytest.mark.parametrize("landmarks", [FIVE, SIXTY_EIGHT])
def test_is_face_rejects_impossible_landmarks(landmarks):
    box = 100 * landmarks
    assert is_face(box, 100)
    for degrees in (-40, 40):
        turn = cv2.getRotationMatrix2D((50, 50), degrees, 1)
        assert is_face(box @ turn[:, :2].T + turn[:, 2], 100)
    assert not is_face(100 - box, 100), "upside down: the eyes are below the mouth"
    assert not is_face(box * [1, -1], 100), "mirrored top to bottom"
    assert not is_face(box, 600) and not is_face(box, 40), "too small and too large for the box"
    assert not is_face(box * [1, 0.2], 100) and not is_face(box * [1, 4], 100), "flat and long"
    assert not is_face(np.full_like(box, 50), 100), "all points in one place"


def test_find_face_drops_false_find(fake):
    """A find of HOG whose landmarks are upside down gives way to the CNN detector; one of the CNN detector to none."""
    boxes = [[(1.0, 150, 100, 90)]]
    frames, calls = fake(boxes, boxes, landmarks=1 - FIVE)
    assert find_face(frames, upsample=0) is None
    assert calls == [("hog", 0), ("cnn", 0)]


# ---------------------------------------------------------------- real faces


def test_auto_finds_dark_tight_photographs(faces_folder):
    """Ended at brows and chin and at a tenth of the brightness, HOG finds few; the eyes are in their places."""
    lost = []
    for file in sorted((faces_folder / "neutral").glob("*.jpg"))[::6]:
        frame = read_grey(file)
        eyes = find_face([frame], detector="hog")[1].eyes
        middle, apart = eyes.mean(axis=0), np.hypot(*(eyes[1] - eyes[0]))
        left, top, right, bottom = (np.tile(middle, 2) + apart * np.array([-0.9, -0.45, 0.9, 1.35])).round().astype(int)
        scale = 224 / (right - left)
        dark = (0.1 * cv2.resize(frame[top:bottom, left:right], (224, 224), interpolation=cv2.INTER_AREA)).round()
        dark = dark.astype(np.uint8)
        lost.append(find_face([dark], detector="hog") is None)
        index, face = find_face([dark])
        assert face.detector == ("cnn" if lost[-1] else "hog")
        np.testing.assert_allclose(face.eyes, (eyes - [left, top]) * scale, atol=0.25 * apart * scale)
    assert len(lost) == 5 and sum(lost) >= 3


def test_find_face_takes_a_later_frame_of_a_person(fake, monkeypatch):
    frames, calls = fake([[(1.0, 150, 100, 90)]] * 3, [[]] * 3)
    fit = detection._fit_landmarks
    spoilt = FIVE[[0, 1, 2, 3, 0]] * 90
    monkeypatch.setattr(
        detection, "_fit_landmarks", lambda model, frame, box: fit(model, frame, box) if frame[0, 0] else spoilt
    )
    index, face = find_face(frames, upsample=0)
    assert (index, face.detector, face.faces) == (1, "hog", 1)
    assert {name for name, _ in calls} == {"hog"}
