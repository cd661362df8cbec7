"""The search of one source: stored candidates, their faces, and sources that cannot be searched."""

import os
import shutil
from dataclasses import replace

import cv2
import h5py
import pytest
from prediction_sources import source_clip, write_picture
from stage_settings import align_settings, preparation, spotting_settings

from merflow.datasets.synthetic.long_clips import CHOOSING, STANDARD, film_long, plan_long
from merflow.errors import InputError
from merflow.footage.clip import Clip
from merflow.inference import search
from merflow.inference.candidates import gather_candidates
from merflow.storage.tables import INTERVALS, read_table, write_table
from merflow.study.sources import list_sources


def search_source(source, folder, alone=False):
    search.search_source(source, None, spotting_settings(), folder, alone)


def test_search_source_without_face_fails_only_if_alone(tmp_path):
    for number in range(4):
        write_picture(tmp_path / "frames" / f"{number}.png", number)
    with pytest.raises(InputError, match=r"no face found in frames 0\.\.3"):
        search_source(source_clip(tmp_path / "frames"), tmp_path / "out", alone=True)
    search_source(source_clip(tmp_path / "frames"), tmp_path / "out")
    with h5py.File(tmp_path / "out/search.h5") as file:
        assert "no face found" in file.attrs["status"]
    assert read_table(tmp_path / "out/intervals.csv", INTERVALS).empty
    (tmp_path / "bad.mp4").write_bytes(b"this is no video" * 100)
    with pytest.raises(InputError, match=r"bad\.mp4 cannot be opened"):
        search_source(source_clip(tmp_path / "bad.mp4"), tmp_path / "out", alone=True)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A drawn video of 3.2 s at 25 frames per second with one expression, and when it is."""
    settings = replace(STANDARD, seconds=3.2, fps=25, expressions=1, blinks=0.0, duration=(0.4, 0.5))
    clip = plan_long(CHOOSING + 40, settings)
    path = tmp_path_factory.mktemp("video") / "long.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (240, 240))
    for frame in film_long(clip):
        writer.write(frame)
    writer.release()
    return path, clip


def test_search_source_stores_frames_of_candidates(video, tmp_path):
    path, clip = video
    search_source(source_clip(path), tmp_path)
    rows = read_table(tmp_path / "intervals.csv", INTERVALS)
    (true,) = clip.expressions
    assert list(rows["found"]) == [search.SEARCHED] and rows["fps"].iloc[0] == 25
    onset, offset = int(rows["onset"].iloc[0]), int(rows["offset"].iloc[0])
    assert onset <= true.apex <= offset and abs(onset - true.onset) <= 3 and abs(offset - true.offset) <= 3
    (clip,) = search.candidate_clips(source_clip(path), tmp_path / "intervals.csv")
    kept = sorted(int(file.stem) for file in tmp_path.glob("_frames/*/*.png"))
    assert kept == list(range(onset, offset + 1)) and clip.apex is None and clip.onset == onset
    search.align_candidates(
        source_clip(path), tmp_path / "intervals.csv", tmp_path / "faces.h5", align_settings(size=64)
    )
    with h5py.File(tmp_path / "faces.h5") as file:
        (group,) = file.values()
        assert group.attrs["status"] == "ok" and len(group["frames"]) == len(kept)


@pytest.mark.parametrize(
    ("annotation", "kind", "ends"),
    [
        ({"onset": 10, "offset": 60}, "given", (10, 60)),
        ({"fps": 100.0}, "whole", (0, 79)),
        ({"apex": 40}, "given", (34, 46)),
    ],
)
def test_search_source_of_short_or_annotated_clip(video, tmp_path, monkeypatch, annotation, kind, ends):
    monkeypatch.setattr(search, "spot", None)
    monkeypatch.setattr("merflow.inference.spotting._MotionComparison.__call__", lambda *_: (0.1, 0.1))
    search_source(source_clip(video[0], **annotation), tmp_path)
    (row,) = read_table(tmp_path / "intervals.csv", INTERVALS).to_dict("records")
    assert (row["found"], row["onset"], row["offset"]) == (kind, *ends) and row["frames"] == str(video[0])
    (clip,) = search.candidate_clips(source_clip(video[0]), tmp_path / "intervals.csv")
    assert clip.apex == annotation.get("apex")


@pytest.mark.parametrize("whole", [True, False])
def test_search_and_align_of_names_that_are_not_utf8(video, tmp_path, whole):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/f\xe9/m\xe9.mp4")
    os.mkdir(os.path.dirname(path))
    shutil.copy(video[0], path)
    (row,) = list_sources(path).values()
    assert (row["frames"], row["clip"], row["problem"]) == (path, r"m\udce9.mp4", "")
    ends = {"onset": 10, "offset": 30} if whole else {}
    search_source(Clip(**row | ends), tmp_path / "out")
    search.align_candidates(
        Clip(**row | ends), tmp_path / "out/intervals.csv", tmp_path / "faces.h5", align_settings(size=32)
    )
    with h5py.File(tmp_path / "faces.h5") as file:
        (group,) = file.values()
        assert group.attrs["status"] == "ok" and group.attrs["clip"].startswith(r"m\udce9.mp4")


def test_search_source_status_of_name_that_is_not_utf8(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/m\xe9.mp4")
    with open(path, "wb") as file:
        file.write(b"this is no video" * 100)
    search_source(source_clip(path), tmp_path / "out")
    with h5py.File(tmp_path / "out/search.h5") as file:
        assert r"m\udce9.mp4 cannot be opened" in file.attrs["status"]


def test_align_candidates_stops_if_footage_was_removed(tmp_path):
    frames = tmp_path / "disk" / "clip"
    for number in range(3):
        write_picture(frames / f"{number}.png")
    rows = [{"clip": "it", "source": "it", "found": "whole", "frames": str(frames), "onset": 0, "offset": 2, "fps": 9}]
    write_table(rows, tmp_path / "intervals.csv", INTERVALS)
    files = tmp_path / "intervals.csv", tmp_path / "faces.h5"
    search.align_candidates(source_clip(frames), *files, align_settings())
    (tmp_path / "faces.h5").unlink()
    (tmp_path / "disk").rename(tmp_path / "away")
    with pytest.raises(InputError, match=r"clips: \S*/disk is gone"):
        search.align_candidates(source_clip(frames), *files, align_settings())
    assert not (tmp_path / "faces.h5").exists()


def write_search_results(folder, status):
    folder.mkdir()
    with h5py.File(folder / "search.h5", "w") as file:
        file.attrs.update(clip=folder.name, status=status)
    write_table([], folder / "intervals.csv", INTERVALS)
    return [str(folder / "search.h5")], [str(folder / "intervals.csv")]


def test_gather_candidates_fails_only_if_all_sources_fail(tmp_path):
    good = write_search_results(tmp_path / "good", "ok")
    bad = write_search_results(tmp_path / "bad", "no face found in it")
    prepared = preparation(align={"size": 32}, keyframes={"count": 3})
    attributes = {"preparation": "default", "settings": prepared, "code": "x"}
    files = {"cache": tmp_path / "cache.h5", "quality": tmp_path / "quality.csv"}
    gather_candidates(good[0] + bad[0], good[1] + bad[1], [], [], [], **files, **attributes)
    with h5py.File(tmp_path / "cache.h5") as file:
        assert len(file["clip"]) == 0 and file["flow"].shape == (0, 3, 3, 32, 32)
    with pytest.raises(InputError, match="bad: no face found in it"):
        gather_candidates(*bad, [], [], [], **files, **attributes)
