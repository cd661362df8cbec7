"""MMEW's workbook and frames with errors: each is reported with its row, and the other clips stay."""

import shutil

import dataset_files
import dataset_trees
import openpyxl
import pytest
from dataset_files import Take
from dataset_trees import by_name, reported, usable
from mmew_takes import GOOD, TAKES

from merflow.errors import InputError


def one_bad(tmp_path, take, **options):
    """The index of the good clips and one more, whose row comes last."""
    tree = dataset_trees.mmew_micro(tmp_path, [*TAKES, take], **options)
    return tree, tree.index()


def test_absolute_numbers_are_rebased_and_reported(tmp_path):
    take = Take(3, "S03-05-001", "fear", 1201, 1203, 1206, first=1, last=6)
    tree, index = one_bad(tmp_path, take)
    clip = by_name(index)["S03-05-001"]
    assert (clip.onset, clip.apex, clip.offset, clip.problem) == (1, 3, 6, "")
    (note,) = index.problems
    assert (note.effect, note.row, note.clip, note.file) == ("renumbered", 6, "S03-05-001", str(tree.table))
    assert "1201" in note.problem
    assert by_name(index)["S01-04-001"].onset == 2, "numbers that fit the files stay as they are"


def test_absolute_numbers_move_to_first_file(tmp_path):
    _, index = one_bad(tmp_path, Take(3, "S03-05-001", "fear", 1201, 1203, 1206, first=4, last=11))
    clip = by_name(index)["S03-05-001"]
    assert (clip.onset, clip.apex, clip.offset) == (4, 6, 9)


def test_apex_may_be_wrong_in_absolute_numbers_too(tmp_path):
    _, index = one_bad(tmp_path, Take(3, "S03-05-001", "fear", 1201, 1303, 1206, first=1, last=6))
    clip = by_name(index)["S03-05-001"]
    assert (clip.onset, clip.apex, clip.offset, clip.problem) == (1, None, 6, "")
    assert {p.effect for p in index.problems} == {"renumbered", "apex spotted"}
    assert all(p.row == 6 for p in index.problems)


def test_absolute_numbers_beyond_the_files_are_not_rebased(tmp_path):
    tree, index = one_bad(tmp_path, Take(3, "S03-05-001", "fear", 1201, 1203, 1219, first=1, last=6))
    assert usable(index) == GOOD
    assert any("1201" in p.problem and p.row == 6 for p in reported(index, effect="left out"))
    assert not reported(index, effect="renumbered")


def test_missing_onset_inside_files_is_not_rebased(tmp_path):
    tree = dataset_trees.mmew_micro(tmp_path, [*TAKES, Take(3, "S03-05-001", "fear", 3, 5, 7, first=1, last=12)])
    tree.frame("S03-05-001", 3).unlink()
    index = tree.index()
    assert usable(index) == GOOD, "moved to the first file, the clip would be cut from other frames than annotated"
    (problem,) = reported(index, clip="S03-05-001", effect="left out")
    assert problem.row == 6 and problem.field == "onset" and "3" in problem.problem


@pytest.mark.parametrize(
    ("apex", "shown"), [(9, "9"), (2, "2"), (None, ""), ("/", "/"), ("?", "?"), ("about 5", "about 5"), (-4, "-4")]
)
def test_impossible_apex_is_reported_and_spotted(tmp_path, apex, shown):
    tree, index = one_bad(tmp_path, Take(3, "S03-05-001", "fear", 3, apex, 7, first=1, last=12))
    clip = by_name(index)["S03-05-001"]
    assert (clip.onset, clip.apex, clip.offset, clip.problem) == (3, None, 7, "")
    (problem,) = index.problems
    assert (problem.effect, problem.row, problem.field, problem.clip) == ("apex spotted", 6, "apex", "S03-05-001")
    assert problem.file == str(tree.table) and shown in problem.problem


