"""CK+: sequences from neutral to peak, label files of one number each, most label folders empty."""

import shutil
from collections import Counter

import dataset_trees
import published_takes
import pytest
from dataset_files import Take
from dataset_trees import by_name, reported, usable

from merflow.errors import InputError


def take(subject, name, emotion, last=5):
    return Take(subject, name, emotion, None, None, None, 1, last)


TAKES = [
    take(5, "001", "disgust", 11),
    take(10, "001", "", 4),
    take(10, "002", "happy", 6),
    take(999, "014", "neutral", 2),
]
GOOD = {"S005_001", "S010_001", "S010_002", "S999_014"}
PUBLISHED = {"happiness" if word == "happy" else word: count for word, count in published_takes.CK_PUBLISHED.items()}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return dataset_trees.ck_plus(tmp_path_factory.mktemp("ck"), published_takes.ck_takes())


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("cohn-kanade-images", "Emotion"),
        ("extended-cohn-kanade-images/cohn-kanade-images", "Emotion_labels/Emotion"),
        ("CK+/cohn-kanade-images", "CK+/Emotion"),
        ("cohn-kanade-images", "emotion"),
    ],
)
def test_sequences_run_from_first_frame_to_apex(tmp_path, images, labels):
    tree = dataset_trees.ck_plus(tmp_path, TAKES, images=images, labels=labels)
    index = tree.index()
    assert {clip.clip for clip in index.clips} == usable(index) == GOOD
    clip = by_name(index)["S005_001"]
    assert (clip.subject, clip.label, clip.kind) == ("my-ck-plus/S005", "disgust", "macro")
    assert (clip.onset, clip.apex, clip.offset, clip.align) == (1, 11, 11, "detect")
    assert clip.frames == str(tree.folders["S005_001"])
    assert {name: clip.label for name, clip in by_name(index).items()} == {
        "S005_001": "disgust", "S010_001": "", "S010_002": "happiness", "S999_014": "neutral",
    }  # fmt: skip


def test_sequences_without_label_are_reported_once(tmp_path):
    tree = dataset_trees.ck_plus(tmp_path, [*TAKES, take(11, "001", ""), take(11, "002", "")])
    shutil.rmtree(tmp_path / "Emotion" / "S011")
    (note,) = tree.index(on_problem="stop").problems
    assert note.effect == "noted" and "3" in note.problem and "6" in note.problem


def test_complete_set_has_published_counts(published):
    index = published.index(classes="ck-plus-7", on_problem="stop")
    assert len(index.clips) == 593 and len({clip.subject for clip in index.clips}) == 123
    counts = Counter(clip.label for clip in index.clips)
    assert counts.pop("") == 266 and counts == PUBLISHED and counts.total() == 327
    assert set(index.classes) == set(PUBLISHED)
    (note,) = index.problems
    assert note.effect == "noted" and "266" in note.problem and "593" in note.problem


def test_five_class_set_leaves_others_out_without_note(published):
    index = published.index(classes="ck-plus-5")
    assert set(index.classes) == {"happiness", "surprise", "anger", "disgust", "fear"}, "those of samm-5-objective"
    assert sum(clip.label != "" for clip in index.clips) == 69 + 83 + 45 + 59 + 25
    assert len(index.problems) == 1, "the sequences without a label"


@pytest.mark.parametrize("text", ["9.0000000e+00", "-1", "2.5", "happy", "", "nan", "inf"])
def test_label_file_that_cannot_be_read_is_named(tmp_path, text):
    tree = dataset_trees.ck_plus(tmp_path, TAKES)
    (file,) = (tmp_path / "Emotion" / "S010" / "002").iterdir()
    file.write_text(text)
    index = tree.index()
    assert usable(index) == GOOD - {"S010_002"}
    (problem,) = reported(index, effect="left out")
    assert problem.clip == "S010_002" and problem.field == "label"
    assert str(file) in problem.problem + problem.file and text in problem.problem
    with pytest.raises(InputError, match="S010_002"):
        tree.index(on_problem="stop")


def test_label_file_of_other_bytes_is_named(tmp_path):
    tree = dataset_trees.ck_plus(tmp_path, TAKES)
    (file,) = (tmp_path / "Emotion" / "S010" / "002").iterdir()
    file.write_bytes(b"\xff\xfe\x00\x80")
    index = tree.index()
    assert usable(index) == GOOD - {"S010_002"} and file.name in reported(index, effect="left out")[0].problem


