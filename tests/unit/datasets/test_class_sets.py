"""Class sets (named, listed or mapped): the labels they keep and leave out, and the published counts."""

from collections import Counter

import dataset_trees
import pandas as pd
import published_takes
import pytest
from dataset_files import Take
from dataset_trees import by_name, reported, usable

from merflow.datasets.index import write_index
from merflow.errors import ConfigError, InputError, MerflowError
from merflow.storage.tables import CLASSES, read_table

MMEW = published_takes.MMEW_PUBLISHED
CK = {"happiness" if word == "happy" else word: count for word, count in published_takes.CK_PUBLISHED.items()}
TSDGCN = ("happiness", "surprise", "disgust", "fear", "sadness")


def some(counts, *words):
    return {word: counts[word] for word in words}


PUBLISHED = [
    ("mmew", "mmew-5", some(MMEW, *TSDGCN)),
    ("mmew", "mmew-6", some(MMEW, *TSDGCN, "anger")),
    ("mmew", "mmew-4", some(MMEW, "happiness", "surprise", "disgust", "others")),
    ("samm", "samm-5-objective", {"happiness": 24, "surprise": 13, "anger": 20, "disgust": 8, "fear": 7}),
    ("samm", "samm-estimated", published_takes.SAMM_ESTIMATED),
    ("samm", "samm-5-estimated", {"anger": 57, "happiness": 26, "other": 26, "surprise": 15, "contempt": 12}),
    (
        "casme2",
        "casme2-5",
        some(published_takes.CASME2_PUBLISHED, "happiness", "disgust", "repression", "surprise", "others"),
    ),
    ("smic", "smic-3", published_takes.SMIC_PUBLISHED),
    ("ck", "ck-plus-5", some(CK, "happiness", "surprise", "anger", "disgust", "fear")),
    ("ck", "ck-plus-7", CK),
    ("casme2", "megc2019", {"negative": 88, "positive": 32, "surprise": 25}),
    ("samm", "megc2019", {"negative": 92, "positive": 26, "surprise": 15}),
    ("smic", "megc2019", {"negative": 70, "positive": 51, "surprise": 43}),
]


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """The five databases, complete."""
    root = tmp_path_factory.mktemp("complete")
    return published_takes.megc2019(root) | {
        "mmew": dataset_trees.mmew_micro(root / "MMEW", published_takes.mmew_takes()),
        "ck": dataset_trees.ck_plus(root / "CK+", published_takes.ck_takes()),
    }


@pytest.fixture
def few(tmp_path):
    return dataset_trees.mmew_micro(
        tmp_path,
        [
            Take(1, "S01-01-001", "happiness"),
            Take(1, "S01-02-001", "surprise"),
            Take(2, "S02-04-001", "others"),
            Take(2, "S02-07-001", "anger"),
        ],
    )


@pytest.mark.parametrize(("dataset", "name", "expected"), PUBLISHED)
def test_named_set_with_published_counts_has_no_note(complete, dataset, name, expected):
    index = complete[dataset].index(classes=name)
    assert not reported(index, field="classes") and not reported(index, effect="left out")
    assert set(index.classes) == set(expected)
    assert Counter(clip.label for clip in index.clips if clip.label) == expected
    assert {count.label: (count.expected, count.found, count.usable) for count in index.counts} == {
        word: (number, number, number) for word, number in expected.items()
    }
    assert index.class_set == name and all(count.source for count in index.counts)


@pytest.mark.parametrize(("dataset", "name", "expected"), PUBLISHED)
def test_missing_clip_is_noted_with_class_and_counts(complete, dataset, name, expected, tmp_path):
    builders = {
        "mmew": (dataset_trees.mmew_micro, published_takes.mmew_takes),
        "samm": (dataset_trees.samm, published_takes.samm_takes),
        "casme2": (dataset_trees.casme2, published_takes.casme2_takes),
        "smic": (dataset_trees.smic_hs, published_takes.smic_takes),
        "ck": (dataset_trees.ck_plus, published_takes.ck_takes),
    }
    full = complete[dataset].index(classes=name)
    at = next(i for i, clip in enumerate(full.clips) if clip.label == full.classes[-1])
    build, takes = builders[dataset]
    gone = full.clips[at].clip
    kept = [take for take in takes() if gone not in (take.name, f"sub{take.subject:02d}/{take.name}")]
    kept = [take for take in kept if gone != f"S{take.subject:03d}_{take.name}"]
    assert len(kept) == len(full.clips) - 1
    index = build(tmp_path, kept).index(classes=name)
    (note,) = reported(index, field="classes")
    word = full.classes[-1]
    assert note.effect == "noted" and name in note.problem
    assert word in note.problem and str(expected[word]) in note.problem and str(expected[word] - 1) in note.problem
    (count,) = [count for count in index.counts if count.label == word]
    assert (count.expected, count.found) == (expected[word], expected[word] - 1)


def test_clip_that_cannot_be_used_is_found_and_not_usable(tmp_path):
    takes = published_takes.smic_takes()
    tree = dataset_trees.smic_hs(tmp_path, takes)
    for number in range(takes[0].first, takes[0].last + 1):
        tree.frame(takes[0].name, number).unlink()
    index = tree.index(classes="smic-3")
    (count,) = [count for count in index.counts if count.label == "negative"]
    assert (count.expected, count.found, count.usable) == (70, 70, 69)


