"""SMIC-HS: no workbook and no apex; the folders are the annotation."""

import shutil
from collections import Counter

import dataset_trees
import published_takes
import pytest
from dataset_files import Take
from dataset_trees import by_name, reported, usable

from merflow.errors import InputError


def take(subject, name, emotion, first=90823, last=90827):
    return Take(subject, name, emotion, None, None, None, first, last)


TAKES = [
    take(1, "s1_ne_01", "negative"),
    take(1, "s1_po_02", "positive", 998, 1003),
    take(2, "s2_sur_01", "surprise"),
    take(20, "s20_ne_10", "negative", 0, 4),
]
GOOD = {take.name for take in TAKES}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return dataset_trees.smic_hs(tmp_path_factory.mktemp("smic"), published_takes.smic_takes())


@pytest.mark.parametrize(
    ("top", "cropped"),
    [("HS", False), ("SMIC_all_raw/HS", False), ("", False), ("HS", True), ("SMIC_all_cropped/HS", True)],
)
def test_tree_is_index(tmp_path, top, cropped):
    tree = dataset_trees.smic_hs(tmp_path, TAKES, top=top, cropped=cropped)
    index = tree.index()
    assert index.problems == [] and {clip.clip for clip in index.clips} == GOOD
    clip = by_name(index)["s1_po_02"]
    assert (clip.subject, clip.label, clip.kind) == ("my-smic-hs/s01", "positive", "micro")
    assert (clip.onset, clip.apex, clip.offset, clip.fps) == (998, None, 1003, 100.0), "by number, not by name"
    assert {clip.align for clip in index.clips} == {"auto" if cropped else "detect"}
    assert clip.frames == str(tree.folders["s1_po_02"])
    assert by_name(index)["s20_ne_10"].onset == 0 and by_name(index)["s20_ne_10"].subject == "my-smic-hs/s20"
    assert {source["source_emotion"] for source in index.source} == {"negative", "positive", "surprise"}


def test_subject_of_one_digit_may_be_padded(tmp_path):
    tree = dataset_trees.smic_hs(tmp_path, TAKES)
    (tmp_path / "HS" / "s1").rename(tmp_path / "HS" / "s01")
    index = tree.index()
    assert index.problems == [] and by_name(index)["s1_ne_01"].subject == "my-smic-hs/s01"


@pytest.mark.parametrize("classes", [None, "smic-3", "megc2019"])
def test_complete_set_has_published_counts(published, classes):
    index = published.index(**({"classes": classes} if classes else {}))
    assert index.problems == [] and len(index.clips) == 164
    assert len({clip.subject for clip in index.clips}) == 16
    assert Counter(clip.label for clip in index.clips) == published_takes.SMIC_PUBLISHED
    assert set(index.classes) == set(published_takes.SMIC_PUBLISHED)
    assert all(clip.apex is None and clip.onset < clip.offset for clip in index.clips)


def test_missing_apex_does_not_stop_the_run(published):
    assert published.index(on_problem="stop").problems == []


def test_other_cameras_and_other_clips_are_skipped(tmp_path):
    tree = dataset_trees.smic_hs(tmp_path, TAKES, top="raw/HS")
    dataset_trees.smic_hs(tmp_path, TAKES, top="NIR")
    dataset_trees.smic_hs(tmp_path, TAKES, top="raw/VIS")
    shutil.copytree(tree.folders["s1_ne_01"], tmp_path / "raw/HS/s1/non_micro/s1_nonmicro_01")
    index = tree.index()
    assert index.problems == [] and {clip.clip for clip in index.clips} == GOOD
    assert all(clip.frames == str(tree.folders[clip.clip]) for clip in index.clips)


def test_raw_frames_are_preferred_to_cropped_and_noted(tmp_path):
    raw = dataset_trees.smic_hs(tmp_path, TAKES, top="SMIC_all_raw/HS")
    cropped = dataset_trees.smic_hs(tmp_path, TAKES, top="SMIC_all_cropped/HS", cropped=True)
    index = raw.index()
    assert {clip.frames for clip in index.clips} == {str(folder) for folder in raw.folders.values()}
    (note,) = index.problems
    assert note.effect == "noted" and "SMIC_all_raw" in note.problem and "SMIC_all_cropped" in note.problem
    index = raw.index(images="SMIC_all_cropped")
    assert index.problems == [] and {clip.align for clip in index.clips} == {"auto"}
    assert {clip.frames for clip in index.clips} == {str(folder) for folder in cropped.folders.values()}


