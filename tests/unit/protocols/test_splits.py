"""Splits as files: they equal the draw of the protocol, and files that do not fit are refused."""

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_jobs import run_linear

from merflow.errors import InputError
from merflow.protocols import splits
from merflow.protocols.folds import PROTOCOLS, draw_folds
from merflow.protocols.settings import ClipSettings, SplitSettings
from merflow.protocols.splits import PARTS, make_splits, read_folds
from merflow.storage.tables import ACCURACY_TRAIN, PREDICTIONS, SPLITS, read_table

CLASSES = ["up", "down", "left"]
CLIPS = ClipSettings(["one", "two"], CLASSES, {})


def split_settings(protocol="loso", clips=CLIPS, test_clips=7):
    return SplitSettings(protocol, 3, test_clips, 0.25, clips)


def write_cache(path, dataset, people, labels):
    with h5py.File(path, "w") as file:
        clips = [f"{n:03d}" for n in range(len(people))]  # Names that a table could take for numbers.
        for name, values in (("clip", clips), ("subject", [f"{dataset}/{p}" for p in people]), ("label", labels)):
            file.create_dataset(name, data=values, dtype=h5py.string_dtype())
        flow = np.random.default_rng(len(labels)).normal(0, 1, (len(labels), 2, 3, 28, 28))
        file["flow"], file["apex_index"] = flow.astype(np.float16), np.zeros(len(labels), np.int64)
        file.attrs.update(dataset=dataset, classes=CLASSES)
    return path


@pytest.fixture
def caches(tmp_path):
    rng = np.random.default_rng(1)
    people = [f"{n:02d}" for n in range(5) for _ in range(6)]
    labels = [str(rng.choice(["left", "down", "up", "", "other"], p=[0.4, 0.25, 0.25, 0.05, 0.05])) for _ in people]
    return [
        write_cache(tmp_path / f"{name}.h5", name, people, labels[::step]) for name, step in (("one", 1), ("two", -1))
    ]


def labelled(caches):
    """The labelled clips in the order of the caches, selected by hand."""
    clips = []
    for path in caches:
        with h5py.File(path) as file:
            columns = [file[name].asstr()[:].tolist() for name in ("subject", "clip", "label")]
        clips += [dict(zip(("subject", "clip", "truth"), row, strict=True)) for row in zip(*columns, strict=True)]
    return [clip | {"dataset": clip["subject"].split("/")[0]} for clip in clips if clip["truth"] in CLASSES]


def equal(folds, others):
    assert [fold.name for fold in folds] == [fold.name for fold in others]
    for mine, theirs in zip(folds, others, strict=True):
        for part in PARTS:
            np.testing.assert_array_equal(getattr(mine, part), getattr(theirs, part))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_read_folds_returns_the_drawn_folds(caches, tmp_path, protocol):
    make_splits(caches, tmp_path / "s.csv", split_settings(protocol), 3)
    clips = labelled(caches)
    labels = np.array([CLASSES.index(clip["truth"]) for clip in clips])
    subjects, share = [clip["subject"] for clip in clips], 0.25
    alone = draw_folds(protocol, subjects, labels, validation=share, seed=3, folds=3, test_clips=7)
    read = list(read_folds(tmp_path / "s.csv", clips))
    equal(read, alone)
    assert [fold.number for fold in read] == list(range(len(read)))
    backwards = list(read_folds(tmp_path / "s.csv", clips[::-1]))
    last = len(clips) - 1
    for mine, theirs in zip(backwards, alone, strict=True):
        np.testing.assert_array_equal(np.sort(last - mine.train), theirs.train)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_make_splits_is_repeatable_and_depends_on_its_seed(caches, tmp_path, protocol):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_splits(caches, tmp_path / f"{name}.csv", split_settings(protocol), seed)
    texts = [(tmp_path / f"{name}.csv").read_text() for name in "abc"]
    assert texts[0] == texts[1] and texts[0].replace(",3,", ",4,") != texts[2]
    table = read_table(tmp_path / "a.csv", SPLITS)
    assert list(table) == SPLITS and "truth" not in table and "label" not in table
    assert set(table["protocol"]) == {protocol} and set(table["seed"]) == {3} and "000" in set(table["clip"])