def test_classes_table_has_published_found_and_usable(tmp_path):
    tree = dataset_trees.samm(tmp_path / "SAMM", published_takes.samm_takes())
    index = tree.index(classes="samm-5-objective")
    clips, problems, classes = (tmp_path / name for name in ("clips.csv", "problems.csv", "classes.csv"))
    write_index(index, clips, problems, classes)
    counts = read_table(classes, CLASSES).set_index("label")
    assert counts["expected"].to_dict() == counts["found"].to_dict() == counts["usable"].to_dict()
    assert counts["found"].sum() == 72 and set(counts["class_set"]) == {"samm-5-objective"}
    rows = pd.read_csv(clips, dtype=str, keep_default_na=False)
    assert Counter(rows["source_objective_classes"])["7"] == 84 and len(rows) == 159
    assert all(text.isdigit() for text in rows["onset"]), "frame numbers stay whole numbers"


def test_composite_has_442_clips_of_68_subjects(complete):
    scored = [
        clip
        for part in ("casme2", "samm", "smic")
        for clip in complete[part].index(classes="megc2019").clips
        if clip.label
    ]
    assert len(scored) == 442 and len({clip.subject for clip in scored}) == 68
    assert Counter(clip.label for clip in scored) == {"negative": 250, "positive": 109, "surprise": 83}


def test_without_class_set_every_label_takes_part(few):
    index = few.index()
    assert index.classes == ["happiness", "surprise", "others", "anger"] and index.problems == []
    assert all(clip.label for clip in index.clips)


def test_list_keeps_its_labels_in_its_order(few):
    index = few.index(classes=["others", "happiness"], on_problem="stop")
    assert index.classes == ["others", "happiness"] and index.problems == []
    assert [clip.label for clip in index.clips] == ["happiness", "", "others", ""]
    assert usable(index) == set(few.rows), "clips outside the set are processed like the others"


def test_map_merges_and_leaves_out(few):
    classes = {"column": "Estimated Emotion", "map": {"Happiness": "positive", "surprise": "other", "others": "other"}}
    index = few.index(classes=classes, on_problem="stop")
    assert index.problems == [] and set(index.classes) == {"positive", "other"}
    assert [clip.label for clip in index.clips] == ["positive", "other", "other", ""]
    assert index.source[0]["source_estimated_emotion"] == "happiness", "the dataset's own word goes along"


@pytest.mark.parametrize("column", ["Estimated Emotion", "estimated_emotion", "ESTIMATED EMOTION", "EstimatedEmotion"])
def test_column_of_map_is_known_in_any_spelling(few, column):
    index = few.index(classes={"column": column, "map": {"anger": "negative"}})
    assert [clip.label for clip in index.clips] == ["", "", "", "negative"]


def test_user_map_may_read_any_column(tmp_path):
    takes = [
        Take(1, "S01-01-001", "happiness", cells={"remarks": "Strong"}),
        Take(1, "S01-02-001", "surprise", cells={"remarks": "weak"}),
        Take(2, "S02-04-001", "others"),
    ]
    index = dataset_trees.mmew_micro(tmp_path, takes).index(
        classes={"column": "remarks", "map": {"strong": "a", "weak": "b"}}
    )
    assert [clip.label for clip in index.clips] == ["a", "b", ""]
    assert usable(index) == {take.name for take in takes}


def test_unknown_label_leaves_clip_out(tmp_path):
    takes = [Take(1, "S01-01-001", "happiness"), Take(1, "S01-02-001", "surprise", cells={"Estimated Emotion": "joy"})]
    tree = dataset_trees.mmew_micro(tmp_path, takes)
    for classes in (None, "mmew-5", ["happiness"], {"map": {"happiness": "good"}}):
        index = tree.index(classes=classes)
        assert usable(index) == {"S01-01-001"}
        (problem,) = reported(index, effect="left out")
        assert problem.row == 3 and "joy" in problem.problem and "surprise" in problem.problem, (
            "the known ones are listed"
        )


@pytest.mark.parametrize("word", ["Happiness", "HAPPINESS", " happiness "])
def test_words_are_known_in_any_case(tmp_path, word):
    takes = [Take(1, "S01-01-001", "happiness", cells={"Estimated Emotion": word})]
    assert dataset_trees.mmew_micro(tmp_path, takes).index(classes=["happiness"]).clips[0].label == "happiness"


def test_empty_label_is_reported_and_not_scored(tmp_path):
    takes = [Take(1, "S01-01-001", "happiness"), Take(1, "S01-02-001", "surprise", cells={"Estimated Emotion": None})]
    index = dataset_trees.mmew_micro(tmp_path, takes).index()
    assert by_name(index)["S01-02-001"].label == ""
    (problem,) = [p for p in index.problems if p.row == 3]
    assert problem.field == "label"


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        ("mmew-7", ["mmew-7", "mmew-6"]),
        ("samm-5-objective", ["samm-5-objective", "mmew-5"]),
        ("megc2019", ["megc2019", "mmew-micro"]),
        ({"column": "Valence", "map": {"happiness": "good"}}, ["valence", "estimated_emotion"]),
    ],
)
def test_unsuitable_set_is_refused_with_suitable_ones(few, classes, says):
    with pytest.raises(ConfigError) as error:
        few.index(classes=classes)
    assert all(word in str(error.value) for word in says), error.value
    assert few.name in str(error.value), "the key of the configuration is named"


@pytest.mark.parametrize("classes", [["happiness", "suprise"], {"map": {"happiness": "good", "suprise": "good"}}])
def test_typing_error_in_a_set_is_reported(few, classes):
    try:
        notes = [problem.problem for problem in few.index(classes=classes).problems]
    except MerflowError as error:
        notes = [str(error)]
    assert any("suprise" in note for note in notes), "else the class would silently have no clip"


def test_set_without_clips_does_not_crash(few):
    try:
        index = few.index(classes=["fear", "sadness"])
    except InputError as error:
        assert "fear" in str(error)
    else:
        assert not any(clip.label for clip in index.clips)
