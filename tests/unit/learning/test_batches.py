"""Clips on disk as batches: the same numbers as in memory, without holding all clips."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from repository import REPO

from merflow.learning.batches import BLOCK, Batches, Centred
from merflow.storage.disk_arrays import DiskArray

CPU = torch.device("cpu")


def numbers(clips=7, rows=3, pixels=5):
    return np.random.default_rng(0).normal(2, 3, (clips, rows, pixels)).astype(np.float32)


@pytest.mark.parametrize("clips", [5, BLOCK, 2 * BLOCK + 3])
def test_centred_in_blocks_is_the_formula(clips):
    rows = numbers(clips + 4)
    train = np.random.default_rng(1).permutation(clips)
    training = rows[train].astype(np.float64)
    mean = training.mean(axis=0)
    expected = (rows - mean) / (training - mean).std(axis=(0, 2))[:, None]
    for source in (rows, DiskArray(rows)):
        np.testing.assert_allclose(Centred(source, train)[:], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(Centred(DiskArray(rows), train)[2:5], Centred(rows, train)[2:5])


def test_centred_images_without_deviation_are_zero():
    rows = np.ones((4, 2, 3), np.float32)
    assert (Centred(rows, np.arange(4))[:] == 0).all()


def test_batches_index_like_a_tensor():
    rows = numbers(9, 2, 12)
    indices = np.array([8, 0, 3, 5])
    tensor = torch.from_numpy(rows[indices]).reshape(4, 2, 3, 4)
    batches = Batches(DiskArray(rows), indices, (2, 3, 4), CPU)
    chosen = torch.tensor([3, 0, 0, 2])
    assert len(batches) == 4 and torch.equal(batches[chosen], tensor[chosen])
    assert torch.equal(torch.cat(list(batches.split(3))), tensor)


def test_batches_by_row_index_like_a_tensor_of_rows():
    rows = numbers(9, 2, 12)
    indices = np.array([8, 0, 3, 5])
    by_row = Batches(DiskArray(rows), indices, (12,), CPU, rows=True)
    flat = torch.from_numpy(rows[indices]).reshape(8, 12)
    chosen = torch.tensor([7, 0, 6, 1, 1])
    assert len(by_row) == 8 and torch.equal(by_row[chosen], flat[chosen])
    assert torch.equal(torch.cat(list(by_row.split(3))), flat)


def test_text_of_batches_identifies_clips_and_places():
    rows = numbers()
    assert str(Centred(DiskArray(rows), np.arange(3))) != str(Centred(DiskArray(rows), np.arange(4)))
    batches = [Batches(DiskArray(rows), np.array(indices), (3, 5), CPU) for indices in ([0, 1], [0, 2])]
    assert str(batches[0]) != str(batches[1])


def test_memory_of_batches_does_not_grow_with_clips():
    """A new process reads 200 MB of clips on disk in centred batches."""
    code = (
        "import resource, numpy as np, torch\n"
        "from merflow.learning.batches import Batches, Centred\n"
        "from merflow.storage.disk_arrays import DiskArray\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "image = np.ones((1, 50_000), np.float32)\n"
        "clips = DiskArray(image * n for n in range(1000))\n"
        "rows = Batches(Centred(clips, np.arange(900)), np.arange(1000), (50_000,), torch.device('cpu'))\n"
        "for part in rows.split(16): last = part\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=True)
    assert int(done.stdout) < 80_000, "KiB; one block and its copies in float64 are 40,000"