def test_apex_without_frame_is_spotted(tmp_path):
    tree = dataset_trees.mmew_micro(tmp_path, TAKES)
    tree.frame("S01-01-001", 3).unlink()
    index = tree.index()
    assert usable(index) == GOOD and by_name(index)["S01-01-001"].apex is None
    (problem,) = reported(index, effect="apex spotted")
    assert problem.row == 2 and "3" in problem.problem
    with pytest.raises(InputError, match="S01-01-001"):
        tree.index(on_problem="stop")


@pytest.mark.parametrize(
    ("take", "field", "values"),
    [
        (Take(3, "S03-05-001", "fear", 6, 4, 2, first=1, last=9), "onset", ["6", "2"]),
        (Take(3, "S03-05-001", "fear", 1, 3, 9, first=1, last=6), "offset", ["9", "6"]),
        (Take(3, "S03-05-001", "fear", 1, None, 9, first=1, last=6), "offset", ["9", "6"]),
        (Take(3, "S03-05-001", "fear", "x1", 3, 5, first=1, last=6), "onset", ["x1"]),
        (Take(3, "S03-05-001", "fear", 1, 3, "5?", first=1, last=6), "offset", ["5?"]),
        (Take(3, "S03-05-001", "fear", None, 3, 5, first=1, last=6), "onset", []),
        (Take(3, "S03-05-001", "fear", 1, 3, None, first=1, last=6), "offset", []),
        (Take(3, "S03-05-001", "fear", 1.5, 3, 5, first=1, last=6), "onset", ["1.5"]),
        (Take(3, "S03-05-001", "fear", folder=False), "frames", ["S03-05-001"]),
        (Take(4, "S03-05-001", "fear"), "subject", ["S04", "S03-05-001"]),
        (Take(3, "S03-05-001", "fear", cells={"Estimated Emotion": "boredom"}), "label", ["boredom"]),
    ],
)
def test_unusable_row_is_reported_and_others_stay(tmp_path, take, field, values):
    tree, index = one_bad(tmp_path, take)
    assert usable(index) == GOOD and len(index.clips) == len(TAKES) + 1
    (problem,) = reported(index, field=field)
    assert (problem.effect, problem.row, problem.clip) == ("left out", 6, "S03-05-001")
    assert problem.file == str(tree.table)
    assert all(value in problem.problem for value in values), problem.problem
    assert problem.problem in by_name(index)["S03-05-001"].problem, "the clip carries its reason"
    with pytest.raises(InputError, match=r"(?s)MMEW_Micro_Exp\.xlsx.*6.*S03-05-001"):
        tree.index(on_problem="stop")


def test_empty_folder_and_an_empty_frame_are_named(tmp_path):
    tree = dataset_trees.mmew_micro(tmp_path, [*TAKES, Take(3, "S03-05-001", "fear", 2, 3, 4, first=1, last=5)])
    for file in tree.folders["S01-01-001"].iterdir():
        file.unlink()
    tree.frame("S02-02-001", 2).write_bytes(b"")
    for outside in (1, 5):
        tree.frame("S03-05-001", outside).write_bytes(b"")
    index = tree.index()
    assert usable(index) == {*GOOD, "S03-05-001"} - {"S01-01-001"}
    assert not reported(index, clip="S03-05-001"), "a frame outside onset..offset does not count"
    (none,), (zero,) = reported(index, clip="S01-01-001"), reported(index, clip="S02-02-001")
    assert none.row == 2 and str(tree.folders["S01-01-001"]) in none.problem
    assert zero.row == 4 and str(tree.folders["S02-02-001"] / "2.jpg") in zero.problem
    assert (none.effect, zero.effect) == ("left out", "noted")


def test_gap_between_onset_and_offset_is_noted(tmp_path):
    tree = dataset_trees.mmew_micro(tmp_path, TAKES)
    tree.frame("S01-04-001", 5).unlink()
    index = tree.index()
    assert usable(index) == GOOD
    (note,) = index.problems
    assert (note.effect, note.row) == ("noted", 3) and "5" in note.problem


