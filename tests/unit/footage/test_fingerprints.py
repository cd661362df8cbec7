import os

import pytest

from merflow.footage.fingerprints import EMPTY, footage_files, record_source, source_token


@pytest.fixture
def clips(tmp_path):
    rows = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        for n in range(3):
            (folder / f"{n}.png").write_bytes(bytes([n]) * 10)
        rows.append({"frames": str(folder)})
    return rows


def test_overwriting_frame_in_place_changes_token(clips, tmp_path):
    record = tmp_path / "record.json"
    token = source_token(clips, record)
    record_source(clips, token, record)
    assert source_token(clips, record) == token
    frame = tmp_path / "one" / "1.png"
    times = frame.stat()
    frame.write_bytes(b"x" * 10)
    os.utime(frame, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert source_token(clips, record) != token


def test_touching_or_copying_back_keeps_token(clips, tmp_path):
    record = tmp_path / "record.json"
    token = source_token(clips, record)
    record_source(clips, token, record)
    for file in footage_files(clips):
        os.utime(file, (1, 1))
    assert source_token(clips, tmp_path / "none.json") != token, "the times did change"
    assert source_token(clips, record) == token
    assert record.with_suffix(".seen").is_file(), "the next run need not read the contents again"
    assert source_token(clips, record) == token
    (tmp_path / "one" / "1.png").write_bytes(b"other")
    assert source_token(clips, record) != token


@pytest.mark.parametrize("change", ["add", "remove", "rename"])
def test_changed_set_of_frames_changes_token(clips, tmp_path, change):
    record = tmp_path / "record.json"
    token = source_token(clips, record)
    record_source(clips, token, record)
    frame = tmp_path / "two" / "0.png"
    match change:
        case "add":
            (tmp_path / "two" / "9.png").write_bytes(b"new")
        case "remove":
            frame.unlink()
        case "rename":
            frame.rename(frame.with_name("7.png"))
    assert source_token(clips, record) != token


def test_token_stays_after_synthetic_footage_is_rendered(tmp_path):
    record = tmp_path / "record.json"
    clips = [{"frames": str(tmp_path / "later")}]
    assert source_token(clips, record) == EMPTY
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "1.png").write_bytes(b"frame")
    record_source(clips, EMPTY, record)
    assert source_token(clips, record) == EMPTY
    (tmp_path / "later" / "1.png").write_bytes(b"other frame")
    assert source_token(clips, record) != EMPTY


def test_damaged_record_counts_as_none(clips, tmp_path):
    record = tmp_path / "record.json"
    record.write_text("{")
    assert source_token(clips, record) == source_token(clips, tmp_path / "none.json")


def test_record_that_was_cut_off_is_none(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    clips, record = [{"frames": str(tmp_path / "a.png")}], tmp_path / "r.json"
    fresh = source_token(clips, record)
    for text in ("", "{}", "[]", "3", '{"stat": "a"}'):
        record.write_text(text)
        assert source_token(clips, record) == fresh
