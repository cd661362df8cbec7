"""SAMM: a workbook with a preamble and several sheets, two label columns, file numbers of 4 and 5 digits."""

import shutil
from collections import Counter

import dataset_files
import dataset_trees
import openpyxl
import published_takes
import pytest
from dataset_files import Take
from dataset_trees import by_name, reported, usable

from merflow.errors import ConfigError, InputError

TAKES = [
    Take(6, "006_1_2", "anger", 5562, 5564, 5567, objective=3),
    Take(6, "006_3_4", "other", 98, 99, 103, objective=7),
    Take(17, "017_1_1", "happiness", 9998, 10001, 10004, objective=1),
    Take(37, "037_7_2", "sadness", 12, 13, 15, objective=5),
]
GOOD = {take.name for take in TAKES}
BAD_ROW = 14 + len(TAKES) + 1
OBJECTIVE = {"happiness": 24, "surprise": 13, "anger": 20, "disgust": 8, "fear": 7}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return dataset_trees.samm(tmp_path_factory.mktemp("samm"), published_takes.samm_takes())


@pytest.mark.parametrize("table", ["SAMM_Micro_FACS_Codes_v2.xlsx", "SAMM_Micro_FACS_Codes_v2.xls", "SAMM_FACS.csv"])
@pytest.mark.parametrize("frames", ["", "SAMM", "download/SAMM"])
def test_clips_are_read_below_preamble_in_every_format(tmp_path, table, frames):
    tree = dataset_trees.samm(tmp_path, TAKES, table=table, frames=frames, mess=True)
    index = tree.index()
    assert index.problems == [] and [clip.clip for clip in index.clips] == [take.name for take in TAKES]
    first, *_ = index.clips
    assert (first.subject, first.label, first.kind) == ("my-samm/006", "anger", "micro")
    assert (first.onset, first.apex, first.offset, first.fps, first.align) == (5562, 5564, 5567, 200.0, "detect")
    assert first.frames == str(tree.folders["006_1_2"])
    assert index.source[0]["source_estimated_emotion"].lower() == "anger"
    assert float(index.source[0]["source_objective_classes"]) == 3, "the label that is not used goes along"
    assert index.source[0]["source_action_units"] == "4+R7" and index.source[0]["source_micro"] == "1/2"


@pytest.mark.parametrize("table", ["SAMM_Micro_FACS_Codes_v2.xlsx", "SAMM_Micro_FACS_Codes_v2.csv"])
@pytest.mark.parametrize("subject", [6, "6", "006", " 006 ", 6.0])
def test_subject_is_same_in_any_spelling(tmp_path, subject, table):
    takes = [Take(6, "006_1_2", "anger", cells={"Subject": subject}), *TAKES[2:]]
    index = dataset_trees.samm(tmp_path, takes, table=table).index()
    assert index.problems == [] and by_name(index)["006_1_2"].subject == "my-samm/006"


def test_folders_of_subjects_may_lack_padding(tmp_path):
    tree = dataset_trees.samm(tmp_path, TAKES)
    for name in ("006", "017", "037"):
        (tmp_path / "SAMM" / name).rename(tmp_path / "SAMM" / str(int(name)))
    index = tree.index()
    assert index.problems == [] and usable(index) == GOOD
    assert by_name(index)["006_1_2"].subject == "my-samm/006"


def test_file_numbers_ignore_padding(tmp_path):
    tree = dataset_trees.samm(tmp_path, TAKES, digits=lambda take: 4 if take.subject == 17 else 5)
    assert {len(f.stem) for f in tree.folders["017_1_1"].iterdir()} == {8, 9}, "9999 is followed by 10000"
    index = tree.index()
    assert index.problems == []
    assert (by_name(index)["017_1_1"].onset, by_name(index)["017_1_1"].offset) == (9998, 10004)


def test_micro_sheet_is_preferred_to_another_with_its_columns(tmp_path):
    tree = dataset_trees.samm(tmp_path, TAKES)
    book = openpyxl.load_workbook(tree.table)
    decoy = book.create_sheet("MICRO_AND_MACRO", 0)
    for row in dataset_files.sheet_rows(dataset_trees.SAMM_COLUMNS, [{"Subject": "099", "Filename": "099_1_1"}]):
        decoy.append(row)
    book.save(tree.table)
    assert {clip.clip for clip in tree.index().clips} == GOOD


