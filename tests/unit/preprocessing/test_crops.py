"""Face crops: frames that are taken whole, from alignment to the quality table."""

from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest
from demo_clips import film_micro_clips
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_settings import align_settings, flow_settings, keyframe_settings, preparation
from still_clip import still_clip

from merflow.errors import ClipError, InputError
from merflow.footage.clip import Clip
from merflow.footage.images import read_grey
from merflow.preprocessing import detection, faces
from merflow.preprocessing.cache import build_cache, report_failures
from merflow.preprocessing.detection import find_face
from merflow.preprocessing.faces import FACE_CROP, align_subject
from merflow.preprocessing.flow import subject_flow
from merflow.preprocessing.geometry import crop_transform, eye_centres, face_weights, map_points, whole_image_transform
from merflow.preprocessing.keyframes import select_subject
from merflow.runtime import dlib_models
from merflow.storage.files import safe_filename
from merflow.storage.tables import KEYFRAMES, QUALITY, read_table, write_table

SQUARE = (-1.15, 1.15, -0.62, 1.68)
"""Left, right, top and bottom of a tight crop, in inter-ocular distances from the point between the eyes."""
TALL = (-0.9, 0.9, -0.6, 1.6)


def cut(frames, eyes, box):
    """The part ``box`` of each frame, whole pixels, and its left and top corner."""
    middle, apart = eyes.mean(axis=0), np.hypot(*(eyes[1] - eyes[0]))
    left, right = (round(middle[0] + x * apart) for x in box[:2])
    top, bottom = (round(middle[1] + y * apart) for y in box[2:])
    return [frame[top:bottom, left:right] for frame in frames], np.array([left, top])


def written(folder, frames, **more):
    """A clip of the frames, saved as images 0, 1, ..."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:04d}.png"), frame)
    kind = "micro" if len(frames) > 1 else "still"
    return Clip(
        **{"clip": folder.name, "subject": "demo/s1", "label": "joy", "kind": kind, "frames": str(folder)} | more
    )


def align_clip(clip, **changes):
    return faces.align_clip(clip, align_settings(**changes))


def squared(frame):
    """A frame whose border is repeated until it is square."""
    wide, high = (max(frame.shape) - side for side in frame.shape[::-1])
    return np.pad(frame, ((high // 2, high - high // 2), (wide // 2, wide - wide // 2)), "edge")


@pytest.fixture(scope="module")
def picture():
    """A drawn face, 480x480, 120 px between the pupils."""
    return still_clip(0, 8, noise=0.0, drift=0.0)[0]


@pytest.fixture(scope="module")
def eyes(picture):
    return find_face([picture])[1].eyes


@pytest.fixture(scope="module")
def tight(picture, eyes):
    """The same face, cropped to a square."""
    return cut([picture], eyes, SQUARE)[0][0]


# ---------------------------------------------------------------- geometry


@given(st.integers(20, 1500), st.integers(20, 1500), st.integers(32, 512))
@settings(max_examples=100, deadline=None)
def test_whole_image_transform_fits_longer_side(width, height, size):
    transform = whole_image_transform(width, height, size)
    scale = size / max(width, height)
    np.testing.assert_allclose(transform[:, :2], scale * np.eye(2), rtol=1e-12)
    # The outer edges of the pixels, which are half a pixel beyond their centres.
    edges = map_points(transform, np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]))
    margin = (size - scale * np.array([width, height])) / 2
    np.testing.assert_allclose(edges, [margin - 0.5, size - margin - 0.5], atol=1e-9)
    assert margin.min() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("size", [64, 128, 231])
@pytest.mark.parametrize("box", [SQUARE, TALL])
def test_align_none_resizes_the_image(picture, eyes, tmp_path, box, size):
    """Against OpenCV's mean over areas, of the picture squared by hand."""
    crop = cut([picture], eyes, box)[0][0]
    crop = crop[:, : crop.shape[1] - (crop.shape[0] - crop.shape[1]) % 2]  # The same border on both sides.
    done = align_clip(written(tmp_path / "c", [crop, crop], align="none"), size=size)
    expected = cv2.resize(squared(crop), (size, size), interpolation=cv2.INTER_AREA).astype(float)
    assert done.frames.shape == (2, size, size) and (done.frames[0] == done.frames[1]).all()
    frame = done.frames[0].astype(float)
    assert np.abs(frame - expected).mean() < 2.5
    # A shift by half a pixel fits worse; a transform of corners instead of centres would have this shift.
    for shift in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)):
        moved = cv2.warpAffine(
            frame, np.column_stack([np.eye(2), shift]), (size, size), borderMode=cv2.BORDER_REPLICATE
        )
        assert np.abs(moved - expected).mean() > 1.2 * np.abs(frame - expected).mean()