def test_folder_without_row_is_reported(tmp_path):
    tree = dataset_trees.mmew_micro(tmp_path, [*TAKES, Take(3, "S03-05-001", "fear", row=False)])
    index = tree.index()
    assert {clip.clip for clip in index.clips} == GOOD
    (note,) = index.problems
    assert note.effect == "noted" and str(tree.folders["S03-05-001"]) in (note.file, note.problem)


def test_name_that_is_used_twice_is_used_once(tmp_path):
    tree = dataset_trees.mmew_micro(tmp_path, [*TAKES, TAKES[1]])
    index = tree.index()
    assert len(index.clips) == 5 and sum(c.problem == "" for c in index.clips) == 4
    assert len({clip.clip for clip in index.clips}) == 5, "clip names stay unique"
    (problem,) = reported(index, effect="left out")
    assert problem.row == 6 and "3" in problem.problem and "S01-04-001" in problem.problem


def test_name_under_two_subjects_is_used_for_neither(tmp_path):
    tree = dataset_trees.mmew_micro(tmp_path, [*TAKES, Take(2, "S01-01-001", "happiness", 1, 3, 5)])
    index = tree.index()
    assert usable(index) == GOOD - {"S01-01-001"}
    assert {p.row for p in reported(index, effect="left out")} == {2, 6}


def test_clip_in_two_places_is_left_out(tmp_path):
    tree = dataset_trees.mmew_micro(tmp_path, TAKES, order="subject")
    second = tmp_path / "Micro_Expression" / "S02" / "happiness" / "S01-01-001"
    shutil.copytree(tree.folders["S01-01-001"], second)
    index = tree.index()
    assert usable(index) == GOOD - {"S01-01-001"}
    (problem,) = reported(index, effect="left out")
    assert problem.row == 2
    assert str(second) in problem.problem and str(tree.folders["S01-01-001"]) in problem.problem


def test_clip_in_folder_of_another_subject_is_not_used(tmp_path):
    tree = dataset_trees.mmew_micro(tmp_path, TAKES, order="subject")
    (tmp_path / "Micro_Expression/S07/happiness").mkdir(parents=True)
    shutil.move(tree.folders["S01-01-001"], tmp_path / "Micro_Expression/S07/happiness/S01-01-001")
    index = tree.index()
    assert usable(index) == GOOD - {"S01-01-001"}
    (problem,) = index.problems
    assert problem.row == 2 and "S07" in problem.problem


def test_contradictory_emotions_are_noted(tmp_path):
    tree = dataset_trees.mmew_micro(
        tmp_path,
        [
            *TAKES,
            Take(3, "S03-05-001", "fear", cells={"Estimated Emotion": "sadness"}),
            Take(3, "S03-01-001", "fear"),
        ],
    )
    index = tree.index()
    clips = by_name(index)
    assert clips["S03-05-001"].label == "sadness" and clips["S03-01-001"].label == "fear", "the workbook is followed"
    assert {(p.row, p.effect) for p in index.problems} == {(6, "noted"), (7, "noted")}
    assert (
        all("sadness" in p.problem for p in reported(index, row=6)) and "happiness" in reported(index, row=7)[0].problem
    )


def test_everything_that_is_wrong_comes_in_one_list(tmp_path):
    bad = [
        Take(3, "S03-05-001", "fear", 1, 9, 5),
        Take(3, "S03-05-002", "fear", 6, 4, 2, first=1, last=9),
        Take(3, "S03-05-003", "fear", folder=False),
        Take(3, "S03-05-004", "fear", cells={"Estimated Emotion": "boredom"}),
        Take(3, "S03-05-005", "fear", row=False),
        Take(3, "S03-05-006", "fear", 101, 103, 105, first=1, last=5),
        Take(4, "S03-05-007", "fear"),
    ]
    tree = dataset_trees.mmew_micro(tmp_path, [*TAKES[:2], *bad, *TAKES[2:]])
    index = tree.index()
    assert usable(index) == GOOD | {"S03-05-001", "S03-05-006"}
    assert {problem.dataset for problem in index.problems} == {tree.name}
    assert sorted((p.row or 0, p.effect) for p in index.problems) == [
        (0, "noted"),
        (4, "apex spotted"),
        (5, "left out"),
        (6, "left out"),
        (7, "left out"),
        (8, "renumbered"),
        (9, "left out"),
    ]
    with pytest.raises(InputError) as error:
        tree.index(on_problem="stop")
    assert all(take.name in str(error.value) for take in bad)


