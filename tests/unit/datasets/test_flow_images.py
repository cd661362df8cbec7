"""Pre-computed flow images: a CSV of dataset, subject, clip, label, image; databases mixed, names with spaces."""

from collections import Counter

import dataset_trees
import published_takes
import pytest
from dataset_trees import FlowImage, by_name, reported, usable

from merflow.errors import InputError

IMAGES = [
    FlowImage("casme2", "sub01", "EP02_01f", "positive"),
    FlowImage("casme2", "sub02", "EP02_01f", "negative"),
    FlowImage("samm", "006", "006_1_2", "surprise"),
    FlowImage("smic", "s1", "s1_ne_01", "negative"),
]
GOOD = {"/".join(image[:3]) for image in IMAGES}
HEADER = "dataset,subject,clip,label,image\n"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    images = published_takes.megc2019_flows(
        published_takes.casme2_takes(), published_takes.samm_takes(), published_takes.smic_takes()
    )
    return dataset_trees.flow_images(tmp_path_factory.mktemp("flows"), images), images


def with_row(tmp_path, row):
    """The good images and one more row of the table, whose number is 6."""
    tree = dataset_trees.flow_images(tmp_path, IMAGES)
    tree.table.write_text(tree.table.read_text() + row + "\n")
    return tree


def test_every_row_is_clip_of_its_own_database(tmp_path):
    tree = dataset_trees.flow_images(tmp_path, IMAGES)
    assert all(" " in image.name for image in tree.folders.values())
    index = tree.index()
    assert not index.problems
    assert {clip.clip for clip in index.clips} == GOOD
    clip = by_name(index)["casme2/sub01/EP02_01f"]
    assert (clip.subject, clip.label, clip.kind) == ("casme2/sub01", "positive", "micro"), (
        "not the name in the settings"
    )
    assert clip.frames == str(tree.folders["casme2/sub01/EP02_01f"])
    assert (clip.onset, clip.apex, clip.offset) == (None, None, None)
    assert index.classes == ["negative", "positive", "surprise"]
    assert [source["source_dataset"] for source in index.source] == ["casme2", "casme2", "samm", "smic"]


def test_composite_has_published_counts(published):
    tree, images = published
    index = tree.index(classes="megc2019", on_problem="stop")
    assert index.problems == [] and len(index.clips) == 442
    assert Counter(clip.label for clip in index.clips) == {"negative": 250, "positive": 109, "surprise": 83}
    subjects = {clip.subject for clip in index.clips}
    assert Counter(subject.split("/")[0] for subject in subjects) == {"casme2": 24, "samm": 28, "smic": 16}


def test_missing_clips_of_composite_are_noted_by_database(tmp_path, published):
    images = [image for image in published[1] if (image.dataset, image.label) != ("samm", "surprise")]
    index = dataset_trees.flow_images(tmp_path, images).index(classes="megc2019")
    notes = reported(index, field="classes")
    assert notes == index.problems and {note.effect for note in notes} == {"noted"}
    (samm,) = [note for note in notes if "samm" in note.problem.replace("megc2019", "")]
    assert "surprise" in samm.problem and "15" in samm.problem and "positive" not in samm.problem
    assert any("83" in note.problem and "68" in note.problem for note in notes), (
        "all of it, and the composite as a whole"
    )


def test_labels_may_be_numbers_of_public_code(tmp_path):
    images = [image._replace(label=str(i % 3)) for i, image in enumerate(IMAGES)]
    index = dataset_trees.flow_images(tmp_path, images).index(classes="megc2019")
    assert [clip.label for clip in index.clips] == ["negative", "positive", "surprise", "negative"]


def test_list_of_classes_leaves_other_labels_unscored(tmp_path):
    index = dataset_trees.flow_images(tmp_path, IMAGES).index(classes=["negative", "surprise"])
    assert usable(index) == GOOD and index.classes == ["negative", "surprise"]
    assert by_name(index)["casme2/sub01/EP02_01f"].label == ""
    assert not reported(index, effect="left out")


@pytest.mark.parametrize(
    ("row", "clip", "says"),
    [
        ("samm,007,007_1_1,negative,gone.png", "samm/007/007_1_1", "gone.png"),
        ("samm,007,007_1_1,negative,", "samm/007/007_1_1", ""),
        ("samm,007,007_1_1,negative,zero.png", "samm/007/007_1_1", "zero.png"),
        ("samm,007,007_1_1,negative,notes.txt", "samm/007/007_1_1", "notes.txt"),
        ("samm,,007_1_1,negative,a.png", "samm//007_1_1", "empty"),
        ("samm,007,,negative,a.png", "samm/007/", "empty"),
        (",007,007_1_1,negative,a.png", "/007/007_1_1", "empty"),
    ],
)
def test_row_that_cannot_be_used_is_named_and_others_stay(tmp_path, row, clip, says):
    (tmp_path / "zero.png").touch()
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "a.png").write_bytes(b"x")
    tree = with_row(tmp_path, row)
    index = tree.index()
    assert usable(index) == GOOD and len(index.clips) == 5
    (problem,) = reported(index, effect="left out")
    assert problem.row == 6 and problem.file == str(tree.table) and says in problem.problem
    with pytest.raises(InputError, match=r"(?s)flows\.csv.*6"):
        tree.index(on_problem="stop")