def test_align_none_keeps_exact_crop_and_enlarges_small_one(tight, tmp_path):
    exact, small = (cv2.resize(tight, (side, side), interpolation=cv2.INTER_AREA) for side in (128, 48))
    frames = align_clip(written(tmp_path / "exact", [exact, exact], align="none")).frames
    np.testing.assert_array_equal(frames[0], exact)
    larger = align_clip(written(tmp_path / "small", [small], align="none")).frames[0]
    expected = cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC)
    assert np.abs(larger.astype(float) - expected).mean() < 1


def test_align_of_colour_and_grey_crops_is_equal(tight, tmp_path):
    clips = [written(tmp_path / "grey", [tight]), written(tmp_path / "colour", [cv2.merge([tight] * 3)])]
    grey, colour = (align_clip(replace(clip, align="none")).frames for clip in clips)
    np.testing.assert_array_equal(grey, colour)


def test_align_clip_refuses_two_frame_sizes(tight, tmp_path):
    with pytest.raises(ClipError, match="those before"):
        align_clip(written(tmp_path / "c", [tight, tight[:-3]], align="none"))


# ---------------------------------------------------------------- the decision


def same(first, second):
    return np.array_equal(first.frames, second.frames) and np.array_equal(
        first.placement.transform, second.placement.transform
    )


def test_auto_equals_detect_for_wide_image(picture, tmp_path):
    clip = written(tmp_path / "c", [picture, picture])
    detect, auto = (align_clip(replace(clip, align=how), size=96) for how in ("detect", "auto"))
    assert same(detect, auto) and detect.placement.alignment == auto.placement.alignment == "detected"
    assert auto.placement.reason == "100% of the aligned square lies inside the image"
    assert not same(detect, align_clip(replace(clip, align="none"), size=96))


@pytest.mark.parametrize("box", [SQUARE, TALL])
def test_auto_takes_tight_crop_whole_with_landmarks(picture, eyes, tmp_path, box):
    crops, corner = cut([picture] * 2, eyes, box)
    clip = written(tmp_path / "c", crops)
    none, auto = (align_clip(replace(clip, align=how)) for how in ("none", "auto"))
    assert same(none, auto) and none.placement.alignment == auto.placement.alignment == "crop"
    assert none.placement.face is None and none.placement.detected_frame is None and auto.placement.detected_frame == 0
    assert (
        "of the aligned square lies inside the image" in auto.placement.reason
        and none.placement.reason == "align: none"
    )
    align_subject([replace(clip, align="auto")], tmp_path / "faces.h5", align_settings())
    with h5py.File(tmp_path / "faces.h5") as file:
        attrs = dict(file["c"].attrs)
    place = map_points(auto.placement.transform, eyes - corner)
    np.testing.assert_allclose(eye_centres(attrs["landmarks"]), place, atol=2)
    assert attrs["alignment"] == "crop" and attrs["detector"] == "hog" and attrs["detected_frame"] == 0
    assert attrs["interocular_px"] == pytest.approx(120, abs=6)
    width, height, across = attrs["geometry"]
    assert 128 / width == pytest.approx(place[1, 0] - place[0, 0], abs=3)
    np.testing.assert_allclose([128 * across, 128 * height], place.mean(axis=0) + 0.5, atol=2)


def test_auto_aligns_loose_crop(picture, eyes, tmp_path):
    crops, _ = cut([picture] * 2, eyes, (-1.23, 1.23, -1.0, 1.8))
    clip = written(tmp_path / "c", crops)
    detect, auto = (align_clip(replace(clip, align=how)) for how in ("detect", "auto"))
    assert (
        same(detect, auto)
        and auto.placement.alignment == "detected"
        and 0.9 < float(auto.placement.reason.split("%")[0]) / 100 < 0.98
    )


