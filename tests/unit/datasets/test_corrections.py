"""Corrections of annotations: applied, and reported with old and new value."""

import dataset_trees
import pytest
from dataset_files import Take
from dataset_trees import by_name, reported, usable

from merflow.errors import InputError, MerflowError

HEADER = "dataset,subject,clip,field,value,reason\n"
TAKES = [
    Take(1, "S01-01-001", "happiness", 1, 9, 5, first=1, last=6),
    Take(1, "S01-02-001", "surprise", 1, 3, 5),
    Take(2, "S02-03-001", "disgust", 5, 3, 1, first=1, last=6),
]


@pytest.fixture
def tree(tmp_path):
    return dataset_trees.mmew_micro(tmp_path / "MMEW", TAKES)


def corrected(tree, *rows, header=HEADER, **changes):
    """Index a tree with corrections; the first one is in row 2."""
    file = tree.root.parent / "corrections.csv"
    file.write_text(header + "".join(f"{row}\n" for row in rows))
    return tree.index(corrections=str(file), **changes)


def test_without_corrections_nothing_is_corrected(tree):
    for corrections in (None, ""):
        index = tree.index(corrections=corrections)
        assert {(p.row, p.effect) for p in index.problems} == {(2, "apex spotted"), (4, "left out")}


@pytest.mark.parametrize(
    ("clip", "field", "value", "old", "attribute", "becomes"),
    [
        ("S01-01-001", "apex", "4", "9", "apex", 4),
        ("S01-01-001", "Apex", "4", "9", "apex", 4),
        ("S01-02-001", "onset", "2", "1", "onset", 2),
        ("S01-02-001", "offset", "4", "5", "offset", 4),
        ("S01-02-001", "apex", "", "3", "apex", None),
        ("S01-02-001", "fps", "60", "90", "fps", 60.0),
        ("S01-02-001", "label", "fear", "surprise", "label", "fear"),
        ("S01-02-001", "Estimated Emotion", "fear", "surprise", "label", "fear"),
        ("S01-02-001", "estimated_emotion", "fear", "surprise", "label", "fear"),
    ],
)
def test_correction_is_applied_and_reported(tree, clip, field, value, old, attribute, becomes):
    index = corrected(tree, f"my-mmew-micro,S01,{clip},{field},{value},seen in the frames")
    assert getattr(by_name(index)[clip], attribute) == becomes
    (note,) = reported(index, effect="corrected")
    assert note.file.endswith("corrections.csv") and note.row == 2 and note.clip == clip
    assert all(text in note.problem for text in (old, value, "seen in the frames")), note.problem


def test_correction_repairs_what_was_wrong(tree):
    index = corrected(
        tree,
        "my-mmew-micro,S01,S01-01-001,apex,4,typed 9 for 4",
        "my-mmew-micro,S02,S02-03-001,onset,1,swapped",
        "my-mmew-micro,S02,S02-03-001,offset,5,swapped",
        on_problem="stop",
    )
    assert usable(index) == {take.name for take in TAKES}
    assert [(p.row, p.effect) for p in index.problems] == [(2, "corrected"), (3, "corrected"), (4, "corrected")]
    clip = by_name(index)["S02-03-001"]
    assert (clip.onset, clip.apex, clip.offset) == (1, 3, 5)


def test_wrong_correction_is_reported_with_workbook_row(tree):
    index = corrected(tree, "my-mmew-micro,S01,S01-02-001,offset,99,a guess", "my-mmew-micro,,S01-01-001,apex,77,no")
    assert "S01-02-001" not in usable(index) and by_name(index)["S01-01-001"].apex is None
    assert any(
        p.row == 3 and "99" in p.problem and p.file == str(tree.table) for p in reported(index, effect="left out")
    )
    assert any(p.row == 2 and "77" in p.problem for p in reported(index, effect="apex spotted"))


