"""Frames of folders, globs and videos: their numbers and order, and the errors for bad ones."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merflow.errors import ClipError
from merflow.footage.frames import FrameList, grey_frames, image_paths, is_video, numbers_of_names, read_grey


def write(path, level=100, shape=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(shape, level, np.uint8))


def levels(*arguments):
    return [(number, int(frame[0, 0])) for number, frame in grey_frames(*arguments)]


@given(st.lists(st.integers(0, 99999), unique=True, min_size=1), st.sampled_from(["img{}.jpg", "s12_{:05d}.png"]))
def test_numbers_of_names_ignore_padding(numbers, name):
    files = [name.format(number) for number in numbers]
    assert numbers_of_names(files) == dict(zip(numbers, files, strict=True))


def test_names_without_one_number_each_are_counted_in_order(tmp_path):
    for name in ("y_1.png", "x_1.png", "x_2.png"):
        write(tmp_path / name)
    frames = FrameList(tmp_path)
    assert not frames.numbered and [Path(file).name for file in frames.files.values()] == [
        "x_1.png",
        "x_2.png",
        "y_1.png",
    ]


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
