"""SMIC-E: three cameras, long clips with a workbook and notes below it, second expressions, and short clips."""

import shutil

import dataset_trees
import further_trees
import pytest
from dataset_files import Take
from dataset_trees import by_name, reported, usable
from further_trees import frames

from merflow.errors import InputError

ROWS = [
    [1, "s1_ne_01", None, 1020, 1040, None, None, 21, 1000, 1100, "negative"],
    [1, "s1_po_02", None, 1010, 1030, 1060, 1080, 21, "unclear", 1100, "positive"],
    [14, "s14_sur_01", None, 5, 15, None, None, 11, 0, 60, "surprise"],
    [None, None, None, None, None, None, None, None, None, None, None],
    ["Note", "s1_ne_01 was coded twice", None, 3, 4, None, None, None, None, None, None],
]
NAMES = ["s1_ne_01", "s1_po_02", "s1_po_02#2", "s14_sur_01"]
FPS = {"HS": 100, "VIS": 25, "NIR": 25}


def camera(root, name="HS", suffix="jpg", table="SMIC-{}-E_annotation.xlsx", middle="SMIC-{}-E", header=None):
    digits = 6 if name == "HS" else 5
    top = root / "SMIC-E_raw image" / f"{name}_long"
    for person, clip, first in (("s01", "s1_ne_01", 1000), ("s01", "s1_po_02", 1000), ("s14", "s14_sur_01", 0)):
        pattern = f"image{{:0{digits}d}}.{suffix}"
        frames(top / middle.format(name) / name / person / clip, range(first, first + 101), pattern)
    path = (top / table.format(name)).relative_to(root)
    return further_trees.tree("smic-e", root, ROWS, table=str(path), header=header)


@pytest.mark.parametrize(
    ("name", "suffix", "table", "middle"),
    [
        ("HS", "jpg", "SMIC-{}-E_annotation.xlsx", "SMIC-{}-E"),
        ("HS", "bmp", "SMIC-{}-E_annotation_2019.xlsx", "SMIC-{}-E"),
        ("VIS", "bmp", "SMIC_{}_E_annotation.xlsx", "SMIC_{}_E"),
        ("NIR", "jpg", "SMIC-{}-E/SMIC-{}-E_annotation.csv", "SMIC-{}-E"),
    ],
)
def test_long_clips_of_each_camera(tmp_path, name, suffix, table, middle):
    table = table.replace("{}", name)
    index = camera(tmp_path, name, suffix, table, middle).index(classes="smic-e-3")
    assert [clip.clip for clip in index.clips] == NAMES and usable(index) == set(NAMES)
    first = index.clips[0]
    assert (first.onset, first.apex, first.offset, first.fps) == (1020, None, 1040, float(FPS[name]))
    assert first.subject == "my-smic-e/s01" and first.frames.endswith(f"{name}/s01/s1_ne_01")
    assert [clip.label for clip in index.clips] == ["negative", "positive", "positive", "surprise"]
    assert not any("action_units" in row for row in index.source)


def test_second_expression_is_a_clip_and_noted(tmp_path):
    index = camera(tmp_path).index()
    clip = by_name(index)["s1_po_02#2"]
    assert (clip.onset, clip.offset) == (1060, 1080)
    assert [(note.clip, note.row) for note in reported(index, field="onset")] == [("s1_po_02", 3), ("s1_po_02#2", 3)]


@pytest.mark.parametrize(
    "names", [("Onset2F", "Offset2F"), ("OnsetF", "OffsetF"), (None, None), ("2nd onset", "2nd offset")]
)
def test_second_pair_is_found_by_its_place(tmp_path, names):
    header = list(further_trees.HEADERS["smic-e"])
    header[5:7] = names
    assert [clip.clip for clip in camera(tmp_path, header=header).index().clips] == NAMES
    header[5:7] = ["Total", "Apex?"]
    assert "s1_po_02#2" not in by_name(camera(tmp_path, header=header).index())


def test_columns_may_name_the_camera(tmp_path):
    header = [
        f"{name} NIR" if name in ("OnsetF", "OffsetF", "FirstF") else name for name in further_trees.HEADERS["smic-e"]
    ]
    assert len(usable(camera(tmp_path, "NIR", header=header).index())) == 4


def test_high_speed_is_preferred_and_others_are_noted(tmp_path):
    for name in FPS:
        tree = camera(tmp_path, name)
    index = tree.index()
    assert {clip.fps for clip in index.clips} == {100.0}
    assert any("VIS" in note.problem and "NIR" in note.problem for note in reported(index, field="images"))
    index = tree.index(images="SMIC-E_raw image/VIS_long")
    assert {clip.fps for clip in index.clips} == {25.0} and "VIS_long" in index.clips[0].frames
    shutil.rmtree(tmp_path / "SMIC-E_raw image/HS_long")
    assert {clip.fps for clip in tree.index().clips} == {25.0}


def test_numbers_count_from_first_frame_if_files_start_elsewhere(tmp_path):
    tree = camera(tmp_path)
    folder = tmp_path / "SMIC-E_raw image/HS_long/SMIC-HS-E/HS/s01/s1_ne_01"
    shutil.rmtree(folder)
    frames(folder, range(1, 102), "image{:06d}.jpg")
    index = tree.index()
    assert (by_name(index)["s1_ne_01"].onset, by_name(index)["s1_ne_01"].offset) == (21, 41)
    (note,) = reported(index, clip="s1_ne_01")
    assert note.effect == "noted" and "FirstF 1000" in note.problem


@pytest.mark.parametrize("name", ["HS", "VIS", "NIR"])
def test_short_clips_are_read_from_the_tree(tmp_path, name):
    takes = [Take(1, "s1_ne_01", "negative", first=990, last=999), Take(2, "s2_po_01", "positive", first=5, last=14)]
    dataset_trees.smic_hs(tmp_path, takes, top=name)
    index = further_trees.Tree("smic-e", tmp_path).index()
    assert usable(index) == {"s1_ne_01", "s2_po_01"} and {clip.fps for clip in index.clips} == {float(FPS[name])}
    assert (index.clips[0].onset, index.clips[0].offset, index.clips[0].label) == (990, 999, "negative")


def test_nothing_of_smic_is_one_message(tmp_path):
    with pytest.raises(InputError, match=r"HS_long/SMIC-HS-E/HS/s01"):
        further_trees.Tree("smic-e", tmp_path).index()
    camera(tmp_path).table.unlink()
    with pytest.raises(InputError, match=r"SMIC-HS-E_annotation\.xlsx"):
        further_trees.Tree("smic-e", tmp_path).index()