@pytest.mark.parametrize(("sheet", "preamble"), [("Sheet1", 13), ("MICRO_ONLY", 0), ("MICRO_ONLY", 20)])
def test_header_is_searched_for(tmp_path, sheet, preamble):
    take = Take(8, "008_1_1", "fear", folder=False)
    index = dataset_trees.samm(tmp_path, [*TAKES, take], sheet=sheet, preamble=preamble).index()
    assert usable(index) == GOOD
    assert [p.row for p in index.problems] == [preamble + 6], "rows are counted as the spreadsheet counts them"


def test_complete_set_has_published_counts_in_both_columns(published):
    index = published.index()
    assert index.problems == [] and len(index.clips) == 159
    assert len({clip.subject for clip in index.clips}) == 29
    assert Counter(clip.label for clip in index.clips) == published_takes.SAMM_ESTIMATED
    objective = Counter(source["source_objective_classes"] for source in index.source)
    assert objective == {str(word): count for word, count in published_takes.SAMM_OBJECTIVE.items()}
    assert published.index(classes="samm-estimated").clips == index.clips


def test_five_objective_classes_are_72_clips_of_21_subjects(published):
    index = published.index(classes="samm-5-objective", on_problem="stop")
    assert index.problems == [] and len(index.clips) == 159 and usable(index) == set(published.rows)
    assert set(index.classes) == set(OBJECTIVE)
    scored = [clip for clip in index.clips if clip.label]
    assert len(scored) == 72 and len({clip.subject for clip in scored}) == 21
    assert Counter(clip.label for clip in scored) == OBJECTIVE
    words = {
        source["source_objective_classes"]: clip.label for clip, source in zip(index.clips, index.source, strict=True)
    }
    assert words == {
        "1": "happiness", "2": "surprise", "3": "anger", "4": "disgust", "5": "", "6": "fear", "7": "",
    }  # fmt: skip


def test_composite_keeps_all_but_other(published):
    index = published.index(classes="megc2019")
    scored = [clip for clip in index.clips if clip.label]
    assert index.problems == [] and len(scored) == 133 and len({clip.subject for clip in scored}) == 28
    assert Counter(clip.label for clip in scored) == {"negative": 92, "positive": 26, "surprise": 15}


def test_user_map_may_read_second_column(published):
    classes = {"column": "Objective Classes", "map": {1: "good", "4": "bad", "6": "bad"}}
    index = published.index(classes=classes)
    assert not reported(index, effect="left out")
    assert Counter(clip.label for clip in index.clips if clip.label) == {"good": 24, "bad": 15}
    assert set(index.classes) == {"good", "bad"}


def test_column_that_is_not_there_is_named(published):
    with pytest.raises(ConfigError, match=r"(?s)valence.*objective_classes"):
        published.index(classes={"column": "Valence", "map": {"1": "good"}})


@pytest.mark.parametrize(
    ("take", "field", "values"),
    [
        (Take(8, "008_1_1", "fear", 110, 105, 102, first=100, last=115), "onset", ["110", "102"]),
        (Take(8, "008_1_1", "fear", 101, 105, 120, first=101, last=115), "offset", ["120", "115"]),
        (Take(8, "008_1_1", "fear", 99, 105, 110, first=101, last=115), "onset", ["99", "101"]),
        (Take(8, "008_1_1", "fear", "-", 105, 110, first=101, last=115), "onset", ["-"]),
        (Take(8, "008_1_1", "fear", 101, 105, None, first=101, last=115), "offset", []),
        (Take(8, "008_1_1", "fear", folder=False), "frames", ["008_1_1"]),
        (Take(9, "008_1_1", "fear"), "subject", ["9", "008_1_1"]),
        (Take(8, "008_1_1", "joy"), "label", ["Joy"]),
    ],
)
def test_unusable_row_is_reported_and_others_stay(tmp_path, take, field, values):
    tree = dataset_trees.samm(tmp_path, [*TAKES, take])
    index = tree.index()
    assert usable(index) == GOOD and len(index.clips) == len(TAKES) + 1
    (problem,) = reported(index, field=field)
    assert (problem.effect, problem.row, problem.clip) == ("left out", BAD_ROW, "008_1_1")
    assert problem.file == str(tree.table)
    assert all(value in problem.problem for value in values), problem.problem
    assert problem.problem in by_name(index)["008_1_1"].problem
    with pytest.raises(InputError, match=rf"(?s)SAMM_Micro.*{BAD_ROW}.*008_1_1"):
        tree.index(on_problem="stop")


