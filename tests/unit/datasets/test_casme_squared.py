"""CAS(ME)²: a workbook without header, people and videos under other names, offsets and apexes of 0."""

from collections import Counter

import further_trees
import pytest
from dataset_trees import by_name, reported, usable
from further_trees import NAMING, frames

from merflow.errors import InputError

ROWS = [
    [1, "anger1_1", 20, 24, 32, "4", "negative", "micro-expression", "anger"],
    [1, "anger1_2", 32, 36, 40, "L12", "positive", "micro-expression", "happiyness"],
    [1, "anger1_3", 30, 40, 0, "4+7", "negative", "macro-expression", "anger"],
    [3, "disgust2_1", 10, 0, 31, None, "others", "macro-expression", "disgust"],
    [3, "happy1_1", 50, 70, 60, "12", "positive", "macro-expression", "happiness"],
    [22, "happy1_1", 5, 9, 15, "glare", "surprise", "micro-expression", "happiness"],
]
VIDEOS = ["15_0401girlcrashing", "19_0102eatingworms", "19_0502funnyerrors", "40_0502funnyerrors"]


def squared(root, rows=ROWS, top="rawpic", naming=NAMING, **changes):
    for video in VIDEOS:
        frames(root / top / f"s{video[:2]}" / video, range(1, 100), "img{:03d}.jpg")
    (root / "rawvideo/s15").mkdir(parents=True)
    return further_trees.tree("casme-squared", root, rows, others=naming, **changes)


@pytest.mark.parametrize("table", ["CAS(ME)^2code_final.xlsx", "code_final.xlsx", "CAS(ME)^2code_final(Updated).xlsx"])
@pytest.mark.parametrize("naming", [NAMING, {}])
def test_micro_expressions_by_naming_rules(tmp_path, table, naming):
    index = squared(tmp_path, table=table, naming=naming).index()
    assert [clip.clip for clip in index.clips] == ["s15/anger1_1", "s15/anger1_2", "s40/happy1_1"]
    first, _, last = index.clips
    assert (first.onset, first.apex, first.offset, first.fps, first.label) == (20, 24, 32, 30.0, "negative")
    assert first.frames == str(tmp_path / "rawpic/s15/15_0401girlcrashing") and first.subject.endswith("/s15")
    assert last.frames == str(tmp_path / "rawpic/s40/40_0502funnyerrors")
    assert [row["action_units"] for row in index.source] == ["4", "L12", "none"]
    assert index.source[1]["source_self_report"] == "happiyness"
    assert [p.row for p in reported(index, field="onset")] == [2], "frame 32 belongs to both"
    assert index.overlaps == [("s15/anger1_1", "s15/anger1_2")]


def test_updated_workbook_has_a_further_column(tmp_path):
    rows = [[*row[:5], 9, *row[5:]] for row in ROWS]
    index = squared(tmp_path, rows).index()
    assert [(row["action_units"], row["source_emotion"]) for row in index.source][:2] == [
        ("4", "negative"),
        ("L12", "positive"),
    ]


def test_zeros_of_macro_expressions_are_filled_with_a_note(tmp_path):
    index = squared(tmp_path).index(kind="macro")
    clips = by_name(index)
    assert len(usable(index)) == 3 and {clip.kind for clip in index.clips} == {"macro"}
    assert (clips["s15/anger1_3"].apex, clips["s15/anger1_3"].offset) == (40, 40)
    assert clips["s19/disgust2_1"].apex == 20
    assert clips["s19/happy1_1"].apex is None, "an apex after the offset is spotted"
    notes = {(p.row, p.field, p.effect): p.problem for p in index.problems}
    assert "the apex, 40" in notes[3, "offset", "noted"] and "the middle, 20" in notes[4, "apex", "noted"]
    assert "outside onset 50..offset 60" in notes[5, "apex", "apex spotted"]


@pytest.mark.parametrize(("top", "align"), [("rawpic", "detect"), ("selectedpic", "detect"), ("cropped", "auto")])
def test_variants_of_frames(tmp_path, top, align):
    index = squared(tmp_path, top=top).index()
    assert len(usable(index)) == 3 and {clip.align for clip in index.clips} == {align}


def test_name_that_is_used_twice_has_its_onset(tmp_path):
    index = squared(
        tmp_path, [*ROWS, [1, "anger1_1", 60, 64, 70, "4", "negative", "micro-expression", "anger"]]
    ).index()
    assert index.clips[-1].clip == "s15/anger1_1#60" and len(usable(index)) == 4


def test_video_that_is_not_there_leaves_clip_out(tmp_path):
    index = squared(
        tmp_path, [*ROWS, [2, "anger2_1", 60, 64, 70, "4", "negative", "micro-expression", "anger"]]
    ).index()
    (problem,) = reported(index, effect="left out")
    assert problem.row == 7 and problem.clip == "s16/anger2_1"


@pytest.mark.parametrize(
    ("kind", "name", "labelled"), [("micro", "casme-squared-3", 38), ("macro", "casme-squared-macro-3", 237)]
)
def test_published_counts(tmp_path, kind, name, labelled):
    rows = further_trees.squared_published()
    tree = further_trees.tree("casme-squared", tmp_path, rows, others=NAMING)
    for row in rows:
        person = f"s{further_trees.SQUARED_PEOPLE[row[0] - 1]}"
        frames(tmp_path / f"rawpic/{person}/{person[1:]}_0401girlcrashing", range(row[2], row[4] + 1), "img{:03d}.jpg")
    index = tree.index(kind=kind, classes=name)
    counts = Counter(clip.label for clip in index.clips if clip.label)
    assert not index.problems and counts == {count.label: count.expected for count in index.counts}
    assert counts.total() == labelled and len(index.clips) == {"micro": 57, "macro": 300}[kind]


def test_workbook_with_other_columns_is_one_message(tmp_path):
    with pytest.raises(InputError, match=r"code_final.*macro-expression.*no header"):
        squared(tmp_path, [[1, "anger1_1", 20, 24, 32]]).index()
