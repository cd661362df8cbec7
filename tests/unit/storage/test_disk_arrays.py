"""Clips on the disk: the same numbers as in memory, and no memory for them."""

import errno
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from repository import REPO

from merflow.errors import InputError
from merflow.learning.fit import repeatable
from merflow.storage.disk_arrays import BLOCK, Batches, Centred, DiskArray
from merflow.systems.mersiamc3d import CHUNK_CLIPS, draw_pairs

CPU = torch.device("cpu")


def numbers(clips=7, rows=3, pixels=5, seed=0):
    return np.random.default_rng(seed).normal(2, 3, (clips, rows, pixels)).astype(np.float32)


@given(st.data())
def test_what_is_read_is_what_was_written(data):
    shape = [data.draw(st.integers(1, 9)) for _ in range(3)]
    rows = numbers(*shape)
    stored = DiskArray(iter(rows))
    places = np.array(data.draw(st.lists(st.integers(0, shape[0] - 1), max_size=12)), dtype=int)
    assert stored.shape == rows.shape and len(stored) == len(rows)
    np.testing.assert_array_equal(stored[places], rows[places])
    np.testing.assert_array_equal(stored[:], rows)
    np.testing.assert_array_equal(stored[1:3], rows[1:3])


def test_the_digest_is_of_the_content():
    rows = numbers()
    assert DiskArray(rows).digest == DiskArray(rows).digest
    changed = rows.copy()
    changed[3, 1, 2] += 1e-3
    assert DiskArray(rows).digest != DiskArray(changed).digest
    assert str(Centred(DiskArray(rows), np.arange(3))) != str(Centred(DiskArray(rows), np.arange(4)))
    batches = [Batches(DiskArray(rows), np.array(places), (3, 5), CPU) for places in ([0, 1], [0, 2])]
    assert str(batches[0]) != str(batches[1])


def test_clips_of_two_shapes_and_no_clips_are_refused():
    with pytest.raises(ValueError, match="two shapes"):
        DiskArray([np.zeros((2, 3)), np.zeros((2, 4))])
    with pytest.raises(ValueError, match="no clips"):
        DiskArray([])


@pytest.mark.parametrize("clips", [5, BLOCK, 2 * BLOCK + 3])
def test_centring_in_blocks_is_the_formula(clips):
    rows = numbers(clips + 4)
    train = np.random.default_rng(1).permutation(clips)
    known = rows[train].astype(np.float64)
    mean = known.mean(axis=0)
    expected = (rows - mean) / (known - mean).std(axis=(0, 2))[:, None]
    for source in (rows, DiskArray(rows)):
        np.testing.assert_allclose(Centred(source, train)[:], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(Centred(DiskArray(rows), train)[2:5], Centred(rows, train)[2:5])


def test_a_picture_without_deviation_divides_by_no_zero():
    rows = np.ones((4, 2, 3), np.float32)
    assert (Centred(rows, np.arange(4))[:] == 0).all()


def test_batches_are_the_tensors_that_training_would_have_indexed():
    rows = numbers(9, 2, 12)
    places = np.array([8, 0, 3, 5])
    whole = torch.from_numpy(rows[places]).reshape(4, 2, 3, 4)
    batches = Batches(DiskArray(rows), places, (2, 3, 4), CPU)
    chosen = torch.tensor([3, 0, 0, 2])
    assert len(batches) == 4 and torch.equal(batches[chosen], whole[chosen])
    assert torch.equal(torch.cat(list(batches.split(3))), whole)
    more = batches.followed_by(Batches(DiskArray(rows), np.array([1]), (2, 3, 4), CPU))
    assert torch.equal(more[torch.tensor([4, 1])], torch.from_numpy(rows[[1, 0]]).reshape(2, 2, 3, 4))
    by_row = Batches(DiskArray(rows), places, (12,), CPU, rows=True)
    flat = torch.from_numpy(rows[places]).reshape(8, 12)
    chosen = torch.tensor([7, 0, 6, 1, 1])
    assert len(by_row) == 8 and torch.equal(by_row[chosen], flat[chosen])
    assert torch.equal(torch.cat(list(by_row.split(3))), flat)


def test_pairs_drawn_in_parts_are_of_all_clips(monkeypatch):
    """Partners come from everywhere, not from the part that a clip was drawn with."""
    labels = torch.arange(3 * CHUNK_CLIPS) % 3
    with repeatable(0):
        places, same = draw_pairs(labels, 2)
    assert len(places) == 4 * len(labels)
    assert ((labels[places[:, 0]] == labels[places[:, 1]]).long() == same).all()
    assert (places[:, 0] != places[:, 1]).all()
    apart = (places[:, 0] // CHUNK_CLIPS != places[:, 1] // CHUNK_CLIPS).float().mean()
    assert 0.6 < apart < 0.73, "two of three parts are others"


def test_memory_does_not_grow_with_the_clips():
    """200 MB of clips on the disk, of which batches are read and standardised: a fresh process needs none of it."""
    code = (
        "import resource, numpy as np, torch\n"
        "from merflow.storage.disk_arrays import *\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "one = np.ones((1, 50_000), np.float32)\n"
        "clips = DiskArray(one * n for n in range(1000))\n"
        "rows = Batches(Centred(clips, np.arange(900)), np.arange(1000), (50_000,), torch.device('cpu'))\n"
        "for part in rows.split(16): last = part\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=True)
    assert int(done.stdout) < 80_000, "KiB; one block and its copies in float64 are 40,000"


def test_no_space_for_the_clips_names_the_folder_that_is_full(monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("merflow.storage.disk_arrays.tempfile.TemporaryFile", Full)
    with pytest.raises(InputError, match="No space left on device after 0 clips of 60 bytes; .* set TMPDIR"):
        DiskArray(numbers())
