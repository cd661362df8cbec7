"""Damaged videos: frames that are damaged, missing, or build on such ones, and their numbers."""

import av
import numpy as np
import pytest
from videos import damage, error, fields, read, wave, waves, write_video

from merflow.errors import ClipError
from merflow.footage.frames import grey_frames
from merflow.footage.video import INTERLACED, frame_rate, read_video


def textured(count):
    """Return moving pictures with grain, in which traces of other frames show."""
    chance = np.random.default_rng(0)
    return [np.clip(picture + chance.normal(0, 6, picture.shape), 0, 255).astype(np.uint8) for picture in waves(count)]


def key_frames(file):
    with av.open(str(file)) as container:
        return [n for n, frame in enumerate(container.decode(video=0)) if frame.key_frame] + [20]


def lose(source, target, first, count):
    """Copy a file without the bytes of some packets of its video."""
    with av.open(str(source)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = source.read_bytes()
    target.write_bytes(data[: positions[first]] + data[positions[first + count] :])
    return target


def assert_true_pictures(numbers, read_pictures, pictures):
    """Assert that every picture is that of its number, without traces of another one."""
    usual = np.median(
        [error(picture, pictures[number]) for number, picture in zip(numbers, read_pictures, strict=True)]
    )
    for number, picture in zip(numbers, read_pictures, strict=True):
        assert error(picture, pictures[number]) < 1.3 * usual + 0.5
        assert min(range(len(pictures)), key=lambda n: error(picture, pictures[n])) == number


@pytest.mark.parametrize("how", ["zeros", "cut", "noise"])
@pytest.mark.parametrize(
    ("name", "encoder", "pixels", "options"),
    [
        ("v.avi", "mjpeg", "yuvj420p", {}),
        ("v.mov", "mjpeg", "yuvj420p", {}),
        ("v.avi", "mpeg4", "yuv420p", {}),
        ("v.mp4", "mpeg4", "yuv420p", {"bf": "2", "g": "6"}),
        ("v.mp4", "libx264", "yuv420p", {"g": "8"}),
        ("v.mkv", "libx264", "yuv420p", {"g": "8", "bf": "0"}),
        ("v.mov", "prores_ks", "yuv422p10le", {}),
        ("v.mkv", "mpeg2video", "yuv420p", {"g": "9", "bf": "2"}),
        ("v.mov", "mpeg2video", "yuv420p", {"g": "9", "bf": "2"}),
    ],
)
def test_damaged_frames_keep_their_numbers(tmp_path, name, encoder, pixels, options, how):
    """Frames up to the next key frame may build on a damaged one."""
    pictures = textured(20)
    whole = write_video(tmp_path / name, pictures, encoder, pixels, options=options)
    file = damage(whole, tmp_path / f"bad-{name}", 10, how)
    numbers, seconds, read_pictures, (note,) = read(file)
    missing = sorted(set(range(20)) - set(numbers))
    first, last = missing[0], missing[-1]
    assert missing == list(range(first, last + 1)) and 10 - 3 <= first <= 10 + 3
    assert last + 1 in key_frames(whole), "those up to the next key frame"
    assert seconds == pytest.approx(np.array(numbers) / 25, abs=1e-3)
    shown = f"{first} ({first / 25:.2f} s)" + (f" to {last} ({last / 25:.2f} s)" if last > first else "")
    assert note == f"damaged frames left out: {shown}"
    assert_true_pictures(numbers, read_pictures, pictures)
    fault = r"(is damaged|builds on a damaged frame)"
    with pytest.raises(ClipError, match=rf"bad-{name}: frame {first} \({first / 25:.2f} s\) {fault}"):
        list(grey_frames(str(file), first - 2, first + 2))
    if last > first:
        with pytest.raises(ClipError, match=rf"bad-{name}: frame {last} \({last / 25:.2f} s\) {fault}"):
            list(grey_frames(str(file), last, 19))
    assert len(list(grey_frames(str(file), 0, first - 1))) == first
    notes = []
    assert len(list(grey_frames(str(file), last + 1, 19, notes))) == 19 - last
    assert notes == [note], "damage before the onset is noted"


LOSSY = [
    ("v.ts", "libx264", "yuv420p", {"g": "9", "bf": "2"}),
    ("v.ts", "libx264", "yuv420p", {"g": "9", "bf": "0"}),
    ("v.ts", "mpeg2video", "yuv420p", {"g": "9", "bf": "2"}),
    ("v.mpg", "mpeg2video", "yuv420p", {"g": "9", "bf": "2"}),
    ("v.mkv", "libx264", "yuv420p", {"g": "9"}),
    ("v.flv", "flv", "yuv420p", {"g": "9"}),
]


@pytest.mark.parametrize(("first", "count"), [(5, 1), (5, 3), (4, 1), (12, 2)])
@pytest.mark.parametrize(("name", "encoder", "pixels", "options"), LOSSY)
def test_missing_packets_do_not_renumber_frames(tmp_path, name, encoder, pixels, options, first, count):
    """As a recording of a broadcast or a copy from a bad disk loses them: the bytes of some packets are gone."""
    pictures = textured(30)
    whole = write_video(tmp_path / name, pictures, encoder, pixels, options=options)
    file = lose(whole, tmp_path / f"bad-{name}", first, count)
    numbers, seconds, read_pictures, notes = read(file)
    gone = sorted(set(range(30)) - set(numbers))
    assert 1 <= len(gone) <= 30 - 9 and numbers[-1] == 29
    assert seconds == pytest.approx(np.array(numbers) / 25, abs=0.03)
    assert_true_pictures(numbers, read_pictures, pictures)
    assert any(note.startswith("frames missing from the file: ") for note in notes)
    assert not any("rate varies" in note for note in notes)
    with pytest.raises(ClipError, match=rf"frame {gone[0]} \(\d\.\d\d s\) (is damaged|is missing|builds on)"):
        list(grey_frames(str(file), 0, 29))
    assert len(list(grey_frames(str(file), gone[-1] + 1, 29))) == 29 - gone[-1]
    assert frame_rate(file) == (25, 25)


@pytest.mark.parametrize(("name", "encoder"), [("v.mkv", "libx264"), ("v.ts", "libx264"), ("v.mp4", "libx264")])
@pytest.mark.parametrize(
    "steps",
    [
        [0.1] * 6 + [0.02] * 13,
        [0.033, 0.041, 0.028, 0.037, 0.031, 0.066] * 3,
        [0.04] * 10 + [0.08] * 9,
        [0.033, 0.05] * 9,
        [0.04] * 9 + [0.013] + [0.04] * 9,
    ],
)
def test_no_frame_is_missing_where_the_rate_varies(tmp_path, name, encoder, steps):
    times = np.cumsum([0, *steps])
    numbers, seconds, _, notes = read(write_video(tmp_path / name, waves(len(times)), encoder, times=times))
    assert numbers == list(range(len(times))) and seconds == pytest.approx(times, abs=2e-3)
    assert not any("missing" in note or "damaged" in note for note in notes)


def test_frames_of_mp4_are_those_that_it_lists(tmp_path):
    """A phone may leave out a frame: the next one has the next number, as in every player."""
    times = np.delete(np.arange(21), 10) / 25
    numbers, seconds, _, notes = read(write_video(tmp_path / "v.mp4", waves(20), times=times))
    assert numbers == list(range(20)) and seconds == pytest.approx(times)
    assert notes == ["the frame rate varies from 12.5 to 25 per second"]


def test_long_pause_is_no_endless_row_of_missing_frames(tmp_path):
    times = [*np.arange(10) / 25, *(1e6 + np.arange(10) / 25)]
    numbers = read(write_video(tmp_path / "v.mkv", waves(20), times=times, options={"g": "1"}))[0]
    assert numbers[:10] == list(range(10)) and numbers[10] == 9 + 60 * 25


@pytest.mark.parametrize(("name", "encoder"), [("v.mpg", "mpeg2video"), ("v.ts", "mpeg2video")])
def test_times_go_on_where_recordings_were_joined(tmp_path, name, encoder):
    whole = write_video(tmp_path / name, waves(40), encoder, options={"g": "1"}).read_bytes()
    (tmp_path / f"two-{name}").write_bytes(whole + whole)
    frames = list(read_video(tmp_path / f"two-{name}", []))
    assert [frame.number for frame in frames] == list(range(80))
    assert [frame.seconds for frame in frames] == pytest.approx(np.arange(80) / 25, abs=0.001)
    whole = [frame for frame in frames if not frame.fault]  # TS reports a packet where they meet as incomplete.
    assert len(whole) >= 79
    assert max(error(frame.picture, wave(frame.number % 40)) for frame in whole) < 3


@pytest.mark.parametrize(
    ("name", "encoder", "pixels"), [("v.avi", "mjpeg", "yuvj420p"), ("v.mxf", "mpeg2video", "yuv422p")]
)
def test_frames_that_are_missing_at_unknown_times(tmp_path, name, encoder, pixels):
    """These have no times in the file, so it shows only in the number of frames that the file states."""
    file = lose(write_video(tmp_path / name, waves(30), encoder, pixels), tmp_path / f"bad-{name}", 5, 3)
    with pytest.raises(ClipError, match=rf"bad-{name} lacks 3 of the frames that it states, at unknown times"):
        list(grey_frames(str(file), 20, 22))
    assert "lacks 3 of the frames" in read(file)[3][0]


def test_damaged_key_frame_of_interlaced_video(tmp_path):
    whole = write_video(tmp_path / "v.mkv", fields(8, 0), "libx264", order=2, options={"flags": "+ildct", "g": "1"})
    numbers, _, pictures, notes = read(damage(whole, tmp_path / "bad.mkv", 4))
    assert numbers == [0, 1, 2, 3, 5, 6, 7] and notes[0] == INTERLACED and "4 (0.16 s)" in notes[1]
    assert error(pictures[numbers.index(6)], wave(6)) < 2
