"""Padding, order of rows and files of file managers do not change the index."""

import random
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import dataset_files
import dataset_trees
import pytest
from dataset_files import Take
from hypothesis import given, settings
from hypothesis import strategies as st

JUNK = st.lists(
    st.sampled_from(
        [
            *dataset_files.HIDDEN_FILES,
            "._S01-01-001",
            "._006_1_2",
            ".Spotlight-V100",
            "notes.txt",
            "._img46.jpg",
            "Icon\r",
        ]
    ),
    unique=True,
)
FEW = settings(max_examples=15, deadline=None)


@contextmanager
def scratch():
    """A folder for one example; the end of a random name could be that of another part of SMIC (`_e`)."""
    folder = Path(tempfile.mkdtemp(suffix="x"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def essence(index, root):
    """Clips without the root of the tree and problems without rows, which order and hidden files must not change."""
    clips = {
        clip.clip: replace(
            clip, frames=str(Path(clip.frames).relative_to(root)), problem=clip.problem.replace(str(root), "")
        )
        for clip in index.clips
    }
    assert len(clips) == len(index.clips)
    return clips, sorted((p.clip, p.field, p.effect) for p in index.problems), sorted(index.classes)


def mmew_takes():
    return [
        Take(1, "S01-01-001", "happiness", 1, 3, 5),
        Take(1, "S01-04-001", "others", 998, 1000, 1003, first=8, last=13),
        Take(2, "S02-02-001", "surprise", 9, 99, 11),
        Take(2, "S02-05-001", "fear", 5, 3, 1, first=1, last=5),
        Take(3, "S03-07-001", "anger", folder=False),
    ]


def samm_takes():
    return [
        Take(6, "006_1_2", "anger", 5562, 5564, 5567, objective=3),
        Take(6, "006_1_3", "other", 98, None, 102, objective=7),
        Take(7, "007_1_1", "happiness", 9998, 10001, 10004, objective=1),
        Take(8, "008_1_1", "fear", folder=False, objective=6),
    ]


def casme2_takes():
    return [
        Take(1, "EP02_01f", "happiness", 46, 59, 86, first=40, last=90),
        Take(2, "EP02_01f", "disgust", 8, 9, 12, first=1, last=20),
        Take(4, "EP12_01f", "others", 6, "/", 14),
        Take(5, "EP01_2", "fear", folder=False),
    ]


def smic_takes():
    return [
        Take(1, "s1_ne_01", "negative", None, None, None, 90823, 90827),
        Take(2, "s2_sur_01", "surprise", None, None, None, 8, 12),
        Take(2, "s3_po_01", "positive", None, None, None, 8, 12),
    ]


def ck_takes():
    return [
        Take(5, "001", "disgust", None, None, None, 8, 11),
        Take(5, "002", "", None, None, None, 1, 3),
        Take(999, "014", "happy", None, None, None, 1, 4),
    ]


BUILDERS = {
    "mmew-micro": (dataset_trees.mmew_micro, mmew_takes),
    "mmew-macro": (dataset_trees.mmew_macro, lambda: mmew_takes()[:1] + mmew_takes()[2:4]),
    "samm": (dataset_trees.samm, samm_takes),
    "casme2": (dataset_trees.casme2, casme2_takes),
    "smic-hs": (dataset_trees.smic_hs, smic_takes),
    "ck-plus": (dataset_trees.ck_plus, ck_takes),
}


@cache
def undisturbed(layout):
    """Index of the tree without hidden files, its rows in order."""
    with scratch() as folder:
        build, takes = BUILDERS[layout]
        return essence(build(folder, takes()).index(), folder)


def test_undisturbed_trees_have_good_and_bad_clips():
    """Otherwise the comparisons below would compare nothing."""
    for layout in BUILDERS:
        clips, problems, _ = undisturbed(layout)
        assert sum(not clip.problem for clip in clips.values()) >= 2, layout
        assert problems or layout == "mmew-macro", layout


@pytest.mark.parametrize("layout", BUILDERS)
@FEW
@given(data=st.data())
def test_hidden_files_and_order_of_rows_change_nothing(layout, data):
    build, takes = BUILDERS[layout]
    shuffled = data.draw(st.permutations(takes()))
    names = data.draw(JUNK)
    with scratch() as folder:
        tree = build(folder, shuffled)
        dataset_files.write_hidden_files(folder, names)
        assert essence(tree.index(), folder) == undisturbed(layout)


@FEW
@given(seed=st.integers(0, 2**32), paddings=st.lists(st.integers(0, 6), min_size=1, max_size=4))
@pytest.mark.parametrize("layout", ["mmew-micro", "samm", "casme2", "smic-hs", "ck-plus"])
def test_padding_that_varies_from_file_to_file_changes_nothing(layout, seed, paddings):
    build, takes = BUILDERS[layout]
    chance = random.Random(seed)
    with scratch() as folder:
        tree = build(folder, takes())
        for place in tree.folders.values():
            for file in place.iterdir():
                stem = file.stem.rstrip("0123456789")
                number = int(file.stem[len(stem) :])
                file.rename(file.with_name(f"{stem}{number:0{chance.choice(paddings)}d}{file.suffix}"))
        assert essence(tree.index(), folder) == undisturbed(layout)


@pytest.mark.parametrize("mess", [False, True])
@pytest.mark.parametrize("layout", ["mmew-micro", "samm", "casme2"])
@FEW
@given(order=st.randoms(use_true_random=False))
def test_numbers_as_text_change_nothing(layout, mess, order):
    build, takes = BUILDERS[layout]
    shuffled = takes()
    order.shuffle(shuffled)
    with scratch() as folder:
        assert essence(build(folder, shuffled, mess=mess).index(), folder) == undisturbed(layout)


@pytest.mark.parametrize("layout", BUILDERS)
def test_folders_that_archives_leave_are_skipped(tmp_path, layout):
    build, takes = BUILDERS[layout]
    tree = build(tmp_path, takes())
    copy = tmp_path / "__MACOSX"
    shutil.copytree(tmp_path, copy, ignore=shutil.ignore_patterns("__MACOSX"))
    for file in [file for file in copy.rglob("*") if file.is_file()]:
        file.rename(file.with_name(f"._{file.name}"))
    (tmp_path / ".git").mkdir()
    assert essence(tree.index(), tmp_path) == undisturbed(layout)


@FEW
@given(rows=st.permutations(range(4)), names=JUNK)
def test_flow_images_skip_hidden_files(rows, names):
    images = [
        dataset_trees.FlowImage("samm", f"{n:03d}", f"clip {n}", "negative" if n % 2 else "positive") for n in range(4)
    ]
    with scratch() as folder:
        tree = dataset_trees.flow_images(folder, [images[i] for i in rows])
        dataset_files.write_hidden_files(folder, names)
        index = tree.index()
        assert index.problems == [] and {clip.clip for clip in index.clips} == {"/".join(i[:3]) for i in images}


@FEW
@given(bad=st.sets(st.integers(0, 7), min_size=1, max_size=6), order=st.permutations(range(8)))
def test_bad_rows_are_named_by_number(bad, order):
    takes = [Take(6, f"006_1_{n + 1}", "anger", 1, 3, 5, folder=n not in bad) for n in order]
    with scratch() as folder:
        tree = dataset_trees.samm(folder, [*takes, Take(9, "009_1_1", "fear")])
        index = tree.index()
        assert {(p.row, p.clip) for p in index.problems} == {
            (15 + place, f"006_1_{n + 1}") for place, n in enumerate(order) if n in bad
        }
