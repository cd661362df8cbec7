"""The search of one source: stored candidates, their faces, and sources that cannot be searched."""

import os
import re
import shutil
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest
from long_clips import CHOOSING, STANDARD, film_long, plan_long
from prediction_sources import source_clip, write_picture
from stage_settings import align_settings, preparation, spotting_settings
from still_clip import still_clip
from videos import damage, write_video

from merflow.errors import InputError
from merflow.footage.clip import Clip
from merflow.footage.video import TimedFrame
from merflow.inference import search
from merflow.inference.candidates import gather_candidates
from merflow.inference.motion_track import FEATURES
from merflow.inference.spotters.spotter import Detection
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


def test_fitted_system_chooses_the_candidates(video, tmp_path):
    tracks = []

    def spot(track):
        tracks.append(track)
        return [
            Detection(10, 14, 20, "micro", 0.9, accepted=True),
            Detection(30, 34, 40, "micro", 0.2),
            Detection(5, 30, 60, "macro", 0.8, accepted=True),
        ]

    search.search_source(source_clip(video[0]), None, spotting_settings(), tmp_path, spot=spot)
    rows = read_table(tmp_path / "intervals.csv", INTERVALS)
    assert rows[["onset", "offset", "strength"]].to_numpy().tolist() == [[10, 20, 0.9]], "accepted micro-expressions"
    assert set(tracks[0].curves) == {"micro", "macro"}, "as in the study that fitted it"
    assert len(list(tmp_path.glob("_frames/*/*.png"))) == 11


@pytest.mark.parametrize(
    ("annotation", "kind", "ends"),
    [
        ({"onset": 10, "offset": 60}, "given", (10, 60)),
        ({"fps": 100.0}, "whole", (0, 79)),
        ({"apex": 40}, "given", (34, 46)),
    ],
)
def test_search_source_of_short_or_annotated_clip(video, tmp_path, monkeypatch, annotation, kind, ends):
    still = (0.1, 0.1, np.zeros(len(FEATURES), np.float32))
    monkeypatch.setattr("merflow.inference.motion.MotionComparison.__call__", lambda *_: still)
    search_source(source_clip(video[0], **annotation), tmp_path)
    (row,) = read_table(tmp_path / "intervals.csv", INTERVALS).to_dict("records")
    assert (row["found"], row["onset"], row["offset"]) == (kind, *ends) and row["frames"] == str(video[0])
    (clip,) = search.candidate_clips(source_clip(video[0]), tmp_path / "intervals.csv")
    assert clip.apex == annotation.get("apex")


def test_search_source_with_apex_after_end_of_video_is_searched(video, tmp_path):
    search_source(source_clip(video[0], apex=80), tmp_path)
    rows = read_table(tmp_path / "intervals.csv", INTERVALS)
    assert list(rows["found"]) == [search.SEARCHED] and list(rows["apex"]) == [""]
    with h5py.File(tmp_path / "search.h5") as file:
        assert f"apex 80 is no frame of {video[0]}; it is spotted" in file.attrs["notes"]


@pytest.mark.parametrize("whole", [True, False])
def test_search_and_align_of_names_that_are_not_utf8(video, tmp_path, whole):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/f\xe9/m\xe9.mp4")
    os.mkdir(os.path.dirname(path))
    shutil.copy(video[0], path)
    (row,) = list_sources(path).values()
    assert (row["frames"], row["clip"], row["problem"]) == (path, r"m\udce9.mp4", "")
    ends = {"onset": 10, "offset": 30} if whole else {}
    search_source(Clip.from_row(row | ends), tmp_path / "out")
    search.align_candidates(
        Clip.from_row(row | ends), tmp_path / "out/intervals.csv", tmp_path / "faces.h5", align_settings(size=32)
    )
    with h5py.File(tmp_path / "faces.h5") as file:
        (group,) = file.values()
        assert group.attrs["status"] == "ok" and group.attrs["clip"].startswith(r"m\udce9.mp4")


def test_search_goes_by_time_if_the_frame_rate_varies(tmp_path):
    """A fifth of the frames are left up to half a second before the expression, as by a phone in dim light."""
    drawn = plan_long(
        CHOOSING + 40, replace(STANDARD, seconds=3.2, fps=50, expressions=1, blinks=0.0, duration=(0.4, 0.5))
    )
    (true,) = drawn.expressions
    kept = [number for number in range(drawn.frames) if number % 5 == 0 or number > true.onset - 25]
    frames = list(film_long(drawn))
    pictures = [cv2.cvtColor(frames[number], cv2.COLOR_BGR2GRAY) for number in kept]
    path = write_video(tmp_path / "phone.mp4", pictures, "mpeg4", times=[number / 50 for number in kept])
    search_source(source_clip(path), tmp_path / "out")
    (row,) = read_table(tmp_path / "out/intervals.csv", INTERVALS).to_dict("records")
    assert row["fps"] == pytest.approx(50, rel=0.02)
    for name in ("onset", "offset"):
        assert kept[int(row[name])] / 50 == pytest.approx(getattr(true, name) / 50, abs=0.08)
    with h5py.File(tmp_path / "out/search.h5") as file:
        assert file.attrs["notes"] == "the frame rate varies from 10 to 50 per second"
        assert file.attrs["frames"] == len(kept) and file.attrs["seconds"] == pytest.approx(3.2, abs=0.05)
        assert file["frame_seconds"][:] == pytest.approx(np.array(kept) / 50, abs=1e-3)
        strongest = file["centres"][:][np.nanargmax(file["motion"][:])]
        assert strongest == pytest.approx(true.apex / 50, abs=0.1)