@pytest.mark.parametrize(
    ("bad", "place", "says"),
    [
        (take(3, "s3_ne_01", "positive"), "s3_ne_01", "positive"),
        (take(3, "s4_ne_01", "negative"), "s4_ne_01", "s3"),
        (take(3, "s3_xx_01", "negative"), "s3_xx_01", "s3_xx_01"),
    ],
)
def test_folder_that_contradicts_its_name_is_named(tmp_path, bad, place, says):
    tree = dataset_trees.smic_hs(tmp_path, [*TAKES, bad])
    index = tree.index()
    assert usable(index) == GOOD and len(index.clips) == 5
    (problem,) = reported(index, effect="left out")
    assert problem.clip == place and says in problem.problem
    assert str(tree.folders[place]) in (problem.file, problem.problem)


def test_emotion_that_dataset_does_not_have_is_named(tmp_path):
    tree = dataset_trees.smic_hs(tmp_path, [*TAKES, take(3, "s3_ne_01", "boredom")])
    index = tree.index()
    assert usable(index) == GOOD
    assert any("boredom" in problem.problem for problem in reported(index, effect="left out", clip="s3_ne_01"))


def test_clip_in_two_folders_is_not_used_twice(tmp_path):
    tree = dataset_trees.smic_hs(tmp_path, TAKES)
    shutil.copytree(tree.folders["s1_ne_01"], tmp_path / "HS/s2/micro/negative/s1_ne_01")
    shutil.copytree(tree.folders["s2_sur_01"], tmp_path / "HS/s2/micro/negative/s2_sur_01")
    index = tree.index()
    good = [clip for clip in index.clips if not clip.problem]
    assert len(index.clips) == 6 and len({clip.clip for clip in index.clips}) == 6
    assert len({clip.frames for clip in good}) == len(good)
    assert all(clip.frames == str(tree.folders[clip.clip.split(" ")[0]]) for clip in good)
    assert {problem.clip.split(" ")[0] for problem in reported(index, effect="left out")} == {
        "s1_ne_01",
        "s2_sur_01",
    }


def test_empty_folders_and_empty_frames_are_named(tmp_path):
    tree = dataset_trees.smic_hs(tmp_path, TAKES)
    for file in tree.folders["s1_ne_01"].iterdir():
        file.unlink()
    tree.frame("s2_sur_01", 90825).write_bytes(b"")
    index = tree.index()
    assert usable(index) == {"s1_po_02", "s2_sur_01", "s20_ne_10"}
    (none,), (zero,) = reported(index, clip="s1_ne_01"), reported(index, clip="s2_sur_01")
    assert str(tree.folders["s1_ne_01"]) in none.problem and none.effect == "left out"
    assert str(tree.frame("s2_sur_01", 90825)) in zero.problem and zero.effect == "noted"
    with pytest.raises(InputError, match=r"(?s)s1_ne_01.*s2_sur_01"):
        tree.index(on_problem="stop")


def test_two_files_of_one_number_are_named(tmp_path):
    tree = dataset_trees.smic_hs(tmp_path, TAKES)
    (tree.folders["s1_ne_01"] / "image90824.jpg").write_bytes(b"x")
    index = tree.index()
    assert [p.clip for p in index.problems] == ["s1_ne_01"], "which of the two is frame 90824 cannot be told"


def test_missing_frame_is_reported_and_clip_is_used(tmp_path):
    tree = dataset_trees.smic_hs(tmp_path, TAKES)
    tree.frame("s1_ne_01", 90825).unlink()
    index = tree.index()
    (note,) = index.problems
    assert usable(index) == GOOD and note.effect == "noted" and "90825" in note.problem


def test_subset_is_reported_by_difference_and_used(tmp_path):
    takes = [take for take in published_takes.smic_takes() if take.subject != 1]
    index = dataset_trees.smic_hs(tmp_path, takes).index(classes="smic-3", on_problem="stop")
    (note,) = index.problems
    assert note.effect == "noted" and "15" in note.problem and "16" in note.problem
    for word, count in Counter(take.emotion for take in takes).items():
        published = published_takes.SMIC_PUBLISHED[word]
        assert f"{word} {count} instead of {published}" in note.problem


def test_root_without_subjects_is_one_message(tmp_path):
    (tmp_path / "HS").mkdir()
    with pytest.raises(InputError, match=r"s1/micro/negative/s1_ne_01/image090823\.jpg"):
        dataset_trees.Tree("smic-hs", tmp_path).index()
