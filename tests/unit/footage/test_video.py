"""Videos: pictures, numbers and times of their frames, and the files that are refused."""

import subprocess
import sys

import av
import cv2
import numpy as np
import pytest
from repository import REPO
from videos import FIRST_FIELDS, damage, error, fields, noise, read, wave, waves, write_video, write_with_cover

from merflow.errors import ClipError
from merflow.footage import video
from merflow.footage.clip import Clip
from merflow.footage.frames import FROM_VIDEO, VIDEOS, frames_per_second, grey_frames, read_frames
from merflow.footage.video import INTERLACED, frame_rate, read_video

# --- Pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "encoder", "pixels"),
    [
        ("v.mp4", "libx264", "yuv420p"),
        ("v.mov", "mjpeg", "yuvj420p"),
        ("v.avi", "mpeg4", "yuv420p"),
        ("v.avi", "libx264", "yuv420p"),
        ("v.mpg", "mpeg2video", "yuv420p"),
        ("v.m2v", "mpeg2video", "yuv420p"),
        ("v.mkv", "ffv1", "yuv420p"),
        ("v.webm", "libvpx-vp9", "yuv420p"),
        ("v.wmv", "wmv2", "yuv420p"),
        ("v.ts", "libx264", "yuv420p"),
        ("v.3gp", "mpeg4", "yuv420p"),
        ("v.flv", "flv", "yuv420p"),
        ("v.mxf", "mpeg2video", "yuv422p"),
        ("v.m2ts", "mpeg2video", "yuv420p"),
        ("v.gif", "gif", "gray"),
    ],
)
def test_read_frames_of_each_container(tmp_path, name, encoder, pixels):
    pictures = waves()
    numbers, seconds, read_pictures, notes = read(write_video(tmp_path / name, pictures, encoder, pixels))
    assert numbers == list(range(12)) and notes == [] and name[1:] in VIDEOS
    assert seconds == pytest.approx(np.arange(12) / 25, abs=0.006)
    assert max(map(error, read_pictures, pictures)) < 3


@pytest.mark.parametrize(("encoder", "pixels"), [("libx264", "yuv420p"), ("mjpeg", "yuvj420p"), ("mpeg4", "yuv420p")])
def test_read_frames_agrees_with_opencv_in_colour(tmp_path, encoder, pixels):
    chance = np.random.default_rng(0)
    colours = [np.dstack([wave(n, 96, 128)] * 3) // 2 + chance.integers(0, 99, 3, np.uint8) for n in range(5)]
    with av.open(str(tmp_path / "v.avi"), "w") as container:
        stream = container.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 128, 96, pixels, 4_000_000
        for colour in colours:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(colour, "rgb24")))
        container.mux(stream.encode())
    capture = cv2.VideoCapture(str(tmp_path / "v.avi"))
    for picture in read(tmp_path / "v.avi")[2]:
        expected = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2GRAY)
        assert np.abs(picture.astype(int) - expected).max() <= 6 and error(picture, expected) < 2


@pytest.mark.parametrize(
    "pixels",
    ["yuv420p", "yuv422p10le", "yuv420p10le", "yuv420p12le", "yuv444p16le", "gray10le", "gray12le", "gray16le", "gray"],
)
def test_depth_is_scaled_by_its_range(tmp_path, pixels):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (96, 1))
    (_, _, (picture,), _) = read(write_video(tmp_path / "v.mkv", [ramp], "ffv1", pixels))
    assert np.abs(picture.astype(int) - ramp).max() <= (pixels == "yuv420p")


@pytest.mark.parametrize(
    ("encoder", "pixels", "name"),
    [
        ("libx265", "yuv420p12le", "v.mp4"),
        ("libx265", "yuv420p10le", "v.mp4"),
        ("libx264", "yuv420p10le", "v.mkv"),
        ("prores_ks", "yuv422p10le", "v.mov"),
    ],
)
def test_depth_of_compressed_video(tmp_path, encoder, pixels, name):
    options = {"x265-params": "log-level=none"} if encoder == "libx265" else {}
    pictures = waves(3)
    read_pictures = read(write_video(tmp_path / name, pictures, encoder, pixels, options=options))[2]
    assert len(read_pictures) == 3 and max(map(error, read_pictures, pictures)) < 2


