"""Frames of folders, globs and videos: their numbers and order, and the errors for bad ones."""

import os

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merflow.errors import ClipError
from merflow.footage.frames import (
    IMAGES,
    VIDEOS,
    FrameList,
    frames_in_order,
    grey_frames,
    image_paths,
    is_video,
)
from merflow.footage.images import read_grey


def write(path, level=100, shape=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(shape, level, np.uint8))


def levels(*arguments):
    return [(number, int(frame[0, 0])) for number, frame in grey_frames(*arguments)]


NAMES = [
    "{}", "img{}", "reg_img{}", "{:05d}", "006_{:05d}", "006_1_{:04d}", "S005_001_{:08d}", "image{:06d}",
    "EP01_12-{}", "reg_EP01_12-{:03d}", "frame{}_v2", "{}_crop128", "crop128_{}", "{} (1)", "frame_det_00_{:06d}",
    "2024-05-01 12.00.00.{:06d}", "20240501120000{:06d}", "Take 2 - 1280x720 {}", "\u0663-{}",
]  # fmt: skip
"""Names of the datasets (without suffix), of cameras and of programs, whose frame number is ``{}``."""


@given(
    st.lists(st.integers(0, 99999), unique=True, min_size=2),
    st.sampled_from(NAMES),
    st.sampled_from([".jpg", ".PNG"]),
    st.randoms(),
)
def test_frames_in_order_by_number_that_differs(numbers, name, suffix, random):
    files = {number: f"/7/{name.format(number)}{suffix}" for number in sorted(numbers)}
    shuffled = list(files.values())
    random.shuffle(shuffled)
    in_order, problem = frames_in_order(shuffled)
    assert problem == "" and list(in_order.values()) == list(files.values())
    if not name.startswith("2024"):
        assert list(in_order) == list(files)


@given(
    st.text("ab7_-. ", max_size=6),
    st.text("ab7_-. ", max_size=6),
    st.lists(st.integers(0, 10**6), unique=True, min_size=2, max_size=9),
    st.randoms(),
)
def test_frames_in_order_with_any_text_around_number(before, after, numbers, random):
    files = [f"{before}x{number}x{after}.png" for number in sorted(numbers)]
    shuffled = random.sample(files, len(files))
    assert frames_in_order(shuffled) == (dict(zip(sorted(numbers), files, strict=True)), "")


@given(
    st.lists(st.sampled_from(["1", "01", "2", "10", "2 - Copy", "2 (1)", "b", "1_5", "2_6", "3.1", "3.10", "3.9"])),
    st.sampled_from(["", "S1_"]),
    st.randoms(),
)
def test_frames_in_order_for_any_order_of_files(stems, prefix, random):
    files = [f"{prefix}{stem}.jpg" for stem in dict.fromkeys(stems)]
    in_order, problem = frames_in_order(files)
    assert frames_in_order(random.sample(files, len(files))) == (in_order, problem)
    assert list(frames_in_order(files)[0]) == sorted(in_order) and bool(in_order) == (problem == "" and bool(files))


@pytest.mark.parametrize("digits", [9, 15, 16, 18, 19, 20, 31, 100])
def test_frames_in_order_with_numbers_of_any_length(digits):
    start = int("20240501120000000000" * 5) // 10 ** (100 - digits)
    files = [f"{start + 5 * place}.jpg" for place in range(300)]
    in_order, problem = frames_in_order(reversed(files))
    assert problem == "" and list(in_order.values()) == files
    assert max(in_order) < 2**53 and [number % 1000 for number in in_order] == [int(f[:-4]) % 1000 for f in files]


TEN = [f"{number}.jpg" for number in range(1, 11)]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([*TEN, "7 - Copy.jpg"], "7 - Copy.jpg, 7.jpg"),
        ([*TEN, "7 (1).jpg"], "7 (1).jpg, 7.jpg"),
        ([*TEN, "7 copy.jpg"], "7 copy.jpg, 7.jpg"),
        ([*TEN, "7_mask.jpg"], "7.jpg, 7_mask.jpg"),
        ([*TEN, "7.png"], "two images have number 7: 7.jpg, 7.png"),
        ([*TEN, "07.jpg"], "two images have number 7: 07.jpg, 7.jpg"),
        ([*TEN, "crop128.jpg"], "9.jpg, crop128.jpg"),
        ([*TEN, "cover.jpg"], "9.jpg, cover.jpg"),
        ([*TEN[1:], "7 (1).jpg"], "7 (1).jpg, 7.jpg"),
        (["1.jpg", "1.png"], "two images have number 1"),
        (["happy.png", "calm.png"], "calm.png, happy.png"),
        (["a.png", "a.jpg"], "a.jpg, a.png"),
        (["x_1.png", "x_2.png", "y_1.png"], "x_2.png, y_1.png"),
        (["x_1.png", "y_2.png"], "x_1.png, y_2.png"),
        (["frame1_v1.png", "frame2_v2.png", "frame3_v1.png"], "frame1_v1.png, frame2_v2.png"),
        (["1_t33.png", "2_t66.png"], "1_t33.png, 2_t66.png"),
        (["12-00-00_995000.png", "12-00-01_000000.png"], "12-00-00_995000.png, 12-00-01_000000.png"),
        (["20240501_120000_995.png", "20240501_120001_000.png"], "20240501_120000_995.png, 20240501_120001_000.png"),
        (["t0,1.png", "t0,2.png", "t0,10.png"], "t0,1.png, t0,10.png"),
        (["1714557600.5.png", "1714557600.52.png", "1714557600.6.png"], "1714557600.5.png, 1714557600.52.png"),
        (
            ["999999999999980.png", "999999999999990.png", "1000000000000000.png"],
            "differ before their last 15 digits: 999999999999990.png, 1000000000000000.png",
        ),
    ],
)
def test_uncertain_order_is_refused_with_the_names(tmp_path, names, shown):
    for name in names:
        write(tmp_path / name)
    frames = FrameList(tmp_path)
    assert shown in frames.problem and not frames.files
    with pytest.raises(ClipError, match=r"order of the images is not certain|two images have number|differ before"):
        levels(str(tmp_path))


