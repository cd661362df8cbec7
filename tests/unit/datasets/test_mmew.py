"""MMEW: micro-expressions with a workbook in both orders of the tree, macro-expressions as single images."""

from collections import Counter

import dataset_trees
import published_takes
import pytest
from dataset_files import Take
from dataset_trees import by_name, reported, usable
from mmew_takes import GOOD, TAKES

from merflow.errors import InputError

PUBLISHED = published_takes.MMEW_PUBLISHED


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return dataset_trees.mmew_micro(tmp_path_factory.mktemp("mmew"), published_takes.mmew_takes())


# --- Micro ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["emotion", "subject"])
@pytest.mark.parametrize("others", ["others", "repression"])
@pytest.mark.parametrize(
    "table", ["MMEW_Micro_Exp.xlsx", "MMEW_Micro_Exp_v2.xlsx", "MMEW_Micro_Exp.csv", "MMEW_Micro_Exp.xls"]
)
def test_every_form_of_tree_and_workbook_gives_same_clips(tmp_path, order, others, table):
    tree = dataset_trees.mmew_micro(
        tmp_path / "MMEW", TAKES, order=order, others=others, table=table, padding=3, mess=table.endswith("v2.xlsx")
    )
    index = tree.index()
    assert index.problems == []
    assert [clip.clip for clip in index.clips] == [take.name for take in TAKES]
    first, other, *_ = index.clips
    assert (first.subject, first.label, first.kind) == ("my-mmew-micro/S01", "happiness", "micro")
    assert (first.onset, first.apex, first.offset, first.fps, first.align) == (1, 3, 5, 90.0, "auto")
    assert first.frames == str(tree.folders["S01-01-001"])
    assert (other.label, other.onset, other.apex, other.offset) == ("others", 2, 3, 6)
    assert index.source[0]["source_estimated_emotion"] == "happiness"
    assert index.source[0]["source_action_units"] == "4+7", "every column of the workbook goes along"


@pytest.mark.parametrize("word", ["others", "Other", "repression"])
def test_spellings_of_others_are_equal(tmp_path, word):
    takes = [*TAKES[:1], Take(1, "S01-04-001", "others", cells={"Estimated Emotion": word})]
    index = dataset_trees.mmew_micro(tmp_path, takes, others="repression").index()
    assert index.problems == [] and by_name(index)["S01-04-001"].label == "others"


@pytest.mark.parametrize("top", ["", "MMEW_Final", "download/MMEW"])
def test_root_may_be_folder_that_was_unpacked(tmp_path, top):
    tree = dataset_trees.mmew_micro(tmp_path / top, TAKES)
    index = dataset_trees.Tree("mmew-micro", tmp_path).index()
    assert usable(index) == GOOD and not index.problems
    assert index.clips[0].frames == str(tree.folders["S01-01-001"])


@pytest.mark.parametrize("table", ["MMEW_Micro_Exp.xlsx", "MMEW_Micro_Exp.csv"])
@pytest.mark.parametrize("subject", [1, "1", "S1", "S01", "s01 ", 1.0])
def test_subject_is_same_in_any_spelling(tmp_path, subject, table):
    takes = [Take(1, "S01-01-001", "happiness", cells={"Subject": subject}), *TAKES[2:]]
    index = dataset_trees.mmew_micro(tmp_path, takes, table=table).index()
    assert index.problems == [] and by_name(index)["S01-01-001"].subject == "my-mmew-micro/S01"


def test_micro_and_macro_layouts_share_a_root(tmp_path):
    micro, macro = dataset_trees.mmew_micro(tmp_path, TAKES), dataset_trees.mmew_macro(tmp_path, MACRO)
    index = micro.index()
    assert index.problems == [] and usable(index) == GOOD
    assert all("Micro_Expression" in clip.frames for clip in index.clips)
    index = macro.index()
    assert index.problems == [] and usable(index) == {take.name for take in MACRO}
    assert all("Macro_Expression" in clip.frames for clip in index.clips)


def test_root_may_be_folder_of_clips(tmp_path):
    tree = dataset_trees.mmew_micro(tmp_path, TAKES)
    tree.table.rename(tmp_path / "Micro_Expression" / tree.table.name)
    index = dataset_trees.Tree("mmew-micro", tmp_path / "Micro_Expression").index()
    assert index.problems == [] and usable(index) == GOOD


def test_complete_set_has_published_counts(published):
    index = published.index()
    assert index.problems == [] and len(index.clips) == 300
    assert len({clip.subject for clip in index.clips}) == 30
    assert Counter(clip.label for clip in index.clips) == PUBLISHED
    assert set(index.classes) == set(PUBLISHED)