def test_rows_in_any_order_and_empty_rows_keep_their_numbers(tmp_path):
    tree = dataset_trees.mmew_micro(tmp_path, [*reversed(TAKES), Take(3, "S03-05-001", "fear", folder=False)])
    rows = dataset_files.sheet_rows(dataset_trees.MMEW_COLUMNS, [])
    book = openpyxl.load_workbook(tree.table)
    body = [[cell.value for cell in row] for row in book.active.iter_rows(min_row=2)]
    dataset_files.write_table(tree.table, [*rows, *body[:2], [None] * 8, ["  "] * 8, *body[2:]])
    index = tree.index()
    assert usable(index) == GOOD
    assert [p.row for p in index.problems] == [8]


@pytest.mark.parametrize("column", ["Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion"])
def test_workbook_with_other_columns_is_named_with_them(tmp_path, column):
    tree = dataset_trees.mmew_micro(tmp_path, TAKES, rename={column: "Something else"})
    with pytest.raises(InputError) as error:
        tree.index()
    message = str(error.value)
    assert str(tree.table) in message and "Sheet1" in message
    assert column in message and "Something else" in message and "Action Units" in message


def test_missing_parts_are_one_message(tmp_path):
    empty = dataset_trees.Tree("mmew-micro", tmp_path / "empty")
    with pytest.raises(InputError, match="empty does not exist"):
        empty.index()
    empty.root.mkdir()
    with pytest.raises(InputError, match=r"MMEW_Micro_Exp\.xlsx"):
        empty.index()
    tree = dataset_trees.mmew_micro(tmp_path / "bare", [Take(1, "S01-01-001", "happiness", folder=False)])
    with pytest.raises(InputError, match="Micro_Expression"):
        tree.index()
    with pytest.raises(InputError, match=r"other\.xlsx does not exist"):
        tree.index(table="other.xlsx")


def test_newest_of_several_workbooks_is_read_and_noted(tmp_path):
    dataset_trees.mmew_micro(tmp_path, TAKES, rename={"OnsetFrame": None})
    tree = dataset_trees.mmew_micro(tmp_path, TAKES, table="MMEW_Micro_Exp_v2.xlsx")
    index = tree.index()
    assert usable(index) == GOOD
    (note,) = index.problems
    assert note.effect == "noted" and note.file == str(tree.table) and "MMEW_Micro_Exp.xlsx" in note.problem
    with pytest.raises(InputError, match="OnsetFrame"):
        tree.index(table="MMEW_Micro_Exp.xlsx")


def test_one_of_two_workbook_formats_is_read_and_noted(tmp_path):
    for table in ("MMEW_Micro_Exp.csv", "MMEW_Micro_Exp.xlsx"):
        tree = dataset_trees.mmew_micro(tmp_path, TAKES, table=table)
    index = tree.index()
    (note,) = index.problems
    assert usable(index) == GOOD and note.effect == "noted"
    assert note.file == str(tree.table) and "MMEW_Micro_Exp.csv" in note.problem


def test_absolute_numbers_are_rebased_without_apex(tmp_path):
    takes = [Take(1, "S01-01-001", "happiness", 101, "/", 105, first=1, last=5), Take(2, "S02-02-001", "surprise")]
    index = dataset_trees.mmew_micro(tmp_path, takes).index(on_problem="stop")
    clip = by_name(index)["S01-01-001"]
    assert (clip.onset, clip.apex, clip.offset, clip.problem) == (1, None, 5, "")
    assert {p.effect for p in reported(index, clip="S01-01-001")} == {"apex spotted", "renumbered"}
