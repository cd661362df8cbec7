"""CAS(ME)³: long videos with several clips, videos that lack frames, and the rows that are wrong in the release."""

from collections import Counter

import further_trees
import pytest
from dataset_trees import by_name, reported, usable
from further_trees import frames

from merflow.errors import ConfigError, InputError

ROWS = [
    ["spNO.1", "a", 20, 24, 40, "4+L12", "I", "happy"],
    ["spNO.1", "a", 60, 64, 80, "1,2", "II", "Others"],
    ["spNO.1", "b", 5, 9, 20, "12 or 14", "III", "disgust"],
    ["spNO.14", "J", 30, 33, 45, None, "VII", "surprise"],
]
NAMES = ["spNO.1/a#20", "spNO.1/a#60", "spNO.1/b#5", "spNO.14/J#30"]


def part_a(root, rows=ROWS, top="part_A"):
    """The tree of the release: videos lack their first seven frames, depth lies beside them."""
    tree = further_trees.tree("casme3-a", root, rows, others={"Sheet2": [], "Sheet3": []})
    for person, video in {(row[0], row[1].lower()) for row in rows}:
        frames(root / top / person / video / "color", range(8, 100))
        frames(root / top / person / video, range(8, 100), "{}.png")
    return tree


@pytest.mark.parametrize("top", ["part_A", "data/part_A", "part_A_split/part_A"])
def test_clips_of_long_videos(tmp_path, top):
    frames(tmp_path / "part_B/spNO.1/a/color", range(1, 5))
    index = part_a(tmp_path, top=top).index()
    assert [clip.clip for clip in index.clips] == NAMES and usable(index) == set(NAMES)
    first, second, _, last = index.clips
    assert (first.onset, first.apex, first.offset, first.fps, first.align) == (20, 24, 40, 30.0, "detect")
    assert first.frames == second.frames == str(tmp_path / top / "spNO.1/a/color") and first.subject.endswith("/spNO.1")
    assert last.frames == str(tmp_path / top / "spNO.14/j/color"), "folders in any case"
    assert [clip.label for clip in index.clips] == ["happy", "others", "disgust", "surprise"]
    assert [row["action_units"] for row in index.source] == ["4+L12", "1+2", "none", ""]
    assert index.source[0]["source_objective_class"] == "I"
    assert {p.field for p in index.problems} - {"label"} == {"onset", "action_units"}


def test_clips_whose_frames_are_empty_files_are_listed_counted_and_noted(tmp_path):
    tree = part_a(tmp_path)
    for file in (tmp_path / "part_A").rglob("color/*.jpg"):
        file.write_bytes(b"")
    index = tree.index()
    assert usable(index) == set(NAMES) and sum(count.usable for count in index.counts) == 4
    notes = reported(index, field="frames", effect="noted")
    assert {note.clip for note in notes} == set(NAMES) and all("is empty (0 bytes), and" in n.problem for n in notes)


def test_missing_frame_is_replaced_by_next_one(tmp_path):
    tree = part_a(tmp_path)
    for number in (24, 40, 64, 65, 80, 81):
        (tmp_path / f"part_A/spNO.1/a/color/{number}.jpg").unlink()
    index = tree.index()
    clips = by_name(index)
    assert (clips["spNO.1/b#5"].onset, clips["spNO.1/b#5"].apex) == (8, 9)
    assert (clips["spNO.1/a#20"].apex, clips["spNO.1/a#20"].offset) == (25, 41)
    assert (clips["spNO.1/a#60"].apex, clips["spNO.1/a#60"].offset) == (66, 82)
    notes = reported(index, effect="noted", clip="spNO.1/b#5", field="onset")
    assert [note.row for note in notes] == [4] and "frame 5 does not exist; the next one, 8, is used" in notes[
        0
    ].problem
    assert len(reported(index, clip="spNO.1/a#60", effect="noted")) == 3, "and the gap inside"


def test_clip_behind_the_last_frame_is_left_out(tmp_path):
    index = part_a(tmp_path, [*ROWS, ["spNO.1", "b", 95, 97, 120, "4", "I", "happy"]]).index()
    assert usable(index) == set(NAMES)
    (problem,) = reported(index, effect="left out")
    assert problem.row == 6 and "frame 120 does not exist" in problem.problem


def test_depth_is_never_read_as_colour(tmp_path):
    tree = part_a(tmp_path)
    (tmp_path / "part_A/spNO.1/b/color").rename(tmp_path / "part_A/spNO.1/b/depth")
    assert usable(tree.index()) == set(NAMES) - {"spNO.1/b#5"}


def test_extracts_are_read_in_order_of_the_table(tmp_path):
    tree = further_trees.tree("casme3-a", tmp_path, ROWS)
    for video, numbers in {
        "1/a": range(20, 41),
        "1/a2": range(60, 81),
        "1/b": range(5, 21),
        "14/J": range(30, 46),
    }.items():
        frames(tmp_path / f"ME_A/spNO.{video}/color", numbers)
    index = tree.index()
    assert usable(index) == set(NAMES)
    assert by_name(index)["spNO.1/a#60"].frames == str(tmp_path / "ME_A/spNO.1/a2/color")
    (tmp_path / "ME_A/spNO.1/a2").rename(tmp_path / "elsewhere")
    assert usable(further_trees.tree("casme3-a", tmp_path, [*ROWS, ROWS[1]]).index()) == set(NAMES) - {"spNO.1/a#60"}


