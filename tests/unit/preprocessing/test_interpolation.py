"""Interpolated key-frames against frames of synthetic people that were left out."""

from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest
from demo_clips import MOUTH, film_still_face, pushed, subject_file
from stage_settings import flow_settings, keyframe_settings, preparation

from merflow.datasets.settings import STANDARD_MICRO
from merflow.datasets.synthetic.plan import plan_subject
from merflow.datasets.synthetic.render import base_picture, clip_motion, render_frames
from merflow.inference.page import _FACE_PX, _keyframe_strip
from merflow.inference.results import PreparedClip
from merflow.preprocessing.cache import build_cache
from merflow.preprocessing.detection import find_face
from merflow.preprocessing.flow import pair_flow, subject_flow
from merflow.preprocessing.geometry import crop_transform, region_mask, warp
from merflow.preprocessing.interpolation import fill_between, interpolate_frame
from merflow.preprocessing.keyframes import select_subject
from merflow.report.images import picture
from merflow.report.sections.pictures import QUALITY, SIDE, _draw_frames
from merflow.storage.tables import KEYFRAMES, read_table

SHARES = (0.0, 0.25, 0.5, 1.0)


def expressions():
    """Crops uint8 [4, 128, 128] of each emotion at four shares of twice the usual motion; the head drifts too."""
    settings = replace(STANDARD_MICRO, subjects=1, clips_per_emotion=1)
    (subject,) = settings.subject_names
    base = base_picture(subject, settings)
    for performance in plan_subject(subject, settings):
        motion, shares = clip_motion(base, performance, settings), np.array(SHARES)
        first, last = motion.rigid[performance.onset], motion.rigid[performance.apex]
        motion = replace(
            motion,
            envelope=shares.astype(np.float32),
            rigid=first + shares[:, None] * (last - first),
            amplitude_px=2 * motion.amplitude_px,
        )
        pictures = render_frames(base, motion, performance, noise=0, light=False)
        pictures = [cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in pictures]
        transform = crop_transform(find_face(pictures[:1])[1].eyes, 128)
        yield np.stack([warp(picture, transform, 128) for picture in pictures])


@pytest.mark.parametrize("backend", ["numba", "farneback"])
def test_interpolated_frame_is_nearest_to_the_frame_that_was_left_out(backend):
    face = film_still_face(0, 8, noise=0.0, drift=0.0, light=False)[0]
    smile = np.stack([pushed(face, MOUTH, 2.5 * share) for share in SHARES])
    for frames in (smile, *expressions()):
        first, last = frames[0].astype(float), frames[-1].astype(float)
        flow = pair_flow(frames[0], frames[-1], flow_settings(backend=backend))
        for share, left_out in zip(SHARES[1:-1], frames[1:-1], strict=True):
            made = interpolate_frame(frames[0], frames[-1], flow, share)
            others = (first, last, (1 - share) * first + share * last)
            error, *errors = (
                np.square(image - left_out.astype(float))[region_mask(128)].mean() for image in (made, *others)
            )
            assert error < 0.85 * min(errors)


def test_only_gaps_are_filled_at_equal_steps():
    face = film_still_face(0, 8, noise=0.0, drift=0.0, light=False)[0]
    filmed = [pushed(face, MOUTH, pixels) for pixels in (0, 3, 2)]
    images = fill_between(
        np.stack(filmed),
        np.array([True, False, False, True, True]),
        lambda first, second: pair_flow(first, second, flow_settings()),
    )
    for index, image in ((0, filmed[0]), (3, filmed[1]), (4, filmed[2])):
        np.testing.assert_array_equal(images[index], image)
    for index in (1, 2):
        errors = [np.abs(images[index] - pushed(face, MOUTH, pixels).astype(float)).mean() for pixels in (0, 1, 2, 3)]
        assert np.argmin(errors) == index


@pytest.mark.parametrize("apex", [4, -1], ids=["annotated", "spotted"])
def test_interpolated_keyframes_reach_flow_and_cache(tmp_path, apex):
    """Onset, apex and offset are frames of the clip; each field between onset and apex is a third of their motion."""
    face = film_still_face(0, 8, noise=0.0, drift=0.0, light=False)[0]
    frames = np.stack([pushed(face, MOUTH, pixels) for pixels in (0, 0.2, 0.4, 0.6, 3, 1)])
    faces, keyframes, flow, cache = (tmp_path / name for name in ("faces.h5", "k.csv", "flow.h5", "cache.h5"))
    subject_file(faces, {"clip": (frames, 10, {"apex": 10 + apex if apex > 0 else -1})})
    settings = preparation(
        keyframes={"method": "proportional", "count": 4, "interpolate": True},
        flow={"reference": "consecutive", "rigid": False},
    )
    select_subject(faces, keyframes, settings.keyframes)
    subject_flow(faces, keyframes, flow, settings.flow)
    build_cache(
        [{"clip": "clip", "subject": "demo/s01", "label": "x", "kind": "micro"}], [faces], [keyframes], [flow],
        cache=cache, quality=tmp_path / "q.csv", dataset="demo", preparation="default", settings=settings,
        classes=["x"], code="",
    )  # fmt: skip
    rows = read_table(keyframes, KEYFRAMES)
    assert rows["frame"].fillna(-1).tolist() == [10, -1, -1, 14, 15]
    assert set(rows["apex_source"]) == {"annotated" if apex > 0 else "spotted"}
    with h5py.File(flow) as fields, h5py.File(cache) as file:
        assert fields["clip"]["frame_numbers"][()].tolist() == [-1, -1, 14, 15]
        images = fields["clip"]["frames"][()]
        np.testing.assert_array_equal(images[[0, 3, 4]], frames[[0, 4, 5]])
        np.testing.assert_array_equal(file["spatial"][0], images[1:])
        assert file["apex_index"][0] == 2
        lengths = np.hypot(*np.moveaxis(file["flow"][0, :, :2].astype(float), 1, 0))[:, 100:116, 56:72].mean(
            axis=(1, 2)
        )
    (shown,) = _draw_frames(faces, keyframes, flow, [("clip", "x", 0)])
    strip, *_ = _keyframe_strip("clip", PreparedClip(str(faces), str(flow), rows, 14))
    for index, place in enumerate(["frame 10", "interpolated", "interpolated", "frame 14", "frame 15"]):
        assert shown.frames[index].source == picture(images[index], SIDE, QUALITY), "what the network reads is shown"
        assert shown.frames[index].alt.endswith(place) and strip[index]["place"] == place
        assert shown.frames[index].apex == strip[index]["apex"] == (index == 3)
        assert strip[index]["face"] == picture(images[index], _FACE_PX)
    whole = np.hypot(*pair_flow(frames[0], frames[4], flow_settings()))[100:116, 56:72].mean()
    np.testing.assert_allclose(lengths[:3], whole / 3, rtol=0.15)


def test_clip_of_one_frame_has_nothing_to_interpolate(tmp_path):
    face = film_still_face(0, 8, noise=0.0, drift=0.0, light=False)[0]
    subject_file(tmp_path / "faces.h5", {"clip": (face[None], 7, {})})
    settings = keyframe_settings(method="proportional", interpolate=True)
    select_subject(tmp_path / "faces.h5", tmp_path / "k.csv", settings)
    assert read_table(tmp_path / "k.csv", KEYFRAMES)["frame"].tolist() == [7] * 6
