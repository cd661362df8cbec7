import errno

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merflow.errors import InputError
from merflow.storage.disk_arrays import DiskArray


def numbers(clips=7, rows=3, pixels=5):
    return np.random.default_rng(0).normal(2, 3, (clips, rows, pixels)).astype(np.float32)


@given(st.data())
def test_disk_array_reads_what_was_written(data):
    shape = [data.draw(st.integers(1, 9)) for _ in range(3)]
    rows = numbers(*shape)
    array = DiskArray(iter(rows))
    places = np.array(data.draw(st.lists(st.integers(0, shape[0] - 1), max_size=12)), dtype=int)
    assert array.shape == rows.shape and len(array) == len(rows)
    np.testing.assert_array_equal(array[places], rows[places])
    np.testing.assert_array_equal(array[:], rows)
    np.testing.assert_array_equal(array[1:3], rows[1:3])


def test_disk_array_digest_is_of_the_content():
    rows = numbers()
    assert DiskArray(rows).digest == DiskArray(rows).digest
    changed = rows.copy()
    changed[3, 1, 2] += 1e-3
    assert DiskArray(rows).digest != DiskArray(changed).digest


def test_disk_array_rejects_two_shapes_and_no_clips():
    with pytest.raises(ValueError, match="two shapes"):
        DiskArray([np.zeros((2, 3)), np.zeros((2, 4))])
    with pytest.raises(ValueError, match="no clips"):
        DiskArray([])


def test_full_disk_names_its_folder(monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("merflow.storage.disk_arrays.tempfile.TemporaryFile", Full)
    with pytest.raises(InputError, match="No space left on device after 0 clips of 60 bytes; .* set TMPDIR"):
        DiskArray(numbers())