def test_search_of_case_vfr(cases_folder, tmp_path):
    search_source(source_clip(cases_folder / "vfr" / "vfr.mp4"), tmp_path)
    (row,) = read_table(tmp_path / "intervals.csv", INTERVALS).to_dict("records")
    with h5py.File(tmp_path / "search.h5") as file:
        seconds = file["frame_seconds"][:]
    assert seconds[int(row["onset"])] == pytest.approx(3.8, abs=0.06)
    assert seconds[int(row["offset"])] == pytest.approx(4.2, abs=0.06)


def test_search_skips_and_notes_damaged_frames(video, tmp_path):
    clip = video[1]
    (true,) = clip.expressions
    pictures = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in film_long(clip)]
    whole = write_video(tmp_path / "whole.avi", pictures, "mjpeg", "yuvj420p")
    bad = damage(whole, tmp_path / "bad.avi", true.apex + 1, "cut")
    search_source(source_clip(bad), tmp_path / "out")
    (row,) = read_table(tmp_path / "out/intervals.csv", INTERVALS).to_dict("records")
    assert row["onset"] <= true.apex <= row["offset"]
    kept = sorted(int(file.stem) for file in (tmp_path / "out").glob("_frames/*/*.png"))
    assert kept == [n for n in range(int(row["onset"]), int(row["offset"]) + 1) if n != true.apex + 1]
    with h5py.File(tmp_path / "out/search.h5") as file:
        assert file.attrs["notes"].startswith(f"damaged frames left out: {true.apex + 1} (")
        assert file.attrs["frames"] == clip.frames - 1 and file.attrs["last"] == clip.frames - 1
    given = source_clip(bad, onset=true.apex - 3, offset=true.apex + 4)
    search_source(given, tmp_path / "given")
    search.align_candidates(given, tmp_path / "given/intervals.csv", tmp_path / "faces.h5", align_settings(size=64))
    with h5py.File(tmp_path / "faces.h5") as file:
        (group,) = file.values()
        assert re.search(rf"bad\.avi: frame {true.apex + 1} \(\d\.\d\d s\) is damaged", group.attrs["status"])


def test_search_of_video_that_is_cut_off_reads_what_is_there(video, tmp_path):
    pictures = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in film_long(video[1])]
    whole = write_video(tmp_path / "v.avi", pictures, "mjpeg", "yuvj420p").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) * 3 // 4])
    search_source(source_clip(tmp_path / "cut.avi"), tmp_path / "out")
    with h5py.File(tmp_path / "out/search.h5") as file:
        last = int(file.attrs["last"])
        assert file.attrs["status"] == "ok" and len(pictures) / 2 < last < len(pictures) - 10
        assert file.attrs["notes"].endswith(f"cut.avi is cut off after frame {last}; copy it again")
    search_source(source_clip(tmp_path / "cut.avi", onset=10, offset=last + 5), tmp_path / "given")
    with h5py.File(tmp_path / "given/search.h5") as file:
        assert "is cut off" in file.attrs["status"], "the clip is not complete"


def test_bit_depth_is_that_of_the_whole_source(tmp_path):
    """A candidate whose images are dark is scaled as the search scaled it."""
    picture = cv2.resize(still_clip(0, 8, noise=0.0, drift=0.0)[0], (240, 240), interpolation=cv2.INTER_AREA)
    (tmp_path / "frames").mkdir()
    for number in range(20):
        image = picture.astype(np.uint16) << (4 if number == 0 else 2)
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), image)
    source = source_clip(tmp_path / "frames", apex=15, fps=10.0)
    search_source(source, tmp_path / "out")
    search.align_candidates(source, tmp_path / "out/intervals.csv", tmp_path / "faces.h5", align_settings(size=64))
    with h5py.File(tmp_path / "faces.h5") as file:
        (group,) = file.values()
        assert group.attrs["status"] == "ok" and group.attrs["onset"] > 0 and group.attrs["bit_depth"] == 12


@pytest.mark.parametrize(
    ("seconds", "rate", "expected"),
    [
        ([0, 0.04, 0.08, 0.12], 25, [0, 1, 2, 3]),
        ([4, 4.033, 4.067, 4.1], 30, [0, 1, 2, 3]),  # As Matroska rounds them.
        ([0, 0.1, 0.12, 0.14], 50, [0, 0, 0, 0, 0, 1, 2, 3]),
        ([0, 0.02, 0.035, 0.04], 50, [0, 1, 2]),  # Two frames within one tick.
        ([0, 0.1, 9.0, 9.1], 10, [0] + [1] * 21 + [2, 3]),  # A gap counts as two seconds.
        ([0, 0.1, 0.1, 0.2], 10, [0, 1, 3]),
    ],
)
def test_timeline_shows_each_frame_until_the_next(seconds, rate, expected):
    timeline = search.Timeline()
    frames = [TimedFrame(10 + n, time, np.full((2, 2), n, np.uint8)) for n, time in enumerate(seconds)]
    ticks = list(timeline.ticks(frames, rate))
    assert [tick for tick, _ in ticks] == list(range(len(expected)))
    assert [picture[0, 0] for _, picture in ticks] == expected
    assert list(timeline.numbers) == [10 + n for n in expected]
    assert list(timeline.seconds) == [seconds[n] for n in expected]
    assert timeline.tick(11) == expected.index(1) and timeline.tick(99) == len(expected) - 1


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
    with h5py.File(tmp_path / "search.h5", "w") as file:
        file.attrs["bit_depth"] = 16
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