def test_word_outside_composite_is_named_with_its_row(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    index = with_row(tmp_path, "samm,007,007_1_1,boredom,a.png").index(classes="megc2019")
    (problem,) = reported(index, row=6)
    assert "boredom" in problem.problem and by_name(index)["samm/007/007_1_1"].label == ""


def test_clip_given_twice_is_used_once(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    index = with_row(tmp_path, "samm,006,006_1_2,surprise,a.png").index()
    assert sum(clip.problem == "" for clip in index.clips) == 4 and len({clip.clip for clip in index.clips}) == 5
    (problem,) = [problem for problem in index.problems if problem.field != "label"]
    assert problem.row == 6 and "samm/006/006_1_2" in problem.problem


def test_one_image_of_two_subjects_is_used_for_neither(tmp_path):
    tree = dataset_trees.flow_images(tmp_path, IMAGES)
    image = tree.folders["samm/006/006_1_2"].relative_to(tmp_path).as_posix()
    tree.table.write_text(tree.table.read_text() + f"samm,007,007_1_1,surprise,{image}\n")
    index = tree.index()
    assert usable(index) == GOOD - {"samm/006/006_1_2"}
    assert {problem.row for problem in reported(index, effect="left out")} == {4, 6}


def test_one_subject_number_in_two_databases_is_two_subjects(tmp_path):
    images = [FlowImage("samm", "1", "a", "negative"), FlowImage("smic", "1", "a", "positive")]
    index = dataset_trees.flow_images(tmp_path, images).index()
    assert index.problems == []
    assert [clip.subject for clip in index.clips] == ["samm/1", "smic/1"]


def test_name_holds_characters_of_any_kind(tmp_path):
    images = [FlowImage("my set", "Zoë", "a [1] & b", "negative"), FlowImage("my set", "Ann", "50% *", "positive")]
    index = dataset_trees.flow_images(tmp_path, images).index()
    assert index.problems == [] and [clip.subject for clip in index.clips] == ["my set/Zoë", "my set/Ann"]


def test_everything_that_is_wrong_comes_in_one_list(tmp_path):
    tree = with_row(tmp_path, "samm,007,007_1_1,negative,gone.png\nsamm,006,006_1_2,surprise,gone too.png")
    tree.folders["smic/s1/s1_ne_01"].write_bytes(b"")
    index = tree.index()
    assert {problem.row for problem in reported(index, effect="left out")} == {5, 6, 7}
    with pytest.raises(InputError) as error:
        tree.index(on_problem="stop")
    assert all(clip in str(error.value) for clip in ("s1_ne_01", "007_1_1", "006_1_2"))


def test_table_with_another_name_and_separator(tmp_path):
    tree = dataset_trees.flow_images(tmp_path, IMAGES)
    tree.table.rename(tmp_path / "labels of mine.csv")
    text = (tmp_path / "labels of mine.csv").read_text().replace(",", ";")
    (tmp_path / "labels of mine.csv").write_text(text)
    assert usable(tree.index(table="labels of mine.csv")) == GOOD


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("", "flows.csv"),
        (HEADER, "flows.csv"),
        ("dataset,subject,clip,image\na,b,c,d\n", r"(?s)label.*has: dataset, subject, clip, image"),
        ("dataset,subject,video,label,image\na,b,c,d,e\n", r"(?s)clip.*video"),
    ],
)
def test_table_that_cannot_be_used_is_one_message(tmp_path, text, message):
    tree = dataset_trees.flow_images(tmp_path, IMAGES)
    tree.table.unlink()
    if text is not None:
        tree.table.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        tree.index()
    assert str(tree.table) in str(error.value)


# --- What users' tables look like -------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["beside the table", "below the root", "with backslashes"])
def test_images_are_found_relative_to_table_or_to_root(tmp_path, style):
    tree = dataset_trees.flow_images(tmp_path, IMAGES)
    text = tree.table.read_text()
    if style == "with backslashes":
        text = text.replace("flow images/", "flow images\\").replace("/", "\\")
    (tmp_path / "tables").mkdir()
    table = "flows.csv" if style == "beside the table" else "tables/flows.csv"
    (tmp_path / table).write_text(text)
    index = tree.index(table=table)
    assert usable(index) == GOOD and not index.problems


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("", "empty"),
        ("gone.png", "gone.png does not exist"),
        ("long" * 100 + ".png", "does not exist"),
        (".", "is a folder"),
        ("flows.csv", "is not an image"),
    ],
)
def test_image_that_is_not_one_is_reported(tmp_path, image, words):
    index = with_row(tmp_path, f"samm,009,009_1_1,negative,{image}").index()
    (problem,) = reported(index, effect="left out")
    assert (problem.row, problem.field) == (6, "image") and words in problem.problem


def test_labels_of_databases_are_mapped_to_three_classes(tmp_path):
    words = ["happiness", "disgust", "repression", "others", "Surprise", "0"]
    images = [FlowImage("casme2", f"sub0{n}", f"EP{n}", word) for n, word in enumerate(words)]
    index = dataset_trees.flow_images(tmp_path, images).index(classes="megc2019")
    assert [c.label for c in index.clips] == ["positive", "negative", "negative", "", "surprise", "negative"]
    assert not reported(index, effect="left out")


def test_one_person_or_database_in_two_spellings_is_noted(tmp_path):
    index = with_row(tmp_path, "samm,6,006_9_9,negative,flow images/samm/006 006_1_2 (TV-L1).png").index()
    (note,) = reported(index, field="subject", effect="noted")
    assert "'samm/006' and 'samm/6'" in note.problem
    other = dataset_trees.flow_images(
        tmp_path / "b", [*IMAGES, FlowImage("CASME II", "sub07", "EP1", "negative")]
    ).index()
    (note,) = reported(other, field="dataset", effect="noted")
    assert "CASME II and casme2" in note.problem