@settings(max_examples=25, deadline=None)
@given(
    people=st.lists(st.integers(0, 6), min_size=8, max_size=40).filter(lambda who: len(set(who)) > 2),
    protocol=st.sampled_from(["loso", "subject-kfold", "paper-holdout"]),
    seed=st.integers(0, 99),
)
def test_parts_are_disjoint_and_each_clip_is_tested_once(tmp_path_factory, people, protocol, seed):
    folder = tmp_path_factory.mktemp("law")
    labels = [CLASSES[index % 3] for index in range(len(people))]
    cache = write_cache(folder / "c.h5", "one", people, labels)
    settings = split_settings(protocol, ClipSettings(["one"], CLASSES, {}), test_clips=2)
    make_splits([cache], folder / "s.csv", settings, seed)
    table = read_table(folder / "s.csv", SPLITS)
    assert not table.duplicated(["fold", "dataset", "clip"]).any()
    assert table.groupby("fold")["clip"].nunique().eq(len(people)).all()
    tested = table[table["part"] == "test"]
    assert tested["clip"].is_unique and len(tested) == (2 if protocol == "paper-holdout" else len(people))
    if protocol != "paper-holdout":
        assert (table.groupby(["fold", "subject"])["part"].nunique() == 1).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.iloc[1:], "is not both in the file and among the clips"),
        (lambda t: t.replace({"clip": {"003": "903"}}), "is not both in the file and among the clips"),
        (lambda t: t.replace({"subject": {"one/00": "one/77"}}), "is not both in the file and among the clips"),
        (lambda t: pd.concat([t.iloc[:1].assign(part="test"), t]), "is in it twice"),
        (lambda t: t.replace({"part": {"validation": "held"}}), "part is 'held'; expected one of train, validation"),
    ],
    ids=["a clip missing", "another clip", "another person", "a clip in two parts", "another part"],
)
def test_read_folds_refuses_a_file_of_other_clips(caches, tmp_path, change, words):
    make_splits(caches, tmp_path / "s.csv", split_settings(), 0)
    change(pd.read_csv(tmp_path / "s.csv", dtype=str)).to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(InputError, match=words):
        list(read_folds(tmp_path / "s.csv", labelled(caches)))


def test_labels_of_the_experiment_replace_those_of_the_cache(caches, tmp_path):
    clips = labelled(caches)
    relabelled = {"one": {clip["clip"]: "up" for clip in clips[::2] if clip["dataset"] == "one"}}
    make_splits(caches, tmp_path / "s.csv", split_settings(clips=ClipSettings(["one", "two"], CLASSES, relabelled)), 0)
    table = read_table(tmp_path / "s.csv", SPLITS)
    assert set(table.loc[table["dataset"] == "one", "clip"]) == set(relabelled["one"])
    with pytest.raises(InputError, match="no clip of"):
        make_splits(caches, tmp_path / "s.csv", split_settings(clips=ClipSettings(["one", "two"], ["none"], {})), 0)
    (tmp_path / "bad.h5").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.h5 is damaged"):
        make_splits([tmp_path / "bad.h5"] * 2, tmp_path / "s.csv", split_settings(), 0)


def test_systems_use_the_folds_of_the_file(caches, tmp_path):
    """In the file one subject is not tested, which no draw would give."""
    make_splits(caches, tmp_path / "s.csv", split_settings(), 0)
    table = pd.read_csv(tmp_path / "s.csv", dtype=str)
    table[table["fold"] != "one/00"].to_csv(tmp_path / "s.csv", index=False)
    clips = labelled(caches)
    asked = {"experiment": "floor", "protocol": "loso", "classes": CLASSES, "seeds": [0]}
    answers = {}
    for name, more in (("own", {}), ("file", {"splits": {0: str(tmp_path / "s.csv")}})):
        files = [tmp_path / f"{name}-{end}.csv" for end in ("p", "a")]
        run_linear(caches, "linear-svm", *files, asked | more)
        answers[name] = read_table(files[0], PREDICTIONS)
        trained = read_table(files[1], ACCURACY_TRAIN)
    assert "one/00" in set(answers["own"]["fold"])
    same = answers["own"][answers["own"]["fold"] != "one/00"].reset_index(drop=True)
    pd.testing.assert_frame_equal(answers["file"], same)
    people = {clip["subject"]: sum(c["subject"] == clip["subject"] for c in clips) for clip in clips}
    assert trained["n"].tolist() == [len(clips) - people[fold] for fold in trained["fold"]]


def test_read_splits_in_chunks_equals_reading_at_once(tmp_path, caches, monkeypatch):
    """A fold in two chunks is complete; a fold that comes twice is an error."""
    make_splits(caches, tmp_path / "s.csv", split_settings(), 0)
    whole = dict(splits.read_splits(tmp_path / "s.csv"))
    assert len(whole) > 2
    for rows in (1, 3, 7):
        monkeypatch.setattr(splits, "CHUNK_ROWS", rows)
        chunked = dict(splits.read_splits(tmp_path / "s.csv"))
        assert list(chunked) == list(whole)
        for name, table in chunked.items():
            assert table["clip"].tolist() == whole[name]["clip"].tolist()
    lines = (tmp_path / "s.csv").read_text().splitlines(keepends=True)
    (tmp_path / "s.csv").write_text("".join([*lines, lines[1]]))
    with pytest.raises(InputError, match="rows of fold .* are not contiguous"):
        list(splits.read_splits(tmp_path / "s.csv"))