def test_exclusion_does_not_stop_the_run(tmp_path):
    takes = [Take(1, "S01-01-001", "happiness"), Take(2, "S02-02-001", "surprise")]
    tree = dataset_trees.mmew_micro(tmp_path / "MMEW", takes)
    index = corrected(tree, "my-mmew-micro,S01,S01-01-001,exclude,,eyes closed", on_problem="stop")
    assert usable(index) == {"S02-02-001"}


def test_clip_may_be_excluded_with_reason(tree):
    index = corrected(tree, "my-mmew-micro,S01,S01-02-001,exclude,,eyes closed")
    assert "S01-02-001" not in usable(index) and "eyes closed" in by_name(index)["S01-02-001"].problem
    (note,) = reported(index, effect="corrected")
    assert note.row == 2 and "eyes closed" in note.problem


def test_label_outside_class_set_is_not_scored(tree):
    index = corrected(tree, "my-mmew-micro,S01,S01-02-001,label,anger,seen", classes=["surprise", "happiness"])
    assert by_name(index)["S01-02-001"].label == "" and "S01-02-001" in usable(index)


@pytest.mark.parametrize("value", ["positive", "happiness", "Happiness"])
def test_label_may_be_given_as_class_or_as_datasets_word(tree, value):
    classes = {"map": {"happiness": "positive", "surprise": "negative", "disgust": "negative"}}
    assert by_name(tree.index(classes=classes))["S01-02-001"].label == "negative"
    index = corrected(tree, f"my-mmew-micro,S01,S01-02-001,label,{value},seen", classes=classes)
    assert by_name(index)["S01-02-001"].label == "positive"


def test_label_that_nobody_knows_is_reported(tree):
    index = corrected(tree, "my-mmew-micro,S01,S01-02-001,label,joy,seen")
    assert "S01-02-001" not in usable(index)
    assert any("joy" in problem.problem for problem in reported(index, effect="left out", clip="S01-02-001"))


@pytest.mark.parametrize("subject", ["S01", "s1", "1", "01", "my-mmew-micro/S01", ""])
def test_subject_is_known_in_any_spelling(tree, subject):
    index = corrected(tree, f"my-mmew-micro,{subject},S01-01-001,apex,4,seen")
    assert by_name(index)["S01-01-001"].apex == 4


@pytest.mark.parametrize("clip", ["S01-01-009", "S02-01-001", ""])
def test_row_that_fits_no_clip_is_reported_with_its_number(tree, clip):
    try:
        index = corrected(tree, "other,S01,S01-02-001,apex,2,x", f"my-mmew-micro,S01,{clip},apex,4,seen")
    except InputError as error:
        assert "row 3" in str(error)
    else:
        (note,) = [problem for problem in index.problems if problem.file.endswith("corrections.csv")]
        assert note.row == 3 and note.effect == "noted" and clip in note.clip + note.problem


def test_wrong_subject_fits_no_clip(tree):
    index = corrected(tree, "my-mmew-micro,S02,S01-01-001,apex,4,seen")
    assert by_name(index)["S01-01-001"].apex is None
    assert [(p.row, p.effect) for p in index.problems if p.file.endswith("corrections.csv")] == [(2, "noted")]


def test_rows_of_other_datasets_are_theirs(tree):
    index = corrected(tree, "samm,S01,S01-01-001,apex,4,seen", "my-mmew-micro,S01,S01-02-001,apex,2,seen")
    assert [p.row for p in reported(index, effect="corrected")] == [3]
    assert by_name(index)["S01-01-001"].apex is None


def test_correction_of_unknown_dataset_is_refused(tree):
    with pytest.raises(InputError, match=r"(?s)row 2.*my-mew-micro.*my-mmew-micro"):
        corrected(tree, "my-mew-micro,S01,S01-01-001,apex,4,seen", dataset_names=("my-mmew-micro", "samm"))