def test_auto_aligns_face_at_edge_of_large_image(picture, eyes, tmp_path):
    """The square is cut by the picture's border as that of a crop is, yet the picture is mostly something else."""
    scene = np.full((480, 640), 120, np.uint8)
    part = picture[:, int(eyes[:, 0].mean() - 110) :]
    scene[:, : part.shape[1]] = part
    clip = written(tmp_path / "c", [scene, scene])
    detect, auto = (align_clip(replace(clip, align=how)) for how in ("detect", "auto"))
    assert (
        same(detect, auto)
        and auto.placement.alignment == "detected"
        and auto.placement.reason != detect.placement.reason
    )


@pytest.mark.parametrize(
    ("width", "height", "taken"),
    [(231, 231, True), (139, 170, True), (280, 340, True), (640, 640, True)]
    + [(640, 480, False), (700, 700, False), (160, 120, False), (352, 288, False)]
    + [pytest.param(480, 640, False, marks=pytest.mark.slow)],
)
def test_auto_without_face_takes_only_crop_formats(tmp_path, width, height, taken):
    clip = written(tmp_path / "c", [np.full((height, width), 90, np.uint8)] * 2, align="auto")
    if taken:
        done = align_clip(clip)
        assert (
            done.placement.alignment == "crop"
            and done.placement.face is None
            and "no face found" in done.placement.reason
        )
    else:
        with pytest.raises(ClipError, match=rf"no face found in frames 0\.\.1 of .*{width}x{height}.*`align: none`"):
            align_clip(clip)
    # The other settings do not decide.
    assert align_clip(replace(clip, align="none")).placement.alignment == "crop"
    with pytest.raises(ClipError, match="no face found in frames 0..1 of"):
        align_clip(replace(clip, align="detect"))


def test_align_without_face_writes_geometry(tmp_path):
    blank = [np.full((170, 139), 90, np.uint8)] * 2
    clips = [written(tmp_path / how, blank, align=how) for how in ("none", "auto")]
    align_subject(clips, tmp_path / "faces.h5", align_settings())
    with h5py.File(tmp_path / "faces.h5") as file:
        for clip in clips:
            attrs = file[clip.clip].attrs
            assert attrs["status"] == "ok" and attrs["alignment"] == "crop" and attrs["detector"] == "none"
            assert attrs["geometry"].tolist() == list(FACE_CROP)
            assert not {"landmarks", "detected_frame", "interocular_px", "face_width_px"} & set(attrs)
            assert attrs["alignment_reason"].startswith("align: none" if clip.align == "none" else "no face found")


def test_align_ignores_eyes_outside_the_crop(tight, tmp_path, monkeypatch):
    beyond = faces.Face((0, 0, 200, 200), 0.1, np.array([[250, 40], [200, 40], [-40, 40], [10, 40], [105, 90]], float))
    monkeypatch.setattr(faces, "find_face", lambda *_: (0, beyond))
    align_subject(
        [written(tmp_path / "c", [tight[:100, :110]] * 2, align="auto")], tmp_path / "faces.h5", align_settings()
    )
    with h5py.File(tmp_path / "faces.h5") as file:
        assert file["c"].attrs["alignment"] == "crop" and file["c"].attrs["geometry"].tolist() == list(FACE_CROP)


def test_align_none_needs_no_landmark_model(tight, tmp_path, monkeypatch):
    monkeypatch.setattr(dlib_models, "find_spec", lambda name: None)
    detection.landmark_model.cache_clear()
    align_subject([written(tmp_path / "c", [tight], align="none")], tmp_path / "faces.h5", align_settings())
    with h5py.File(tmp_path / "faces.h5") as file:
        assert file["c"]["frames"].shape == (1, 128, 128)


def test_align_clip_refuses_unknown_align(tight, tmp_path):
    with pytest.raises(ClipError, match="align: maybe is not allowed; allowed: detect, none, auto"):
        align_clip(written(tmp_path / "c", [tight], align="maybe"))


# ---------------------------------------------------------------- what follows from it