def test_numbers_are_never_moved(tmp_path):
    """SAMM's numbers are those of the files in every release, so other numbers mean a damaged clip."""
    index = dataset_trees.samm(
        tmp_path, [*TAKES, Take(8, "008_1_1", "fear", 1001, 1003, 1005, first=1, last=5)]
    ).index()
    assert usable(index) == GOOD and not reported(index, effect="renumbered")
    assert {(p.row, p.effect) for p in index.problems} == {(BAD_ROW, "left out")}


@pytest.mark.parametrize("apex", [None, "/", 99, 120, "n/a"])
def test_impossible_apex_is_reported_and_spotted(tmp_path, apex):
    tree = dataset_trees.samm(tmp_path, [*TAKES, Take(8, "008_1_1", "fear", 101, apex, 110)])
    index = tree.index()
    clip = by_name(index)["008_1_1"]
    assert (clip.onset, clip.apex, clip.offset, clip.problem) == (101, None, 110, "")
    (problem,) = index.problems
    assert (problem.effect, problem.row, problem.field) == ("apex spotted", BAD_ROW, "apex")
    assert str(apex or "") in problem.problem


def test_older_annotation_is_reported_and_corrected(tmp_path):
    """Older copies lack three apexes and have one wrong offset."""
    older = [
        Take(28, "028_4_1", "anger", 3000, None, 3006),
        Take(32, "032_3_1", "anger", 3000, None, 3006),
        Take(32, "032_3_2", "anger", 3000, None, 3006),
        Take(13, "013_1_9", "anger", 3000, 3003, 2006, first=3000, last=3006),
    ]
    tree = dataset_trees.samm(tmp_path, [*TAKES, *older])
    index = tree.index()
    assert usable(index) == GOOD | {"028_4_1", "032_3_1", "032_3_2"}
    told_of = {(p.row, p.effect) for p in index.problems}
    assert told_of == {(19, "apex spotted"), (20, "apex spotted"), (21, "apex spotted"), (22, "left out")}
    corrections = tmp_path / "corrections.csv"
    corrections.write_text(
        "dataset,subject,clip,field,value,reason\n"
        "my-samm,028,028_4_1,apex,3002,newer copy\n"
        "my-samm,32,032_3_1,apex,3002,newer copy\n"
        "my-samm,032,032_3_2,apex,3002,newer copy\n"
        "my-samm,013,013_1_9,offset,3006,newer copy\n"
    )
    index = tree.index(corrections=str(corrections), on_problem="stop")
    assert usable(index) == GOOD | {take.name for take in older}
    assert {p.effect for p in index.problems} == {"corrected"} and len(index.problems) == 4
    assert all(by_name(index)[take.name].apex for take in older) and by_name(index)["013_1_9"].offset == 3006


def test_file_name_of_two_subjects_is_used_for_neither(tmp_path):
    index = dataset_trees.samm(tmp_path, [*TAKES, Take(7, "006_1_2", "anger", 5562, 5564, 5567)]).index()
    assert usable(index) == GOOD - {"006_1_2"}
    assert {p.row for p in reported(index, effect="left out")} == {15, BAD_ROW}


def test_name_that_is_used_twice_is_used_once(tmp_path):
    index = dataset_trees.samm(tmp_path, [*TAKES, TAKES[1]]).index()
    assert len({clip.clip for clip in index.clips}) == 5 and sum(c.problem == "" for c in index.clips) == 4
    (problem,) = reported(index, effect="left out")
    assert problem.row == BAD_ROW and "16" in problem.problem and "006_3_4" in problem.problem