def test_every_row_that_cannot_be_read_is_listed(tree):
    with pytest.raises(InputError) as error:
        corrected(
            tree,
            "my-mmew-micro,S01,S01-01-001,apex,four,seen",
            "my-mmew-micro,S01,S01-01-001,apex,4,",
            "my-mmew-micro,S01,S01-01-001,,4,seen",
            "my-mmew-micro,S01,S01-02-001,apex,2,seen",
            "my-mmew-micro,S01,S01-02-001,onset,-1,seen",
        )
    message = str(error.value)
    assert "corrections.csv" in message and "four" in message and "-1" in message
    assert all(f"row {row}" in message for row in (2, 3, 4, 6)) and "row 5" not in message


@pytest.mark.parametrize("field", ["onsett", "OnsetFrame", "Onset Frame", "ApexFrame", "Subject", "Filename", "kind"])
def test_correction_is_applied_or_refused(tree, field):
    before = by_name(tree.index())["S01-02-001"]
    try:
        index = corrected(tree, f"my-mmew-micro,S01,S01-02-001,{field},2,seen")
    except MerflowError as error:
        assert "row 2" in str(error) and field.lower()[:5] in str(error).lower()
    else:
        if reported(index, effect="corrected"):
            assert by_name(index)["S01-02-001"] != before
        else:
            assert [p.row for p in index.problems if p.file.endswith("corrections.csv")] == [2]


@pytest.mark.parametrize("column", ["clip", "field", "value", "reason"])
def test_file_with_other_columns_is_named_with_them(tree, column):
    with pytest.raises(InputError) as error:
        corrected(tree, "my-mmew-micro,S01,S01-01-001,apex,4,seen", header=HEADER.replace(column, "what"))
    assert all(text in str(error.value) for text in ("corrections.csv", column, "what"))


def test_file_that_is_not_there_is_named(tree):
    with pytest.raises(InputError, match=r"gone\.csv"):
        tree.index(corrections=str(tree.root / "gone.csv"))


@pytest.mark.parametrize("separator", [";", "\t"])
def test_separator_may_be_comma_semicolon_or_tab(tree, separator):
    row = "my-mmew-micro,S01,S01-01-001,apex,4,seen".replace(",", separator)
    index = corrected(tree, row, header=HEADER.replace(",", separator))
    assert by_name(index)["S01-01-001"].apex == 4


def test_empty_rows_and_blanks_keep_row_numbers(tree):
    index = corrected(tree, ",,,,,", "", " my-mmew-micro , S01 , S01-01-001 , apex , 4 , seen ")
    assert [p.row for p in reported(index, effect="corrected")] == [4]


def test_dataset_is_not_written_to(tree):
    before = {file: file.read_bytes() for file in tree.root.rglob("*") if file.is_file()}
    corrected(tree, "my-mmew-micro,S01,S01-01-001,apex,4,seen")
    assert {file: file.read_bytes() for file in tree.root.rglob("*") if file.is_file()} == before


def test_name_that_two_subjects_have_needs_its_subject(tmp_path):
    takes = [Take(1, "EP02_01f", "happiness"), Take(2, "EP02_01f", "disgust"), Take(4, "EP12_01f", "others", 1, "/", 5)]
    tree = dataset_trees.casme2(tmp_path / "CASME2", takes)
    index = corrected(tree, "my-casme2,,EP02_01f,apex,2,which one?")
    (note,) = [problem for problem in index.problems if problem.file.endswith("corrections.csv")]
    assert (note.row, note.effect) == (2, "noted")
    assert [clip.apex for clip in index.clips] == [3, 3, None]
    index = corrected(
        tree,
        "my-casme2,02,EP02_01f,apex,2,seen",
        "my-casme2,,sub01/EP02_01f,apex,4,seen",
        "my-casme2,4,EP12_01f,apex,3,published later",
    )
    assert [clip.apex for clip in index.clips] == [4, 2, 3]
    assert [(p.row, p.effect) for p in index.problems] == [(2, "corrected"), (3, "corrected"), (4, "corrected")]
    assert "/" in index.problems[-1].problem


