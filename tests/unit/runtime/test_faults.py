"""Faults of the machine and of files: disk, permissions, memory, truncated files, missing footage, divergence."""

import errno
import gc
import logging
import os
import re
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import cv2
import h5py
import numpy as np
import pytest
import torch
from repository import REPO

from merflow.datasets.synthetic.render import _write_frames
from merflow.errors import ClipError, ConfigError, InputError, advice
from merflow.evaluation.evaluate import merge
from merflow.evaluation.score_table import score_file
from merflow.footage.fingerprints import check_unchanged
from merflow.footage.frames import grey_frames
from merflow.footage.images import read_image
from merflow.learning.fit import Rows, fit
from merflow.learning.losses import make_loss
from merflow.learning.settings import LossSettings, Schedule
from merflow.preprocessing.frame_scorer.scorer import SIDE, TrainingClip, _fit
from merflow.runtime.script_context import script_context
from merflow.storage.files import atomic_write, check_writable
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import PREDICTIONS, read_table, read_table_in_parts, write_table_in_parts


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    logging.getLogger().handlers.clear()  # A log may still be open on the disk.
    gc.collect()
    subprocess.run(["umount", folder], check=True)


def rule(folder):
    """What Snakemake gives to a script."""
    facts = {"rule": "align_faces", "log": [str(folder / "log.txt")], "wildcards": {"subject": "s1"}}
    return SimpleNamespace(**facts, input=[], output=[], params={})


def failure_message(folder, error, capsys):
    """What a job that fails with ``error`` says on stderr."""
    with pytest.raises(SystemExit), script_context(rule(folder)):
        raise error
    return capsys.readouterr().err


def write_hdf5(file):
    with h5py.File(file, "w") as target:
        for number in range(20):
            target[f"x{number}"] = np.random.default_rng(0).random(40_000)


def write_table(file):
    file.write_text("x" * 3_000_000)


def write_safetensors(file):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1_000_000)}, file)


def draw_frames(file):
    noise = np.random.default_rng(0).integers(0, 255, (480, 480), np.uint8)
    _write_frames((noise for _ in range(20)), file.with_name("frames"))


@pytest.mark.parametrize("write", [write_hdf5, write_table, write_safetensors, draw_frames])
def test_full_disk_leaves_no_partial_file(small_disk, tmp_path, capsys, write):
    (small_disk / "good").write_text("good")
    with pytest.raises(SystemExit), script_context(rule(tmp_path)), atomic_write(small_disk / "new.h5") as temporary:
        write(temporary)
    text = capsys.readouterr().err
    assert "no space left" in text and "run again" in text and "Traceback" not in text
    assert [file.name for file in small_disk.iterdir() if file.is_file()] == ["good"]


def test_log_on_full_disk_is_ignored(small_disk, capsys):
    with pytest.raises(OSError, match="No space"):
        write_table(small_disk / "filling")
    with pytest.raises(SystemExit), script_context(rule(small_disk)):
        raise OSError(errno.ENOSPC, "No space left on device")
    text = capsys.readouterr().err
    assert text.count("no space left") == 1 and "Logging error" not in text


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "not enough memory (Unable to allocate 9 GiB)"),
        (MemoryError(), "not enough memory"),
        (BrokenProcessPool("A process in the process pool was terminated abruptly"), "not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), "--cores 1"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "smaller batch"),
        (PermissionError(errno.EACCES, "Permission denied", "results/x.csv"), "Permission denied (results/x.csv)"),
        (OSError(errno.EROFS, "Read-only file system", "results/x.csv"), "Read-only file system (results/x.csv)"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "results/x.csv"), "no space left"),
    ],
)
def test_machine_faults_give_one_message(tmp_path, capsys, error, message):
    text = failure_message(tmp_path, error, capsys)
    assert message in text and "finished work is kept" in text
    assert text.count("\n") == 1 and "Traceback" in (tmp_path / "log.txt").read_text()


@pytest.mark.slow
def test_memory_errors_of_libraries_are_reported(tmp_path):
    """NumPy, torch and OpenCV under a limit of memory, each in a process of its own."""
    script = """
import resource, sys
from types import SimpleNamespace
import cv2, numpy as np, torch
from merflow.runtime.script_context import script_context
from merflow.learning.losses import make_loss
from merflow.learning.settings import LossSettings, Schedule
from merflow.footage.images import read_image
from merflow.evaluation.score_table import score_file
from merflow.preprocessing.frame_scorer.scorer import SIDE, TrainingClip, _fit
resource.setrlimit(resource.RLIMIT_AS, (6_000_000_000, 6_000_000_000))
with script_context(SimpleNamespace(rule="r", log=[], wildcards={}, input=[], output=[], params={})):
    {"numpy": lambda: np.ones(2_000_000_000), "torch": lambda: torch.ones(4_000_000_000),
     "opencv": lambda: cv2.resize(np.zeros((8, 8)), (40_000, 40_000))}[sys.argv[1]]()
"""
    for kind in ("numpy", "torch", "opencv"):
        done = subprocess.run([sys.executable, "-c", script, kind], cwd=REPO, capture_output=True, text=True)
        assert done.returncode == 1 and "merflow: r : not enough memory" in done.stderr, (kind, done.stderr)


