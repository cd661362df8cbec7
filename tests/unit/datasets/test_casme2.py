"""CASME II: raw, selected and cropped frames, numbers without padding, a workbook with two columns without a name."""

import shutil
from collections import Counter

import dataset_files
import dataset_trees
import published_takes
import pytest
from dataset_files import Take
from dataset_trees import by_name, reported, usable

from merflow.errors import InputError

TAKES = [
    Take(1, "EP02_01f", "happiness", 46, 59, 86, first=9, last=110),
    Take(1, "EP03_02", "others", 131, 161, 181, first=98, last=190),
    Take(2, "EP02_01f", "disgust", 6, 9, 14, first=1, last=20),
    Take(26, "EP18_50", "repression", 99, 101, 104, first=95, last=110),
]
GOOD = {"sub01/EP02_01f", "sub01/EP03_02", "sub02/EP02_01f", "sub26/EP18_50"}
FIVE = {"happiness", "disgust", "repression", "surprise", "others"}
BAD_ROW = len(TAKES) + 2


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return dataset_trees.casme2(tmp_path_factory.mktemp("casme2"), published_takes.casme2_takes(context=2))


@pytest.mark.parametrize("mess", [False, True])
@pytest.mark.parametrize(
    "table",
    [
        "CASME2-coding-20140508.xlsx",
        "CASME2-coding-20190701.xlsx",
        "CASME2-coding-updated.xlsx",
        "CASME2-coding-20140508.xls",
        "CASME2-coding-20140508.csv",
    ],
)
def test_clips_are_read_past_columns_without_name(tmp_path, table, mess):
    tree = dataset_trees.casme2(tmp_path, TAKES, table=table, mess=mess)
    index = tree.index()
    assert index.problems == [] and {clip.clip for clip in index.clips} == GOOD
    clip = by_name(index)["sub01/EP02_01f"]
    assert (clip.subject, clip.label, clip.kind) == ("my-casme2/sub01", "happiness", "micro")
    assert (clip.onset, clip.apex, clip.offset, clip.fps, clip.align) == (46, 59, 86, 200.0, "detect")
    assert clip.frames == str(tree.folders["sub01/EP02_01f"])
    assert index.source[0]["source_estimated_emotion"] == "happiness"
    assert index.source[0]["source_action_units"] == "4"


def test_columns_without_name_may_hold_anything(tmp_path):
    takes = [Take(t.subject, t.name, t.emotion, t.onset, t.apex, t.offset, cells={" ": "x", "  ": 7}) for t in TAKES]
    assert dataset_trees.casme2(tmp_path, takes).index().clips[0].offset == 86


def test_one_file_name_in_two_subjects_is_two_clips(tmp_path):
    clips = by_name(dataset_trees.casme2(tmp_path, TAKES).index())
    assert clips["sub01/EP02_01f"].subject != clips["sub02/EP02_01f"].subject
    assert clips["sub01/EP02_01f"].frames != clips["sub02/EP02_01f"].frames


@pytest.mark.parametrize("table", ["CASME2-coding-20140508.xlsx", "CASME2-coding-20140508.csv"])
@pytest.mark.parametrize("subject", [1, "1", "01", "sub01", " 01", 1.0])
def test_subject_is_same_in_any_spelling(tmp_path, subject, table):
    takes = [Take(1, "EP02_01f", "happiness", cells={"Subject": subject}), *TAKES[2:]]
    index = dataset_trees.casme2(tmp_path, takes, table=table).index()
    assert index.problems == [] and by_name(index)["sub01/EP02_01f"].subject == "my-casme2/sub01"


@pytest.mark.parametrize(
    ("variant", "align"),
    [
        ("CASME2-RAW", "detect"),
        ("CASME2_RAW_selected", "detect"),
        ("CASME2_RAW_selected/CASME2_RAW_selected", "detect"),
        ("Cropped", "auto"),
        ("Cropped-updated/Cropped", "auto"),
    ],
)
def test_every_variant_of_frames_is_found(tmp_path, variant, align):
    tree = dataset_trees.casme2(tmp_path / "CASME2", TAKES, variants=[variant])
    index = tree.index()
    assert index.problems == [] and usable(index) == GOOD
    assert {clip.align for clip in index.clips} == {align}
    assert by_name(index)["sub02/EP02_01f"].frames == str(tree.folders["sub02/EP02_01f"])


def test_raw_frames_are_preferred_and_choice_noted(tmp_path):
    tree = dataset_trees.casme2(tmp_path, TAKES, variants=["CASME2-RAW", "CASME2_RAW_selected", "Cropped"])
    index = tree.index()
    assert by_name(index)["sub01/EP02_01f"].frames == str(tree.folders["sub01/EP02_01f"])
    (note,) = index.problems
    assert note.effect == "noted"
    assert all(word in note.problem for word in ("CASME2-RAW", "CASME2_RAW_selected", "Cropped", "images"))
    shutil.rmtree(tmp_path / "CASME2-RAW")
    index = tree.index()
    assert {clip.align for clip in index.clips} == {"detect"}
    assert all("CASME2_RAW_selected" in clip.frames for clip in index.clips), "selected frames come before crops"