@pytest.mark.parametrize(("name", "number"), [("S01_7", 7), ("happy", 0), ("006_05562", 5562), ("1_2_01", 1)])
def test_single_image_has_last_number_of_its_name(tmp_path, name, number):
    write(tmp_path / f"{name}.png", 9)
    assert levels(str(tmp_path)) == levels(str(tmp_path / f"{name}.png")) == [(number, 9)]


def test_gaps_between_frames_and_between_times():
    frames = FrameList.__new__(FrameList)
    for numbers, gaps in [
        ([1, 2, 5, 6, 10**12], [range(3, 5), range(7, 10**12)]),
        ([1, 3, 5], [range(2, 3), range(4, 5)]),
        ([0, 5000, 10000, 20000], [range(15000, 15001)]),
        ([7, 5010, 10003, 17400, 22402, 37300], [range(27405, 32409, 5003)]),
        ([4], []),
    ]:
        frames.files = dict.fromkeys(numbers, "")
        assert frames.gaps(numbers[0], numbers[-1]) == gaps


@pytest.mark.parametrize("suffix", [".3gpx", ".heic", ".raw", ".MXL", ""])
def test_suffix_without_reader_is_named_with_those_read(tmp_path, suffix):
    (tmp_path / f"phone{suffix}").write_bytes(b"x")
    for source, says in (
        (tmp_path / f"phone{suffix}", "is neither a video nor an image by its name; read are"),
        (
            tmp_path / f"absent{suffix or '.pfm'}",
            "is neither a video nor an image by its name, nor a folder that exists",
        ),
        (tmp_path, f"holds no image, but files such as phone{suffix};"),
        (tmp_path / "ph*", f"matches no image, but files such as phone{suffix};"),
    ):
        with pytest.raises(ClipError) as error:
            levels(str(source))
        assert says in str(error.value) and "does not exist" not in str(error.value)
        assert all(known in str(error.value) for known in sorted(IMAGES | VIDEOS))


def test_hidden_files_is_skipped(tmp_path):
    for name in ("2.png", "10.png"):
        write(tmp_path / name)
    for name in (".DS_Store", "Thumbs.db", "._2.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert sorted(map(os.path.basename, image_paths(tmp_path))) == ["10.png", "2.png"]
    assert sorted(map(os.path.basename, image_paths(tmp_path / "1*.png"))) == ["10.png"]


def test_bounds_are_inclusive_frame_numbers(tmp_path):
    for number in (5, 6, 9, 10):
        write(tmp_path / f"f{number}.png", number)
    assert levels(str(tmp_path)) == [(5, 5), (6, 6), (9, 9), (10, 10)]
    assert levels(str(tmp_path), 6, 9) == [(6, 6), (9, 9)]
    with pytest.raises(ClipError, match=r"no frame in 20\.\.30"):
        levels(str(tmp_path), 20, 30)


def test_colour_becomes_grey(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.full((8, 8, 3), (255, 0, 0), np.uint8))
    assert read_grey(tmp_path / "1.png")[0, 0] == 29  # 0.114 * 255, blue


def test_video_frames_count_from_zero_and_stop_at_last(tmp_path):
    file = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for level in range(0, 200, 20):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    assert is_video(file) and not is_video(tmp_path)
    seen = levels(str(file), 3, 6)
    assert [number for number, _ in seen] == [3, 4, 5, 6]
    assert np.abs(np.array([level for _, level in seen]) - [60, 80, 100, 120]).max() <= 2
    assert len(levels(str(file))) == 10


def cut_short(path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80)).astype(np.uint8)
    data = cv2.imencode(path.suffix, noise)[1]
    data[: len(data) * 2 // 3].tofile(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_image_that_is_cut_short_is_named(tmp_path, suffix):
    write(tmp_path / "1.png")
    cut_short(tmp_path / f"2{suffix}")
    with pytest.raises(ClipError, match=rf"2\{suffix} is not an image"):
        levels(str(tmp_path))


def test_other_bad_sources_are_named(tmp_path):
    with pytest.raises(ClipError, match="nowhere does not exist"):
        levels(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClipError, match="empty holds no image"):
        levels(str(tmp_path / "empty"))
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(ClipError, match=r"1\.png is empty"):
        levels(str(tmp_path))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(ClipError, match=r"bad\.mp4 cannot be opened"):
        levels(str(tmp_path / "bad.mp4"))


def test_frames_of_two_sizes_are_refused(tmp_path):
    write(tmp_path / "1.png")
    write(tmp_path / "2.png", shape=(20, 31))
    with pytest.raises(ClipError, match="frame 2 is 31x20, those before 30x20"):
        levels(str(tmp_path))