@pytest.mark.parametrize("box", [SQUARE, TALL])
def test_gate_apex_of_face_crops_is_spotted(tmp_path, box):
    """Gate: within two frames of the true one. All ten clips were tried by hand, in five croppings."""
    filmed = film_micro_clips(2, whole=True)[::2]
    clips = [
        written(tmp_path / f"c{n}", cut(film.frames, film.eyes, box)[0], align="none") for n, film in enumerate(filmed)
    ]
    align_subject(clips, tmp_path / "faces.h5", align_settings())
    select_subject(tmp_path / "faces.h5", tmp_path / "keyframes.csv", keyframe_settings(apex="spotted"))
    table = read_table(tmp_path / "keyframes.csv", KEYFRAMES).drop_duplicates("clip").set_index("clip")
    apexes = {clip.clip: film.apex for clip, film in zip(clips, filmed, strict=True)}
    assert len(table) == 5
    assert all(abs(int(row["apex_spotted"]) - apexes[name]) <= 2 for name, row in table.iterrows())
    # The middle frame fails the gate.
    assert any(abs((len(film.frames) - 1) // 2 - film.apex) > 2 for film in filmed)


@pytest.mark.parametrize("person", [0, 1])
def test_gate_flow_of_still_face_crop_has_no_facial_motion(tmp_path, person):
    """Gate: as for aligned frames, mean length of the flow on the face under 0.25 px in every field."""
    frames = still_clip(person, 20)
    place = find_face(frames[:1])[1].eyes
    clip = written(tmp_path / "c", cut(frames, place, TALL)[0], align="none")
    align_subject([clip], tmp_path / "faces.h5", align_settings())
    rows = [{"clip": "c", "index": i, "frame": n} for i, n in zip([None, 0, 1, 2, 3], (0, 5, 10, 14, 19), strict=True)]
    write_table(rows, tmp_path / "keyframes.csv", KEYFRAMES)
    on_face = face_weights(128, FACE_CROP) > 0

    def motion(**options):
        subject_flow(tmp_path / "faces.h5", tmp_path / "keyframes.csv", tmp_path / "flow.h5", flow_settings(**options))
        with h5py.File(tmp_path / "flow.h5") as file:
            return [np.hypot(*field.astype(float))[on_face].mean() for field in file["c"]["flow"][()]]

    assert max(motion()) < 0.25
    assert max(motion(rigid=False)) > 0.25  # Without compensation the gate is not passed.


def test_quality_table_shows_alignment(picture, tight, tmp_path):
    clips = [
        written(tmp_path / "wide", [picture] * 3, align="auto"),
        written(tmp_path / "tight", [tight] * 3, align="auto"),
        written(tmp_path / "whole", [tight] * 3, align="none"),
        written(tmp_path / "usual", [np.hstack([picture, picture[:, 40:440]])] * 3),
        written(tmp_path / "photo", [tight], align="none", kind="still"),
        written(tmp_path / "blank", [np.full((240, 320), 90, np.uint8)] * 3, align="auto"),
    ]
    paths = {name: tmp_path / name for name in ("faces.h5", "keyframes.csv", "flow.h5", "quality.csv")}
    settings = preparation(align={"size": 64}, keyframes={"count": 2})
    align_subject(clips, paths["faces.h5"], settings.align)
    select_subject(paths["faces.h5"], paths["keyframes.csv"], settings.keyframes)
    subject_flow(paths["faces.h5"], paths["keyframes.csv"], paths["flow.h5"], settings.flow)
    build_cache(
        [clip.row() for clip in clips], [paths["faces.h5"]], [paths["keyframes.csv"]], [paths["flow.h5"]],
        cache=tmp_path / "cache.h5", quality=paths["quality.csv"], dataset="mixed", preparation="default",
        settings=settings, classes=["joy"], code="",
    )  # fmt: skip
    table = read_table(paths["quality.csv"], QUALITY).set_index("clip")
    assert list(table.columns)[4:6] == ["reason", "alignment"]
    alignment = {
        "wide": "detected",
        "tight": "crop",
        "whole": "crop",
        "usual": "detected",
        "photo": "crop",
        "blank": "",
    }
    assert table["alignment"].to_dict() == alignment
    assert set(table.index[table["status"] == "failed"]) == {"blank"}
    assert table["detector"].to_dict() == {
        name: "hog" if name in ("wide", "tight", "usual") else "" if name == "blank" else "none" for name in alignment
    }
    note = "2 faces in frames 0..2; the largest and most central one is used"
    assert table.loc[table["notes"] != "", "notes"].to_dict() == {"usual": note}
    for name in ("face_width_px", "interocular_px"):
        assert set(table.index[table[name].notna()]) == {"wide", "tight", "usual"}
    with h5py.File(tmp_path / "cache.h5") as cache, h5py.File(paths["faces.h5"]) as source:
        assert cache["clip"].asstr()[()].tolist() == ["wide", "tight", "whole", "usual", "photo"]
        np.testing.assert_array_equal(cache["spatial"][4, 0], source[safe_filename("photo")]["frames"][0])


# ---------------------------------------------------------------- real faces


def pupils(template):
    """Points 0 and 1 of a WebMorph template, left of the image first."""
    points = np.array([line.split()[:2] for line in template.read_text().splitlines()[1:3]], float)
    return points[np.argsort(points[:, 0])]


def test_auto_takes_tight_real_photographs_whole(faces_folder, tmp_path):
    """As in MMEW, 231x231: marked pupils stay under the landmarks; the wide photograph is aligned as before."""
    photographs = sorted((faces_folder / "neutral").glob("*.jpg"))[::3]
    assert len(photographs) == 10
    for file in photographs:
        frame, marked = read_grey(file), pupils(file.with_suffix(".tem"))
        crop, corner = cut([frame], marked, SQUARE)
        small = cv2.resize(crop[0], (231, 231), interpolation=cv2.INTER_AREA)
        clip = written(tmp_path / file.stem, [small])
        none, auto = (align_clip(replace(clip, align=how)) for how in ("none", "auto"))
        assert auto.placement.alignment == "crop" and same(none, auto)
        expected = cv2.resize(small, (128, 128), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(none.frames[0] - expected).mean() < 2.5
        true = (marked - corner + 0.5) * 128 / np.array(crop[0].shape[::-1]) - 0.5
        np.testing.assert_allclose(
            eye_centres(map_points(auto.placement.transform, auto.placement.face.landmarks)), true, atol=3
        )
        wide = Clip(file.stem, "p", "", "still", str(file))
        detect, auto = align_clip(wide), align_clip(replace(wide, align="auto"))
        assert same(detect, auto) and auto.placement.alignment == "detected"
        np.testing.assert_array_equal(auto.placement.transform, crop_transform(auto.placement.face.eyes, 128))


def test_auto_fails_for_real_video_without_face(faces_folder):
    with pytest.raises(ClipError, match="no face found"):
        align_clip(Clip("none", "v", "", "micro", str(faces_folder / "video" / "no_face.mp4"), align="auto"))


def test_clips_that_the_index_left_out_are_printed_once(capsys):
    clips = [{"clip": "a", "problem": "a does not exist"}, {"clip": "b", "problem": ""}, {"clip": "c", "problem": ""}]
    status = {"a": ("failed", "a does not exist"), "b": ("failed", "no face"), "c": ("ok", "")}
    reports = [{"clip": clip, "status": s, "reason": reason} for clip, (s, reason) in status.items()]
    report_failures("people", clips, reports, "quality.csv")
    shown = capsys.readouterr().err
    assert "1 of 2 clips failed when their files were opened" in shown
    assert "- b: no face" in shown and "does not exist" not in shown
    report_failures("people", clips[:1], reports[:1], "quality.csv")
    assert capsys.readouterr().err == ""


def test_clips_left_out_for_cut_faces_are_counted_on_screen(tight, tmp_path, capsys):
    with pytest.raises(ClipError) as error:
        faces.align_clip(written(tmp_path / "c", [tight] * 2), align_settings(least_inside=0.99))
    reasons = [str(error.value), str(error.value), "no face found"]
    clips = [{"clip": str(number), "problem": ""} for number in range(3)]
    reports = [row | {"status": "failed", "reason": reason} for row, reason in zip(clips, reasons, strict=True)]
    said = "3 of 3 clips failed when their files were opened, 2 of them because the picture cuts the face off: "
    report_failures("people", clips, reports, "quality.csv")
    assert f"{said}if the pictures are face crops, set `align: auto`" in capsys.readouterr().err
    with pytest.raises(InputError, match="2 of them because the picture cuts the face off: .*`align: auto`"):
        report_failures("people", clips, reports, "quality.csv", stop=True)