@pytest.mark.parametrize(
    ("encoder", "pixels", "full"),
    [
        *((encoder, pixels, True) for encoder in ("ffv1", "libx265") for pixels in ("gray", "gray10le", "gray12le")),
        # H.264 (E.2.1) infers video_full_range_flag 0, limited, where a file has none.
        *(("libx264", pixels, False) for pixels in ("gray", "gray10le")),
    ],
)
def test_range_of_video_without_colour_is_that_of_ffmpeg(tmp_path, encoder, pixels, full):
    """The file does not state the range, or, if written by libx265, a limited one."""
    ramp = np.tile(np.arange(256, dtype=np.uint8), (96, 1))
    options = {"libx265": {"x265-params": "lossless=1:log-level=none"}, "libx264": {"qp": "0"}}.get(encoder)
    file = write_video(tmp_path / "v.mkv", [ramp], encoder, pixels, options=options)
    (picture,) = read(file)[2]
    with av.open(str(file)) as container:
        by_ffmpeg = next(container.decode(video=0)).reformat(format="gray").to_ndarray()
    expected = ramp if full else np.clip((ramp.astype(float) - 16) * 255 / 219, 0, 255)
    assert np.abs(picture - expected).max() <= 2 and np.abs(picture.astype(int) - by_ffmpeg).max() <= 1


@pytest.mark.parametrize(("name", "encoder"), [("v.mp4", "libx264"), ("v.avi", "mpeg4"), ("v.ts", "libx264")])
@pytest.mark.parametrize(
    ("aspect", "width"), [("16/15", 137), ("8/9", 114), ("2", 256), ("1/2", 64), (None, 128), ("1", 128)]
)
def test_pixels_become_square(tmp_path, name, encoder, aspect, width):
    picture = read(write_video(tmp_path / name, waves(9), encoder, aspect=aspect))[2][0]
    assert picture.shape == (96, width)
    assert error(picture, cv2.resize(wave(0), (width, 96), interpolation=cv2.INTER_AREA)) < 3