@pytest.mark.parametrize(
    ("name", "classes", "clips"),
    [
        ("mmew-5", {"happiness", "surprise", "disgust", "fear", "sadness"}, 226),
        ("mmew-6", {"happiness", "surprise", "disgust", "fear", "sadness", "anger"}, 234),
        ("mmew-4", {"happiness", "surprise", "disgust", "others"}, 263),
    ],
)
def test_class_sets_keep_published_clips(published, name, classes, clips):
    index = published.index(classes=name)
    assert index.problems == [] and len(index.clips) == 300 and usable(index) == set(published.rows)
    assert set(index.classes) == classes
    assert Counter(c.label for c in index.clips if c.label) == {word: PUBLISHED[word] for word in classes}
    assert sum(c.label != "" for c in index.clips) == clips


def test_subset_is_reported_by_difference_and_used(tmp_path):
    takes = [take for take in published_takes.mmew_takes() if take.subject != 3]
    gone = Counter(t.emotion for t in published_takes.mmew_takes()) - Counter(t.emotion for t in takes)
    index = dataset_trees.mmew_micro(tmp_path, takes).index(classes="mmew-5", on_problem="stop")
    (note,) = index.problems
    assert note.effect == "noted"
    for word, count in gone.items():
        if word in index.classes:
            assert word in note.problem and str(PUBLISHED[word]) in note.problem
            assert str(PUBLISHED[word] - count) in note.problem
    assert not any(word in note.problem for word in ("anger", "others"))


@pytest.mark.parametrize("align", ["none", "detect", "auto"])
def test_user_decides_on_alignment(tmp_path, align):
    assert {clip.align for clip in dataset_trees.mmew_micro(tmp_path, TAKES).index(align=align).clips} == {align}


# --- Macro ------------------------------------------------------------------------------------------------------------

MACRO = [
    Take(1, "S01-01-001", "happiness"),
    Take(1, "S01-07-012", "anger"),
    Take(30, "S30-06-002", "sadness"),
]


def test_macro_images_are_stills_with_label_of_their_name(tmp_path):
    tree = dataset_trees.mmew_macro(tmp_path, MACRO)
    index = tree.index()
    assert index.problems == [] and sorted(clip.clip for clip in index.clips) == sorted(take.name for take in MACRO)
    clip = by_name(index)["S30-06-002"]
    assert (clip.subject, clip.label, clip.kind, clip.align) == ("my-mmew-macro/S30", "sadness", "still", "auto")
    assert (clip.onset, clip.apex, clip.offset) == (None, None, None)
    assert clip.frames == str(tree.folders["S30-06-002"])


def test_complete_macro_set(tmp_path):
    index = dataset_trees.mmew_macro(tmp_path, published_takes.mmew_macro_takes()).index(classes="mmew-macro-5")
    assert index.problems == [] and len(index.clips) == 900
    assert len({clip.subject for clip in index.clips}) == 30
    assert set(index.classes) == {"happiness", "surprise", "disgust", "fear", "sadness"}
    assert Counter(c.label for c in index.clips) == {"": 150} | dict.fromkeys(index.classes, 150)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("S02/happiness/S01-01-009.jpg", "S02"),
        ("S01/anger/S01-01-009.jpg", "anger"),
        ("S01/happiness/S01-09-009.jpg", "09"),
    ],
)
def test_macro_image_in_wrong_place_is_named(tmp_path, place, says):
    tree = dataset_trees.mmew_macro(tmp_path, MACRO)
    image = tmp_path / "Macro_Expression" / place
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(b"x")
    index = tree.index()
    assert usable(index) == {take.name for take in MACRO}
    (problem,) = reported(index, effect="left out")
    assert problem.clip == image.stem and says in problem.problem
    assert str(image) in problem.file


def test_empty_and_duplicate_macro_images_are_reported(tmp_path):
    tree = dataset_trees.mmew_macro(tmp_path, MACRO)
    tree.folders["S01-07-012"].write_bytes(b"")
    again = tmp_path / "Macro_Expression/S30/sadness/copy/S30-06-002.jpg"
    again.parent.mkdir()
    again.write_bytes(b"x")
    index = tree.index()
    assert {"S01-07-012", "S30-06-002"} <= usable(index) and sum(c.problem == "" for c in index.clips) == 3
    assert len(reported(index, effect="left out")) == 1
    assert any(str(tree.folders["S01-07-012"]) in p.problem for p in index.problems), "noted"
    with pytest.raises(InputError, match="S30-06-002"):
        tree.index(on_problem="stop")


def test_folder_without_macro_images_is_one_message(tmp_path):
    with pytest.raises(InputError, match=r"S01-01-001\.jpg"):
        dataset_trees.Tree("mmew-macro", tmp_path).index()