def test_advice_is_none_for_programming_errors():
    assert advice(ValueError("no")) is None and advice(OSError(errno.EBADF, "Bad file descriptor")) is None
    assert advice(RuntimeError("shapes cannot be multiplied")) is None


def test_check_writable_of_read_only_results(small_disk, tmp_path):
    check_writable(small_disk / "results")
    check_writable(tmp_path / "deep" / "below")
    assert not (tmp_path / "deep").exists()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(InputError, match=r"disk is not writable"):
        check_writable(small_disk / "results")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file is not a folder"):
        check_writable(tmp_path / "file" / "results")


# --- Files of the workflow --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_open_h5_names_truncated_file(tmp_path, share):
    file = tmp_path / "cache.h5"
    write_hdf5(file)
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"cache\.h5 is damaged.*; remove it and run again"), open_h5(file):
        pass


def write_answers(file):
    row = dict.fromkeys(PREDICTIONS, "a") | {"clip": 'one, "two"\nthree', "p_a": 0.123456789, "p_b": 0.8765}
    write_table_in_parts([[row, row | {"clip": "naïve"}, row | {"clip": "=1"}]], file, PREDICTIONS)


def test_read_table_names_truncated_file(tmp_path):
    """Cut at every byte, because a probability without its last digits is still a number."""
    file = tmp_path / "validation.csv"
    write_answers(file)
    data = file.read_bytes()
    rows = {end for end in range(1, len(data) + 1) if data[end - 1 : end] == b"\n" and data[:end].count(b'"') % 2 == 0}
    assert len(rows) == 4
    for end in range(len(data)):
        file.write_bytes(data[:end])
        if end in rows:
            read_table(file, PREDICTIONS)
            continue
        for read in (
            lambda: read_table(file, PREDICTIONS),
            lambda: list(read_table_in_parts(file, PREDICTIONS, 1)),
            lambda: merge([file], tmp_path / "all.csv"),
        ):
            with pytest.raises(InputError, match=r"validation\.csv .*; remove it and run again"):
                read()
        assert not (tmp_path / "all.csv").exists()


def test_read_table_refuses_zero_bytes(tmp_path):
    """What a disk leaves of a file that it was writing when its power went."""
    file = tmp_path / "predictions.csv"
    file.write_bytes(b"clip,truth\nc1,a\nc2,a" + bytes(50) + b"\n")
    with pytest.raises(InputError, match=r"predictions\.csv is damaged .*zero bytes"):
        read_table(file, [])


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.EMFILE])
def test_read_image_raises_disk_errors(tmp_path, monkeypatch, number):
    """Otherwise the clip would be left out for good, because its files do not change when the disk is back."""
    frame = tmp_path / "1.png"
    cv2.imwrite(str(frame), np.zeros((30, 40), np.uint8))

    def broken(*_):
        raise OSError(number, os.strerror(number), str(frame))

    assert read_image(frame, cv2.IMREAD_GRAYSCALE).shape == (30, 40)
    monkeypatch.setattr("merflow.footage.images.np.fromfile", broken)
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        read_image(frame, cv2.IMREAD_GRAYSCALE)
    assert number == errno.EMFILE or str(frame) in advice(raised.value)


def test_read_image_raises_memory_error(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((8000, 8000, 3), np.uint8))
    code = (
        "import resource, sys; from merflow.footage.images import read_image; import cv2\n"
        "now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + 60_000_000,) * 2)\n"
        "try: read_image(sys.argv[1], cv2.IMREAD_COLOR)\n"
        "except MemoryError: print('memory')"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "1.png"], capture_output=True, text=True, cwd=REPO)
    assert done.stdout == "memory\n", done.stderr


def test_open_h5_of_file_open_elsewhere(tmp_path):
    """The message does not advise to delete the file."""
    with h5py.File(tmp_path / "cache.h5", "w") as file:
        file["x"] = np.ones(3)
    code = f"import h5py, sys; f = h5py.File({str(tmp_path / 'cache.h5')!r}, 'a'); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(InputError, match="open for writing in another program"), open_h5(tmp_path / "cache.h5"):
            pass
        other.communicate("\n")
    with open_h5(tmp_path / "cache.h5") as file:
        assert file["x"][0] == 1