@pytest.mark.parametrize(("images", "align"), [("CASME2_RAW_selected", "detect"), ("Cropped", "auto")])
def test_user_names_variant(tmp_path, images, align):
    tree = dataset_trees.casme2(tmp_path, TAKES, variants=["CASME2-RAW", "CASME2_RAW_selected", "Cropped"])
    index = tree.index(images=images)
    assert index.problems == [] and usable(index) == GOOD
    assert all(clip.frames.startswith(str(tmp_path / images)) and clip.align == align for clip in index.clips)
    assert {clip.align for clip in tree.index(images=images, align="none").clips} == {"none"}


def test_variant_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"(?s)Croped.*images"):
        dataset_trees.casme2(tmp_path, TAKES).index(images="Croped")


def test_complete_set_has_published_counts(published):
    index = published.index()
    assert len(index.clips) == 255 and len({clip.subject for clip in index.clips}) == 26
    assert Counter(clip.label for clip in index.clips) == published_takes.CASME2_PUBLISHED
    (spotted,) = index.problems
    assert (spotted.effect, spotted.field, spotted.clip) == ("apex spotted", "apex", "sub04/EP12_01f")
    assert spotted.row == published.rows["sub04/EP12_01f"] and "/" in spotted.problem
    clip = by_name(index)["sub04/EP12_01f"]
    assert (clip.onset, clip.apex, clip.offset, clip.problem) == (60, None, 63, "")
    assert usable(index) == set(published.rows)


def test_five_classes_are_246_clips(published):
    index = published.index(classes="casme2-5")
    assert set(index.classes) == FIVE and [p.effect for p in index.problems] == ["apex spotted"]
    counts = Counter(clip.label for clip in index.clips if clip.label)
    assert counts == {word: published_takes.CASME2_PUBLISHED[word] for word in FIVE} and counts.total() == 246


def test_composite_leaves_out_two_clips_by_its_rule(published):
    index = published.index(classes="megc2019")
    scored = [clip for clip in index.clips if clip.label]
    assert len(scored) == 145 and len({clip.subject for clip in scored}) == 24
    assert Counter(clip.label for clip in scored) == {"negative": 88, "positive": 32, "surprise": 25}
    assert by_name(index)["sub04/EP12_01f"].label == by_name(index)["sub05/EP09_05f"].label == ""
    assert not reported(index, effect="left out") and not reported(index, field="classes")
    assert by_name(published.index(classes="casme2-5"))["sub05/EP09_05f"].label == "disgust", "only the composite does"


@pytest.mark.parametrize(
    ("take", "field", "values"),
    [
        (Take(3, "EP01_2", "fear", 60, 55, 40, first=30, last=70), "onset", ["60", "40"]),
        (Take(3, "EP01_2", "fear", 40, 55, 90, first=30, last=70), "offset", ["90", "70"]),
        (Take(3, "EP01_2", "fear", 20, 55, 60, first=30, last=70), "onset", ["20", "30"]),
        (Take(3, "EP01_2", "fear", "/", 55, 60, first=30, last=70), "onset", ["/"]),
        (Take(3, "EP01_2", "fear", folder=False), "frames", ["EP01_2"]),
        (Take(3, "EP01_2", "joy"), "label", ["joy"]),
        (Take(3, "EP01_2", "fear", cells={"Subject": "three"}), "subject", ["three"]),
    ],
)
def test_unusable_row_is_reported_and_others_stay(tmp_path, take, field, values):
    tree = dataset_trees.casme2(tmp_path, [*TAKES, take])
    index = tree.index()
    assert usable(index) == GOOD and len(index.clips) == len(TAKES) + 1
    problem = reported(index, effect="left out", field=field)[0]
    assert problem.row == BAD_ROW and problem.file == str(tree.table) and problem.clip.endswith("/EP01_2")
    assert all(value in problem.problem for value in values), problem.problem
    with pytest.raises(InputError, match=rf"(?s)CASME2-coding.*{BAD_ROW}.*EP01_2"):
        tree.index(on_problem="stop")


def test_annotated_frame_without_file_is_reported(tmp_path):
    tree = dataset_trees.casme2(tmp_path, TAKES)
    for clip, number in (("sub01/EP02_01f", 46), ("sub01/EP03_02", 181), ("sub02/EP02_01f", 9), ("sub26/EP18_50", 100)):
        tree.frame(clip, number).unlink()
    index = tree.index()
    assert usable(index) == {"sub02/EP02_01f", "sub26/EP18_50"}
    assert by_name(index)["sub02/EP02_01f"].apex is None and by_name(index)["sub26/EP18_50"].apex == 101
    for row, field, effect, number in (
        (2, "onset", "left out", "46"),
        (3, "offset", "left out", "181"),
        (4, "apex", "apex spotted", "9"),
        (5, "frames", "noted", "100"),
    ):
        (problem,) = reported(index, row=row, field=field)
        assert problem.effect == effect and number in problem.problem