def test_datasets_without_workbook_can_be_corrected(tmp_path):
    smic = dataset_trees.smic_hs(tmp_path / "SMIC", [Take(1, "s1_ne_01", "negative", None, None, None, 11, 19)])
    index = corrected(smic, "my-smic-hs,s1,s1_ne_01,apex,15,marked", "my-smic-hs,s01,s1_ne_01,onset,12,marked")
    assert (index.clips[0].onset, index.clips[0].apex, index.clips[0].offset) == (12, 15, 19)
    ck = dataset_trees.ck_plus(tmp_path / "CK", [Take(5, "001", "happy", None, None, None, 1, 9)])
    index = corrected(ck, "my-ck-plus,S005,S005_001,label,fear,seen", "my-ck-plus,5,S005_001,apex,8,seen")
    assert (index.clips[0].label, index.clips[0].apex) == ("fear", 8)
    macro = dataset_trees.mmew_macro(
        tmp_path / "MMEW", [Take(1, "S01-01-001", "happiness"), Take(1, "S01-01-002", "happiness")]
    )
    index = corrected(macro, "my-mmew-macro,S01,S01-01-002,exclude,,blurred")
    assert usable(index) == {"S01-01-001"}
    flows = dataset_trees.flow_images(
        tmp_path / "flows", [dataset_trees.FlowImage("samm", "006", "006_1_2", "negative")]
    )
    index = corrected(flows, "my-flow-images,006,006_1_2,label,positive,seen")
    assert index.clips[0].label == "positive" and index.classes == ["positive"]


# --- What a distributed workbook cannot say itself --------------------------------------------------------------------


def test_second_of_two_clips_of_one_name_is_named_by_its_row(tmp_path):
    takes = [Take(1, "S01-01-001", "happiness"), Take(1, "S01-01-001", "happiness"), Take(2, "S02-02-001", "surprise")]
    tree = dataset_trees.mmew_micro(tmp_path / "MMEW", takes)
    assert "S01-01-001 (row 3)" in by_name(tree.index())
    both = corrected(tree, "my-mmew-micro,S01,S01-01-001,exclude,,twice")
    assert reported(both, row=2, field="exclude")[0].effect == "noted", "fits two clips; not applied"
    index = corrected(tree, "my-mmew-micro,S01,S01-01-001 (row 3),exclude,,twice", on_problem="stop")
    assert usable(index) == {"S01-01-001", "S02-02-001"}


def test_wrong_subject_can_be_corrected(tmp_path):
    takes = [Take(9, "S01-01-001", "happiness"), Take(2, "S02-02-001", "surprise")]
    tree = dataset_trees.mmew_micro(tmp_path / "MMEW", takes)
    assert usable(tree.index()) == {"S02-02-001"}
    index = corrected(tree, "my-mmew-micro,9,S01-01-001,subject,1,as the file name says", on_problem="stop")
    assert by_name(index)["S01-01-001"].subject.endswith("/S01")
    assert reported(index, effect="corrected")[0].problem.startswith("S09 -> 1")


def test_correction_that_fits_nothing_stops_strict_study(tmp_path):
    tree = dataset_trees.mmew_micro(
        tmp_path / "MMEW", [Take(1, "S01-01-001", "happiness"), Take(2, "S02-02-001", "surprise")]
    )
    with pytest.raises(InputError, match="has no such clip"):
        corrected(tree, "my-mmew-micro,1,S01-01-099,apex,3,slip", on_problem="stop")


def test_two_corrections_of_one_cell_contradict_each_other(tree):
    with pytest.raises(InputError, match="row 3: apex of S01-01-001 is corrected in row 2 too"):
        corrected(tree, "my-mmew-micro,1,S01-01-001,apex,3,a", "my-mmew-micro,1,S01-01-001,apex,4,b")