@pytest.mark.parametrize("text", ["   3.0000000e+00\n", "3", "3.0", "\n3.0000000e+00 \n\n"])
def test_label_is_number_in_any_form(tmp_path, text):
    tree = dataset_trees.ck_plus(tmp_path, TAKES)
    (file,) = (tmp_path / "Emotion" / "S010" / "002").iterdir()
    file.write_text(text)
    assert by_name(tree.index())["S010_002"].label == "disgust"


def test_label_without_its_sequence_is_reported(tmp_path):
    tree = dataset_trees.ck_plus(tmp_path, TAKES)
    shutil.rmtree(tree.folders["S010_002"])
    index = tree.index()
    assert usable(index) == GOOD - {"S010_002"}
    assert any("S010_002" in p.clip + p.problem + p.file or "S010/002" in p.file + p.problem for p in index.problems)


def test_sequence_that_ends_before_its_peak_is_named(tmp_path):
    """The label file holds the number of the peak; without that frame, another one would be used as the apex."""
    tree = dataset_trees.ck_plus(tmp_path, TAKES)
    tree.frame("S010_002", 6).unlink()
    index = tree.index()
    assert usable(index) == GOOD - {"S010_002"}
    (problem,) = reported(index, effect="left out")
    assert problem.clip == "S010_002" and "6" in problem.problem and "5" in problem.problem


def test_sequence_without_frame_numbers_is_reported(tmp_path):
    tree = dataset_trees.ck_plus(tmp_path, TAKES)
    (tree.folders["S010_002"] / "S010_002_3.png").write_bytes(b"x")
    assert [p.clip for p in tree.index().problems if p.clip] == ["S010_002"], "frame 3 is there twice"


def test_empty_sequences_and_empty_frames_are_named(tmp_path):
    tree = dataset_trees.ck_plus(tmp_path, TAKES)
    for file in tree.folders["S005_001"].iterdir():
        file.unlink()
    tree.frame("S010_002", 6).write_bytes(b"")
    index = tree.index()
    assert usable(index) == {"S010_001", "S010_002", "S999_014"}
    (none,), (zero,) = reported(index, clip="S005_001"), reported(index, clip="S010_002")
    assert str(tree.folders["S005_001"]) in none.problem and none.effect == "left out"
    assert str(tree.frame("S010_002", 6)) in zero.problem and zero.effect == "noted"


def test_sequence_of_one_image_is_still(tmp_path):
    tree = dataset_trees.ck_plus(tmp_path, [*TAKES, take(11, "001", "fear", 1)])
    clip = by_name(tree.index())["S011_001"]
    assert (clip.kind, clip.label, clip.problem) == ("still", "fear", "")


def test_frame_numbers_may_start_anywhere(tmp_path):
    tree = dataset_trees.ck_plus(tmp_path, [Take(11, "001", "fear", None, None, None, 17, 30)])
    clip = tree.index().clips[0]
    assert (clip.onset, clip.apex, clip.offset) == (17, 30, 30)


def test_subset_is_reported_by_difference_and_used(tmp_path):
    takes = published_takes.ck_takes()
    subset = [take for take in takes if take.emotion != "contempt" or take.subject > 100]
    contempt = sum(take.emotion == "contempt" for take in subset)
    index = dataset_trees.ck_plus(tmp_path, subset).index(classes="ck-plus-7")
    (note,) = reported(index, field="classes")
    assert note.effect == "noted" and "contempt" in note.problem
    assert "18" in note.problem and str(contempt) in note.problem and "anger" not in note.problem


def test_root_without_sequences_or_labels_is_one_message(tmp_path):
    tree = dataset_trees.ck_plus(tmp_path, TAKES)
    shutil.rmtree(tmp_path / "Emotion")
    with pytest.raises(InputError, match="Emotion"):
        tree.index()
    shutil.rmtree(tmp_path / "cohn-kanade-images")
    with pytest.raises(InputError, match=r"cohn-kanade-images/S005/001/S005_001_00000011\.png"):
        tree.index()


def test_second_label_file_is_noted(tmp_path):
    tree = dataset_trees.ck_plus(tmp_path, TAKES)
    (file,) = (tmp_path / "Emotion" / "S010" / "002").iterdir()
    file.with_name("T_emotion.txt").write_text("3.0")
    (note,) = reported(tree.index(), clip="S010_002", field="label")
    assert note.effect == "noted" and file.name in note.problem