@pytest.mark.parametrize("wrong", ["005", "007"])
def test_folder_of_another_subject_is_not_used(tmp_path, wrong):
    tree = dataset_trees.samm(tmp_path, TAKES)
    stray = tmp_path / "SAMM" / wrong / "006_1_2"
    shutil.copytree(tree.folders["006_1_2"], stray)
    index = tree.index()
    assert by_name(index)["006_1_2"].frames == str(tree.folders["006_1_2"])
    assert any(str(stray) in (p.file, p.problem) for p in index.problems)
    shutil.rmtree(tree.folders["006_1_2"])
    index = tree.index()
    assert usable(index) == GOOD - {"006_1_2"}
    assert {(p.row, p.effect) for p in index.problems} == {(15, "left out"), (None, "noted")}


def test_everything_that_is_wrong_comes_in_one_list(tmp_path):
    bad = [
        Take(8, "008_1_1", "fear", 101, 120, 110),
        Take(8, "008_1_2", "fear", 110, 105, 102, first=100, last=115),
        Take(8, "008_1_3", "fear", folder=False),
        Take(8, "008_1_4", "joy"),
        Take(8, "008_1_5", "fear", row=False),
        Take(9, "008_1_6", "fear"),
        Take(8, "008_1_7", "fear"),
    ]
    tree = dataset_trees.samm(tmp_path, [*bad, *TAKES])
    tree.frame("008_1_7", 4).write_bytes(b"")
    index = tree.index()
    assert usable(index) == GOOD | {"008_1_1", "008_1_7"}
    assert sorted((p.row or 0, p.effect) for p in index.problems) == [
        (0, "noted"),
        (15, "apex spotted"),
        (16, "left out"),
        (17, "left out"),
        (18, "left out"),
        (19, "left out"),
        (20, "noted"),
    ]
    with pytest.raises(InputError) as error:
        tree.index(on_problem="stop")
    assert all(take.name in str(error.value) for take in bad)
    assert str(tree.frame("008_1_7", 4)) in reported(index, clip="008_1_7")[0].problem


def test_subset_is_reported_by_difference_and_used(tmp_path):
    takes = published_takes.samm_takes()
    kept = [take for take in takes if take.subject != 6]
    gone = Counter(take.objective for take in takes) - Counter(take.objective for take in kept)
    index = dataset_trees.samm(tmp_path, kept).index(classes="samm-5-objective", on_problem="stop")
    (note,) = index.problems
    assert note.effect == "noted" and "20" in note.problem and "21" in note.problem, "the subjects are compared too"
    assert "anger" in note.problem and str(20 - gone[3]) in note.problem


@pytest.mark.parametrize(
    ("column", "new"),
    [("Filename", "Name"), ("Onset Frame", "Begin"), ("Offset Frame", None), ("Estimated Emotion", "Feeling")],
)
def test_workbook_with_other_columns_is_named_with_them(tmp_path, column, new):
    tree = dataset_trees.samm(tmp_path, TAKES, rename={column: new})
    with pytest.raises(InputError) as error:
        tree.index()
    message = str(error.value)
    assert str(tree.table) in message and "MICRO_ONLY" in message
    assert column.lower().replace(" ", "") in message.lower().replace(" ", "")
    assert (new or "Inducement Code") in message, "the existing columns are named"


def test_objective_classes_column_is_optional(tmp_path):
    tree = dataset_trees.samm(tmp_path, TAKES, rename={"Objective Classes": None})
    assert {clip.label for clip in tree.index(classes="samm-estimated").clips} <= {take.emotion for take in TAKES}
    with pytest.raises(ConfigError, match="no column 'objective_classes'; its columns: .*estimated_emotion"):
        tree.index(classes="samm-5-objective")


def test_root_without_subjects_is_one_message(tmp_path):
    tree = dataset_trees.samm(tmp_path, [Take(6, "006_1_2", "anger", folder=False)])
    with pytest.raises(InputError, match=r"006_05562\.jpg"):
        tree.index()