def test_clips_that_share_frames_are_noted(tmp_path):
    more = [["spNO.1", "a", 40, 42, 50, "4", "I", "fear"], ["spNO.1", "a", 62, 63, 70, "4", "I", "fear"]]
    index = part_a(tmp_path, [*ROWS, *more]).index()
    assert index.overlaps == [("spNO.1/a#20", "spNO.1/a#40"), ("spNO.1/a#60", "spNO.1/a#62")]
    notes = [p for p in index.problems if "share" in p.problem or " too;" in p.problem]
    assert [(note.row, note.field, note.effect) for note in notes] == [(6, "onset", "noted"), (7, "onset", "noted")]
    assert (
        "frame 40 is in spNO.1/a#20 too" in notes[0].problem and "frames 62..70 are in spNO.1/a#60" in notes[1].problem
    )


def test_onset_at_apex_is_noted_and_spotted(tmp_path):
    index = part_a(tmp_path, [["spNO.1", "a", 20, 20, 40, "4", "I", "happy"], *ROWS[2:]]).index()
    (note,) = reported(index, effect="apex spotted")
    assert note.row == 2 and "20" in note.problem and by_name(index)["spNO.1/a#20"].apex is None


@pytest.mark.parametrize(
    ("name", "counts", "people"),
    [
        ("casme3a-7", further_trees.CASME3_COUNTS | {"others": 161}, 94),
        ("casme3a-4", {"negative": 457, "positive": 55, "surprise": 187, "others": 161}, 94),
        ("casme3a-3", {"negative": 457, "positive": 55, "surprise": 187}, 88),
    ],
)
def test_class_sets_have_published_counts(tmp_path, name, counts, people):
    rows = further_trees.casme3_published()
    tree = further_trees.tree("casme3-a", tmp_path, rows)
    for row in rows:
        frames(tmp_path / f"part_A/{row[0]}/a/color", range(row[2], row[4] + 1))
    index = tree.index(classes=name)
    assert not index.problems and len(index.clips) == 860
    assert Counter(clip.label for clip in index.clips if clip.label) == counts
    assert {count.label: count.expected for count in index.counts} == counts
    assert len({clip.subject for clip in index.clips if clip.label}) == people


def test_macro_expressions_are_those_of_the_other_workbook(tmp_path):
    part_a(tmp_path)
    rows = [[*row[:7], kind] for row, kind in zip(ROWS, ["Macro-expression", "Micro-expression"] * 2, strict=True)]
    blinks = {"eye blink": [["Subject", "Filename", "Onset", "Offset"], ["spNO.1", "a", 9, 12]]}
    tree = further_trees.tree("casme3-a macro", tmp_path, rows, others=blinks)
    index = tree.index(kind="macro")
    assert [(clip.clip, clip.kind, clip.label) for clip in index.clips] == [
        (NAMES[0], "macro", ""),
        (NAMES[2], "macro", ""),
    ]
    assert [clip.clip for clip in tree.index(table=tree.table.name).clips] == [NAMES[1], NAMES[3]]
    assert len(tree.index().clips) == 4 and tree.index().clips[0].label == "happy", "micro: the JpgIndex"


def test_missing_workbook_and_folders_are_one_message(tmp_path):
    tree = further_trees.tree("casme3-a", tmp_path / "a", ROWS)
    with pytest.raises(InputError, match=r"part_A/spNO\.1/a/color/355\.jpg"):
        tree.index()
    part_a(tmp_path / "b").table.unlink()
    with pytest.raises(InputError, match=r"JpgIndex_v2\.xlsx"):
        further_trees.Tree("casme3-a", tmp_path / "b").index()
    with pytest.raises(ConfigError, match="casme3a-7"):
        part_a(tmp_path / "c").index(classes="mmew-5")


# --- Part C -----------------------------------------------------------------------------------------------------------

MOCK = [
    [1, 1, 90, 102, 4, "negative"],
    [1, 2, 100, 110, "1，2", "surprise"],
    [10, 1, 5, 40, "4,7,", "others"],
    ["10", 2, 60, 70, "13?", "positive"],
]


def part_c(root, rows=MOCK):
    tree = further_trees.tree("casme3-c", root, rows)
    for person, count, onset, offset, *_ in rows:
        frames(root / f"ME_C/{int(person):02d}/{count}/color", range(onset, offset + 1))
    return tree


def test_mock_crime_has_no_apex(tmp_path):
    index = part_c(tmp_path).index()
    assert [clip.clip for clip in index.clips] == ["01/1", "01/2", "10/1", "10/2"] and len(usable(index)) == 4
    clip = by_name(index)["01/1"]
    assert (clip.onset, clip.apex, clip.offset, clip.subject) == (90, None, 102, "my-casme3-c/01")
    assert [row["action_units"] for row in index.source] == ["4", "1+2", "4+7", "none"]
    assert index.source[3]["action_units_uncertain"] == "13?"
    assert index.overlaps == [("01/1", "01/2")], "two folders of one video"


def test_mock_crime_in_one_folder_of_the_person(tmp_path):
    tree = further_trees.tree("casme3-c", tmp_path, MOCK)
    frames(tmp_path / "part_C/1/color", range(80, 200))
    frames(tmp_path / "part_C/10/color", range(1, 200))
    index = tree.index()
    assert len(usable(index)) == 4 and by_name(index)["10/1"].frames == str(tmp_path / "part_C/10/color")


def test_three_classes_of_the_mock_crime(tmp_path):
    words = ["negative"] * 99 + ["surprise"] * 30 + ["others"] * 20 + ["positive"] * 16
    index = part_c(tmp_path, [[1, i, 9 * i, 9 * i + 5, 4, word] for i, word in enumerate(words, 1)]).index(
        classes="casme3c-3"
    )
    assert {p.field for p in index.problems} == {"layout"}
    assert len(index.clips) == 165 and sum(clip.label != "" for clip in index.clips) == 145