@pytest.mark.parametrize("rows", ["c1,a,extra\n", "c1,a\nc2,a,extra\n"])
def test_read_table_refuses_extra_cells(tmp_path, rows):
    """pandas drops the cells beyond the header, with a warning, if the first row has them."""
    file = tmp_path / "predictions.csv"
    file.write_text(f"clip,truth\n{rows}")
    for read in (lambda: read_table(file, []), lambda: list(read_table_in_parts(file, [], 1))):
        with pytest.raises(InputError, match=r"predictions\.csv.*; remove it and run again"):
            read()


def test_read_table_names_short_row(tmp_path):
    file = tmp_path / "validation.csv"
    write_answers(file)
    file.write_bytes(file.read_bytes() + b"a,0,a,a\n")
    for read in (
        lambda: list(read_table_in_parts(file, PREDICTIONS, 2)),
        lambda: merge([file], tmp_path / "all.csv"),
    ):
        with pytest.raises(
            InputError, match=r"validation\.csv is damaged .* \(row 5 has fewer cells than the header\)"
        ):
            read()


def test_score_file_without_final_newline(tmp_path):
    (tmp_path / "mine.csv").write_text("truth,predicted\na,a\nb,a")
    assert score_file(tmp_path / "mine.csv", resamples=5)[0]["n_clips"] == 2


def test_open_h5_translates_read_errors_only(tmp_path):
    file = tmp_path / "cache.h5"
    write_hdf5(file)
    with pytest.raises(InputError, match=r"cache\.h5 is damaged"), open_h5(file) as source:
        source["flow"]
    with pytest.raises(InputError, match=r"gone\.h5 does not exist"), open_h5(tmp_path / "gone.h5"):
        pass
    with pytest.raises(KeyError, match="own"), open_h5(file):
        raise KeyError("own")
    with pytest.raises(OSError, match="No space"), open_h5(file):
        raise OSError(errno.ENOSPC, "Can't synchronously write data (No space left on device)")


def test_hdf5_is_read_through_open_h5_only():
    for file in (REPO / "merflow").rglob("*.py"):
        text = file.read_text()
        if file.name != "hdf5.py":
            assert text.count("h5py.File(") == len(re.findall(r'h5py\.File\(temporary.*, "w"\)', text)), file


# --- Footage ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def clips(tmp_path):
    rows = []
    for name in ("a", "b"):
        folder = tmp_path / "people" / name
        folder.mkdir(parents=True)
        for number in range(3):
            cv2.imwrite(str(folder / f"{number}.png"), np.full((20, 20), number, np.uint8))
        rows.append({"clip": name, "frames": str(folder), "problem": ""})
    return rows


def test_check_unchanged_accepts_unchanged_footage(clips, tmp_path):
    with check_unchanged(
        [*clips, {"clip": "c", "frames": str(tmp_path / "gone"), "problem": "gone does not exist"}], "people"
    ):
        pass


def test_check_unchanged_names_missing_folder(clips, tmp_path):
    (tmp_path / "people").rename(tmp_path / "away")
    message = r"dataset people: \S*/people is gone since .* was indexed"
    with pytest.raises(InputError, match=message), check_unchanged(clips, "people"):
        pytest.fail("nothing is read")


def test_check_unchanged_stops_if_footage_disappears(clips, tmp_path):
    with pytest.raises(InputError, match=r"\S*/people is gone"), check_unchanged(clips, "people"):
        (tmp_path / "people").rename(tmp_path / "away")


def test_check_unchanged_stops_if_footage_changes(clips, tmp_path):
    with pytest.raises(InputError, match="dataset people: its files changed"), check_unchanged(clips, "people"):
        (tmp_path / "people" / "a" / "3.png").write_bytes(b"x")


def test_grey_frames_name_missing_codec(tmp_path):
    file = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for level in range(5):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    assert len(list(grey_frames(str(file)))) == 5
    file.write_bytes(file.read_bytes().replace(b"MJPG", b"QZQZ"))
    with pytest.raises(ClipError, match=r"clip\.avi .*codec"):
        list(grey_frames(str(file)))


# --- Trainings --------------------------------------------------------------------------------------------------------


def test_fit_names_epoch_of_diverged_loss():
    x, y = torch.randn(16, 4), torch.arange(16) % 2
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
    schedule = Schedule(epochs=3, patience=3, learning_rate=1e30, decay=0.0, batch=4, weight_decay=0.0)
    with pytest.raises(ConfigError, match=r"graph 8\+2: training diverged in epoch \d .*smaller learning_rate"):
        loss = make_loss(LossSettings("cross-entropy", 1.0, 0.0), y.numpy(), 2)
        fit(network, loss, Rows(x, y), None, schedule, "graph 8+2")


def test_train_scorer_stops_at_diverged_loss():
    clips = [TrainingClip(name, np.full((6, SIDE, SIDE), np.nan, np.float16), 3) for name in "ab"]
    with pytest.raises(InputError, match=r"scorer diverged in epoch 1 \(loss nan\)"):
        _fit(clips[:1], clips[1:], np.random.default_rng(0))