@pytest.mark.parametrize("turn", [0, 90, 180, 270, -90])
def test_rotation_is_applied_as_by_opencv(tmp_path, turn):
    file = write_video(tmp_path / "v.mp4", waves(2), turn=turn)
    picture, expected = read(file)[2][0], cv2.cvtColor(cv2.VideoCapture(str(file)).read()[1], cv2.COLOR_BGR2GRAY)
    assert picture.shape == expected.shape and error(picture, expected) < 2
    assert error(picture, np.rot90(wave(0), turn // 90)) < 3


INTERLACED_FLAGS = {"flags": "+ildct+ilme"}


@pytest.mark.parametrize("order", FIRST_FIELDS)
@pytest.mark.parametrize(
    ("name", "encoder", "pixels", "options"),
    [
        ("v.mp4", "libx264", "yuv420p", {"flags": "+ildct", "crf": "4"}),
        ("v.mkv", "libx264", "yuv420p10le", {"flags": "+ildct", "crf": "4"}),
        ("v.m2ts", "libx264", "yuv420p", {"flags": "+ildct", "crf": "4"}),
        ("v.mpg", "mpeg2video", "yuv420p", INTERLACED_FLAGS),
        ("v.ts", "mpeg2video", "yuv422p", INTERLACED_FLAGS),
        ("v.avi", "mpeg4", "yuv420p", INTERLACED_FLAGS),
        ("v.mov", "prores_ks", "yuv422p10le", {"flags": "+ildct"}),
        ("v.mkv", "ffv1", "yuv420p", {}),
        ("v.mov", "mjpeg", "yuvj422p", {}),
        ("v.mov", "rawvideo", "uyvy422", {}),
        ("v.mkv", "rawvideo", "yuv420p", {}),
    ],
)
def test_interlaced_video_is_deinterlaced(tmp_path, name, encoder, pixels, options, order):
    pictures = fields(8, int(FIRST_FIELDS[order] == "bff"))
    file = write_video(tmp_path / name, pictures, encoder, pixels, order=order, options=options)
    numbers, seconds, pictures, notes = read(file)
    assert numbers == list(range(8)) and notes == [INTERLACED] and seconds == pytest.approx(np.arange(8) / 25, abs=1e-3)
    for number in range(1, 7):
        now, late = (error(pictures[number], wave(number + shift)) for shift in (0, 0.5))
        assert now < late / 2, "each picture shows the time of the first field"


def test_interlaced_dv(tmp_path):
    file = write_video(tmp_path / "v.dv", fields(4, 1, 576, 720), "dvvideo", aspect="16/15")
    numbers, _, pictures, notes = read(file)
    assert numbers == list(range(4)) and notes == [INTERLACED] and pictures[0].shape == (576, 768)
    expected = cv2.resize(wave(2, 576, 720), (768, 576))
    assert error(pictures[2], expected) < error(fields(4, 1, 576, 720)[2], wave(2, 576, 720)) / 2


def test_fields_of_interlaced_hevc_are_refused(tmp_path):
    """FFmpeg gives each field as a frame."""
    pictures = [wave(number / 2)[number % 2 :: 2] for number in range(8)]
    options = {"x265-params": "log-level=none:interlace=tff"}
    file = write_video(tmp_path / "v.mp4", pictures, "libx265", rate=50, options=options)
    with pytest.raises(ClipError, match=r"v\.mp4 is interlaced HEVC.*convert it"):
        read(file)


def test_interlaced_case_has_a_picture_for_each_frame(cases_folder):
    numbers, _, pictures, notes = read(cases_folder / "interlaced" / "b_interlaced.mp4")
    assert numbers == list(range(20)) and len({picture.tobytes() for picture in pictures}) == 20
    assert notes == [INTERLACED]


def test_cover_picture_is_no_video(tmp_path):
    for name in ("cover.mp4", "cover.m4v"):
        write_with_cover(tmp_path / name, waves(3))
        assert [picture.shape for picture in read(tmp_path / name)[2]] == [(96, 128)] * 3
    write_with_cover(tmp_path / "sound.mp4", [])
    with pytest.raises(ClipError, match=r"sound\.mp4 holds no moving pictures"):
        read(tmp_path / "sound.mp4")


def test_one_picture_before_the_video_is_a_cover(tmp_path):
    write_with_cover(tmp_path / "v.mp4", waves(3), attached=False)
    assert [picture.shape for picture in read(tmp_path / "v.mp4")[2]] == [(96, 128)] * 3


# --- Numbers and times ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "encoder"), [("v.mp4", "libx264"), ("v.mkv", "libx264"), ("v.mov", "mjpeg")])
def test_seconds_are_those_of_the_file(tmp_path, name, encoder):
    times = np.array([0, 0.1, 0.2, 0.3, 0.32, 0.34, 0.36, 0.38])
    pixels = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
    file = write_video(tmp_path / name, waves(8), encoder, pixels, times=times)
    numbers, seconds, pictures, notes = read(file)
    assert seconds == pytest.approx(times, abs=1e-3) and numbers == list(range(8))
    assert notes == ["the frame rate varies from 10 to 50 per second"]
    assert max(map(error, pictures, waves(8))) < 3
    rate = frame_rate(file)
    assert rate.mean == pytest.approx(7 / 0.38, rel=0.01) and rate.fastest == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize(("usual", "dim"), [(30, 15), (30, 20), (30, 24), (60, 50), (200, 150)])
@pytest.mark.parametrize("name", ["v.mkv", "v.mp4"])
def test_rates_that_vary_a_little_are_noted(tmp_path, name, usual, dim):
    times = np.cumsum([0, *[1 / usual] * 15, *[1 / dim] * 15])
    file = write_video(tmp_path / name, waves(31), times=times)
    seconds, _, (note,) = read(file)[1:]
    assert seconds == pytest.approx(times, abs=1e-3) and note.startswith("the frame rate varies from ")
    assert frame_rate(file).fastest == pytest.approx(usual, rel=0.1) and frame_rate(file).mean < 0.95 * usual


def test_clip_of_constant_rate_in_a_video_whose_rate_varies(tmp_path):
    file = write_video(tmp_path / "v.mp4", waves(8), times=[0, 0.1, 0.2, 0.3, 0.32, 0.34, 0.36, 0.38])
    assert read(file, 4, 7)[3] == [] and read(file, 0, 3)[3] == []
    assert read(file, 2, 5)[3] == ["the frame rate varies from 10 to 50 per second"]


@pytest.mark.parametrize("rate", [24, 25, 30, 50, 60, 100, 200, 240, 400])
@pytest.mark.parametrize("name", ["v.mkv", "v.mp4", "v.ts"])
def test_constant_rate_does_not_vary(tmp_path, name, rate):
    """Matroska rounds times to 1 ms."""
    file = write_video(tmp_path / name, waves(30), rate=rate)
    stated = frame_rate(file)
    assert stated.mean == stated.fastest == pytest.approx(rate, rel=0.001)
    _, seconds, _, notes = read(file)
    assert notes == [] and seconds == pytest.approx(np.arange(30) / rate, abs=1e-3)


def test_frames_per_second_of_case_vfr(cases_folder):
    clip = Clip("c", "d/s", "", "micro", str(cases_folder / "vfr" / "vfr.mp4"))
    rate, source = frames_per_second(clip, None)
    assert source == FROM_VIDEO and rate.mean == pytest.approx(25.9, abs=0.1) and rate.fastest > 49
    assert frames_per_second(clip, 200)[0] == (200, 200)
    assert read(clip.frames)[1][79] == pytest.approx(3.98)


def test_short_intervals_do_not_set_the_pace_of_the_search(tmp_path):
    times = np.cumsum([0, *([0.04] * 8 + [0.0001, 0.0799]) * 4])
    rate = frame_rate(write_video(tmp_path / "v.mp4", waves(len(times)), times=times))
    assert rate.mean == pytest.approx(25, rel=0.01) and rate.fastest == pytest.approx(100, rel=0.01)


def test_video_cut_from_a_stream_begins_at_its_first_key_frame(tmp_path):
    whole = write_video(tmp_path / "v.ts", waves(30), options={"g": "12", "bf": "2", "flags": "-cgop"})
    data = whole.read_bytes()
    keys = [packet.pos for packet in av.open(str(whole)).demux(video=0) if packet.is_keyframe]
    (tmp_path / "late.ts").write_bytes(data[: 3 * 188] + data[keys[1] // 2 // 188 * 188 :])
    numbers, seconds, pictures, notes = read(tmp_path / "late.ts")
    assert numbers == list(range(len(numbers))) and 15 <= len(numbers) <= 18 and notes == []
    assert error(pictures[-1], wave(29)) < 3 and seconds[0] >= 0


# --- Files that are refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "encoder", "pixels"),
    [
        ("v.avi", "mjpeg", "yuvj420p"),
        ("v.avi", "mpeg4", "yuv420p"),
        ("v.mkv", "mjpeg", "yuvj420p"),
        ("v.webm", "libvpx", "yuv420p"),
        ("v.mp4", "mpeg4", "yuv420p"),
        ("v.mov", "mjpeg", "yuvj420p"),
        ("v.flv", "flv", "yuv420p"),
    ],
)
def test_truncated_video_is_refused(tmp_path, name, encoder, pixels):
    """MP4 and MOV, whose directory is last, do not open unless they were written with the directory first."""
    options = {"movflags": "faststart"} if name == "v.mp4" else {}
    file = write_video(tmp_path / name, noise(20), encoder, pixels, container_options=options)
    assert len(list(grey_frames(str(file)))) == 20
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(ClipError, match=rf"{name} (is cut off after frame \d+; copy it again|cannot be opened)"):
        list(grey_frames(str(file)))
    if name != "v.mov":
        assert len(list(grey_frames(str(file), 0, 2))) == 3, "what is wanted is there"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.mp4", "ffconcat version 1.0\nfile 'v.mp4'\n"),
        ("list.ts", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nv.mp4\n#EXT-X-ENDLIST\n"),
        ("list.mkv", '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>'),
        ("list.avi", "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
        ("text.mov", "no video\n" * 200),
        ("empty.mp4", ""),
    ],
)
def test_list_of_files_is_no_video(tmp_path, name, text):
    write_video(tmp_path / "v.mp4", waves(2))
    (tmp_path / name).write_text(text)
    for read_file in (lambda file: list(read_video(file, [])), frame_rate):
        with pytest.raises(ClipError, match=rf"{name} cannot be opened"):
            read_file(tmp_path / name)


@pytest.mark.parametrize("name", ["http:v.mp4", "concat:v.mp4", "pipe:0.mp4", "-.mp4", "frame%03d.mp4"])
def test_name_is_never_an_address(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "v.mp4", waves(3)).rename(tmp_path / name)
    assert len(read(name)[0]) == 3


def test_videos_that_are_too_large_are_not_decoded(tmp_path, monkeypatch):
    file = write_video(tmp_path / "v.mkv", waves(2), aspect=None)
    wide = write_video(tmp_path / "wide.mp4", waves(2), aspect="2")
    monkeypatch.setattr("merflow.footage.images.MAX_SIDE", 200)
    assert len(read(file)[0]) == 2
    with pytest.raises(ClipError, match=r"wide\.mp4 with square pixels is 256x96; at most 200x200"):
        read(wide)
    monkeypatch.setattr("merflow.footage.images.MAX_SIDE", 100)
    monkeypatch.setattr("merflow.footage.decoding._decoded", None)
    with pytest.raises(ClipError, match=r"v\.mkv is 128x96; at most 100x100"):
        read(file)


@pytest.mark.parametrize("side", [64, 480])
@pytest.mark.parametrize(
    ("suffix", "encoder", "interlaced"), [("ts", "libx264", {}), ("mpg", "mpeg2video", {"order": 2})]
)
def test_frames_of_two_sizes_are_refused(tmp_path, suffix, encoder, interlaced, side):
    options = INTERLACED_FLAGS if interlaced else {}
    sizes = (96, 128), (side, side)
    files = [
        write_video(tmp_path / f"{size}.{suffix}", waves(12, *size), encoder, options=options, **interlaced)
        for size in sizes
    ]
    (tmp_path / f"both.{suffix}").write_bytes(b"".join(file.read_bytes() for file in files))
    with pytest.raises(ClipError, match=rf"both\.{suffix}: frame 1[12] is {side}x{side}, those before 128x96"):
        read(tmp_path / f"both.{suffix}")


@pytest.mark.parametrize(
    ("name", "encoder", "pixels", "rate"),
    [("v.mp4", "libx264", "yuv420p", 25), ("v.avi", "mjpeg", "yuvj420p", 25), ("v.mkv", "libx264", "yuv420p", None)],
)
def test_clips_of_a_video_in_order_decode_it_once(tmp_path, monkeypatch, name, encoder, pixels, rate):
    """Frames are those of the whole video, also with bidirectional frames, a varying rate, and clips in any order."""
    times = None if rate else np.cumsum(np.random.default_rng(0).integers(20, 90, 60)) / 1000
    options = {"bf": "3", "g": "12"} if encoder == "libx264" else None
    file = str(write_video(tmp_path / name, waves(60), encoder, pixels, times=times, options=options))
    whole, decoded, upright = list(read_video(file, [])), [], video._upright
    monkeypatch.setattr(video, "_upright", lambda *of: decoded.append(1) or upright(*of))

    def check(frames, first, last):
        assert [frame.number for frame in frames] == list(range(first, last + 1))
        for frame in frames:
            assert frame.seconds == whole[frame.number].seconds
            np.testing.assert_array_equal(frame.picture, whole[frame.number].picture)

    for first, last in [(3, 9), (10, 20), (40, 59)]:
        check(list(read_frames(file, first, last)), first, last)
    assert len(decoded) == 60
    for first, last in [(10, 20), (20, 30), (5, 8)]:
        check(list(read_frames(file, first, last)), first, last)
    unfinished = read_frames(file, 9, 15)
    begun = [next(unfinished)]
    check(list(read_frames(file, 30, 40)), 30, 40)
    check(begun + list(unfinished), 9, 15)


@pytest.mark.parametrize("start", [0.0, 0.08, 3.0])
def test_matroska_that_starts_late_is_not_cut_off(tmp_path, start):
    """FFmpeg states where the stream ends, not how long it lasts."""
    file = write_video(tmp_path / "v.mkv", waves(12), times=start + np.arange(12) / 25)
    numbers, seconds, _, notes = read(file, 0, 11)
    assert numbers == list(range(12)) and notes == [] and seconds == pytest.approx(np.arange(12) / 25, abs=1e-3)
    assert len(read(file)[0]) == 12 and read(file)[3] == []


def test_later_clips_of_a_video_have_its_notes(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", noise(40), options={"g": "10"})
    file = damage(whole, tmp_path / "v.mp4", 12)
    _, _, _, expected = read(file, 30, 35)
    read(file, 21, 25)
    assert read(file, 30, 35)[3] == expected and "damaged frames left out: 12" in expected[0]
    with pytest.raises(ClipError, match="frame 12"):
        list(read_frames(str(file), 8, 14))
    assert [frame.number for frame in read_frames(str(file), 21, 23)] == [21, 22, 23]


def test_video_that_is_read_in_part_prints_nothing_at_exit(tmp_path):
    file = write_video(tmp_path / "v.mp4", waves(12))
    gone = "import atexit, av; atexit.register(setattr, av, 'error', None)"  # As modules are at the end of Python.
    code = f"{gone}; from merflow.footage.frames import read_frames; print(len(list(read_frames({str(file)!r}, 1, 3))))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("3\n", "")