def test_stop_ignores_missing_apex_but_not_wrong_apex(tmp_path):
    tree = dataset_trees.casme2(tmp_path / "a", [*TAKES, Take(4, "EP12_01f", "others", 6, "/", 14)])
    assert by_name(tree.index(on_problem="stop"))["sub04/EP12_01f"].apex is None
    tree = dataset_trees.casme2(tmp_path / "b", [*TAKES, Take(4, "EP12_01f", "others", 6, 99, 14)])
    assert by_name(tree.index())["sub04/EP12_01f"].apex is None
    with pytest.raises(InputError, match=r"(?s)EP12_01f.*99"):
        tree.index(on_problem="stop")


def test_empty_frame_counts_between_onset_and_offset_only(tmp_path):
    tree = dataset_trees.casme2(tmp_path, TAKES)
    tree.frame("sub01/EP02_01f", 45).write_bytes(b"")
    tree.frame("sub01/EP03_02", 150).write_bytes(b"")
    index = tree.index()
    assert usable(index) == GOOD
    (problem,) = index.problems
    assert (problem.row, problem.effect) == (3, "noted") and str(tree.frame("sub01/EP03_02", 150)) in problem.problem


def test_name_that_is_used_twice_in_subject_is_used_once(tmp_path):
    index = dataset_trees.casme2(tmp_path, [*TAKES, TAKES[0]]).index()
    assert len({clip.clip for clip in index.clips}) == 5 and sum(c.problem == "" for c in index.clips) == 4
    (problem,) = reported(index, effect="left out")
    assert problem.row == BAD_ROW and "sub01/EP02_01f" in problem.problem


def test_everything_that_is_wrong_comes_in_one_list(tmp_path):
    bad = [
        Take(3, "EP01_1", "fear", 6, "/", 14),
        Take(3, "EP01_2", "fear", 60, 55, 40, first=30, last=70),
        Take(3, "EP01_3", "fear", folder=False),
        Take(3, "EP01_4", "joy"),
        Take(3, "EP01_5", "fear", row=False),
        Take(3, "EP01_6", "fear"),
    ]
    tree = dataset_trees.casme2(tmp_path, [*TAKES, *bad])
    tree.frame("sub03/EP01_6", 5).unlink()
    index = tree.index()
    assert usable(index) == GOOD | {"sub03/EP01_1"}
    assert sorted((p.row or 0, p.effect) for p in index.problems) == [
        (0, "noted"),
        (6, "apex spotted"),
        (7, "left out"),
        (8, "left out"),
        (9, "left out"),
        (10, "left out"),
    ]
    with pytest.raises(InputError) as error:
        tree.index(on_problem="stop")
    assert all(take.name in str(error.value) for take in bad)


def test_subset_is_reported_by_difference_and_used(tmp_path):
    takes = [take for take in published_takes.casme2_takes() if take.emotion != "surprise" or take.subject < 13]
    index = dataset_trees.casme2(tmp_path, takes).index(classes="casme2-5")
    (note,) = reported(index, field="classes")
    surprises = sum(take.emotion == "surprise" for take in takes)
    assert note.effect == "noted" and "surprise" in note.problem
    assert "25" in note.problem and str(surprises) in note.problem and "happiness" not in note.problem


@pytest.mark.parametrize("column", ["Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion"])
def test_workbook_with_other_columns_is_named_with_them(tmp_path, column):
    tree = dataset_trees.casme2(tmp_path, TAKES, rename={column: "Something else"})
    with pytest.raises(InputError) as error:
        tree.index()
    message = str(error.value)
    assert str(tree.table) in message and column in message and "Something else" in message


@pytest.mark.parametrize("spelling", ["onset frame", "ONSETFRAME", "Onset_Frame", " OnsetFrame "])
def test_columns_are_known_in_any_spelling(tmp_path, spelling):
    assert dataset_trees.casme2(tmp_path, TAKES, rename={"OnsetFrame": spelling}).index().clips[0].onset == 46


@pytest.mark.parametrize("newest", ["CASME2-coding-20190701.xlsx", "CASME2-coding-updated.xlsx"])
def test_newest_workbook_is_read_and_choice_noted(tmp_path, newest):
    for table in ("CASME2-coding-20140508.xlsx", newest):
        tree = dataset_trees.casme2(tmp_path, TAKES, table=table)
    (note,) = tree.index().problems
    assert note.effect == "noted" and note.file == str(tree.table) and "20140508" in note.problem
    index = tree.index(table="CASME2-coding-20140508.xlsx")
    assert index.problems == [] and usable(index) == GOOD


def test_root_without_workbook_or_frames_is_one_message(tmp_path):
    tree = dataset_trees.casme2(tmp_path / "a", TAKES, table=None)
    dataset_files.write_table(tmp_path / "a" / "notes.xlsx", [["nothing"]])
    with pytest.raises(InputError, match=r"(?s)CASME2-coding-20140508\.xlsx.*notes\.xlsx"):
        tree.index()
    tree = dataset_trees.casme2(tmp_path / "b", [Take(1, "EP02_01f", "happiness", folder=False)])
    with pytest.raises(InputError, match=r"sub01/EP02_01f/img46\.jpg"):
        tree.index()
