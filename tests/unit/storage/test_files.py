import errno
import os
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merflow.storage.files import atomic_write, digest, remove_stale_temporaries, safe_filename, scratch_folder


@given(st.text(min_size=1, max_size=12).filter(lambda s: not any(0xD800 <= ord(c) < 0xE000 for c in s)))
def test_safe_filename_is_one_reversible_path_component(name):
    encoded = safe_filename(name)
    assert unquote(encoded) == name
    assert not set(encoded) & set("/\\\0 '\"\n") and not encoded.startswith(".")


@given(st.lists(st.text("ab/%._~", min_size=1, max_size=4), unique=True))
def test_safe_filename_is_unique_per_name(names):
    assert len({safe_filename(name) for name in names}) == len(names)


@given(st.text("aé/%", min_size=140, max_size=400), st.text("aé/%", min_size=140, max_size=400))
def test_safe_filename_of_long_names_is_short_and_unique(first, second):
    assert len(safe_filename(first)) <= 150
    assert (safe_filename(first) == safe_filename(second)) == (first == second)


def test_atomic_write_replaces_the_file_or_leaves_it(tmp_path):
    target = tmp_path / "folder" / "file.txt"
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert not target.exists() and not list(target.parent.iterdir())
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    with atomic_write(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new" and list(target.parent.iterdir()) == [target]


def test_stale_temporaries_of_one_path_are_removed(tmp_path):
    (tmp_path / ".S1.123.tmp.h5").write_text("left by process 123")
    (tmp_path / ".S1.124.tmp.h5").mkdir()  # Some outputs are folders.
    (tmp_path / ".S1.124.tmp.h5" / "1.png").touch()
    with atomic_write(tmp_path / "S1.1.h5") as temporary:
        temporary.write_text("at work")
        remove_stale_temporaries(tmp_path / "S1.h5")
    assert [file.name for file in tmp_path.iterdir()] == ["S1.1.h5"]


def test_atomic_write_fails_if_fsync_fails(tmp_path, monkeypatch):
    """A server or a quota may accept a write and reject it only when the content must be on the disk."""
    target, late = tmp_path / "file.txt", errno.EDQUOT
    target.write_text("old")

    def refuse(number):
        assert target.read_text() == "old" and os.fstat(number).st_size == 3
        raise OSError(late, os.strerror(late))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="quota"), atomic_write(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]
    late = errno.EINVAL  # A file system without fsync.
    with atomic_write(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_scratch_folder_is_removed_also_after_a_kill(tmp_path):
    target = tmp_path / "tables" / "table.csv"
    with pytest.raises(RuntimeError), scratch_folder(target) as folder:
        (folder / "part.csv").touch()
        raise RuntimeError
    assert not list(target.parent.iterdir())
    with scratch_folder(target) as folder:
        (folder / "part.csv").touch()
        remove_stale_temporaries(target)  # As the next job after a killed one does.
        assert not folder.exists()


def test_digest_differs_between_texts():
    assert digest("a", "b") == digest("a", "b") != digest("ab") != digest("b", "a")
