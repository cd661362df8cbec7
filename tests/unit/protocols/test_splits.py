"""Splits as files: the draw that each system would make alone, made once; and what a file that was changed is told."""

import h5py
import numpy as np
import pandas as pd
import pytest
from graph_caches import HEAD, SETTINGS
from hypothesis import given, settings
from hypothesis import strategies as st

from merflow.errors import InputError
from merflow.protocols import splits
from merflow.protocols.folds import PROTOCOLS, folds
from merflow.protocols.splits import PARTS, make_splits, read_folds
from merflow.storage.tables import ACCURACY_TRAIN, PREDICTIONS, SPLITS, read_table
from merflow.systems.linear import run as run_floor
from merflow.systems.tsdgcn.finetune import Samples, folds_of

CLASSES = ["up", "down", "left"]
ASKED = {"datasets": ["one", "two"], "classes": CLASSES, "validation": 0.25, "folds": 3, "test_clips": 7}


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
    """By hand: the clips that count, in the order of the caches."""
    clips = []
    for path in caches:
        with h5py.File(path) as file:
            columns = [file[name].asstr()[:].tolist() for name in ("subject", "clip", "label")]
        clips += [dict(zip(("subject", "clip", "truth"), row, strict=True)) for row in zip(*columns, strict=True)]
    return [clip | {"dataset": clip["subject"].split("/")[0]} for clip in clips if clip["truth"] in CLASSES]


def equal(one, other):
    assert [fold.name for fold in one] == [fold.name for fold in other]
    for mine, theirs in zip(one, other, strict=True):
        for part in PARTS:
            np.testing.assert_array_equal(getattr(mine, part), getattr(theirs, part))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_holds_the_draw_that_a_system_would_make_alone(caches, tmp_path, protocol):
    asked = ASKED | {"protocol": protocol}
    make_splits(caches, tmp_path / "s.csv", asked, 3)
    clips = labelled(caches)
    labels = np.array([CLASSES.index(clip["truth"]) for clip in clips])
    alone = folds(protocol, [c["subject"] for c in clips], labels, validation=0.25, seed=3, settings=asked)
    equal(list(read_folds(tmp_path / "s.csv", clips)), alone)
    samples = Samples(clips, np.zeros((len(clips), 1, 1), np.float32), np.zeros(1, np.int64), labels, CLASSES)
    own = {"protocol": protocol, "folds": 3, "test_clips": 7, "head": {"validation": 0.25}}
    equal(folds_of(samples, own, 3), alone)
    equal(folds_of(samples, own | {"splits": {3: str(tmp_path / "s.csv")}}, 3), alone)
    backwards = list(read_folds(tmp_path / "s.csv", clips[::-1]))
    last = len(clips) - 1
    for mine, theirs in zip(backwards, alone, strict=True):
        np.testing.assert_array_equal(np.sort(last - mine.train), theirs.train)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_seed_writes_the_same_bytes_and_another_one_others(caches, tmp_path, protocol):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_splits(caches, tmp_path / f"{name}.csv", ASKED | {"protocol": protocol}, seed)
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
def test_parts_are_disjoint_and_every_labelled_clip_is_tested_once(tmp_path_factory, people, protocol, seed):
    folder = tmp_path_factory.mktemp("law")
    labels = [CLASSES[place % 3] for place in range(len(people))]
    cache = write_cache(folder / "c.h5", "one", people, labels)
    asked = ASKED | {"protocol": protocol, "datasets": ["one"], "test_clips": 2}
    make_splits([cache], folder / "s.csv", asked, seed)
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
        (lambda t: pd.concat([t.iloc[:1].assign(part="test"), t]), "is there twice"),
        (lambda t: t.replace({"part": {"validation": "held"}}), "part is 'held'; expected one of train, validation"),
    ],
    ids=["a clip missing", "another clip", "another person", "a clip in two parts", "another part"],
)
def test_a_file_that_does_not_fit_is_refused(caches, tmp_path, change, words):
    make_splits(caches, tmp_path / "s.csv", ASKED | {"protocol": "loso"}, 0)
    change(pd.read_csv(tmp_path / "s.csv", dtype=str)).to_csv(tmp_path / "s.csv", index=False)
    with pytest.raises(InputError, match=words):
        list(read_folds(tmp_path / "s.csv", labelled(caches)))


def test_labels_of_an_experiment_stand_in_place_of_those_of_the_cache(caches, tmp_path):
    clips = labelled(caches)
    asked = {"one": {clip["clip"]: "up" for clip in clips[::2] if clip["dataset"] == "one"}}
    make_splits(caches, tmp_path / "s.csv", ASKED | {"protocol": "loso", "labels": asked}, 0)
    table = read_table(tmp_path / "s.csv", SPLITS)
    assert set(table.loc[table["dataset"] == "one", "clip"]) == set(asked["one"])
    with pytest.raises(InputError, match="no clip of"):
        make_splits(caches, tmp_path / "s.csv", ASKED | {"protocol": "loso", "classes": ["none"]}, 0)
    (tmp_path / "bad.h5").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.h5 is damaged"):
        make_splits([tmp_path / "bad.h5"] * 2, tmp_path / "s.csv", ASKED | {"protocol": "loso"}, 0)


def test_systems_follow_the_file_and_not_a_draw_of_their_own(caches, tmp_path):
    """A file in which one person fewer is tested: no draw would give that."""
    make_splits(caches, tmp_path / "s.csv", ASKED | {"protocol": "loso"}, 0)
    table = pd.read_csv(tmp_path / "s.csv", dtype=str)
    table[table["fold"] != "one/00"].to_csv(tmp_path / "s.csv", index=False)
    clips = labelled(caches)
    samples = Samples(clips, np.zeros((len(clips), 1, 1)), np.zeros(1), np.zeros(len(clips)), CLASSES)
    own = {"protocol": "loso", "head": HEAD, "splits": {0: str(tmp_path / "s.csv")}}
    assert "one/00" not in {fold.name for fold in folds_of(samples, SETTINGS | own, 0)}
    asked = {"experiment": "floor", "protocol": "loso", "classes": CLASSES, "seeds": [0]}
    answers = {}
    for name, more in (("own", {}), ("file", {"splits": {0: str(tmp_path / "s.csv")}})):
        files = [tmp_path / f"{name}-{end}.csv" for end in ("p", "a")]
        run_floor(caches, "linear-svm", *files, asked | more)
        answers[name] = read_table(files[0], PREDICTIONS)
        trained = read_table(files[1], ACCURACY_TRAIN)
    assert "one/00" in set(answers["own"]["fold"])
    same = answers["own"][answers["own"]["fold"] != "one/00"].reset_index(drop=True)
    pd.testing.assert_frame_equal(answers["file"], same)
    people = {clip["subject"]: sum(c["subject"] == clip["subject"] for c in clips) for clip in clips}
    assert trained["n"].tolist() == [len(clips) - people[fold] for fold in trained["fold"]]


def test_a_file_of_many_parts_is_read_as_one(tmp_path, caches, monkeypatch):
    """Folds that lie in two parts of the reading are whole, and one that comes twice is an error."""
    make_splits(caches, tmp_path / "s.csv", ASKED | {"protocol": "loso"}, 0)
    whole = dict(splits.read_splits(tmp_path / "s.csv"))
    assert len(whole) > 2
    for rows in (1, 3, 7):
        monkeypatch.setattr(splits, "ROWS_AT_ONCE", rows)
        found = dict(splits.read_splits(tmp_path / "s.csv"))
        assert list(found) == list(whole)
        for name, table in found.items():
            assert table["clip"].tolist() == whole[name]["clip"].tolist()
    lines = (tmp_path / "s.csv").read_text().splitlines(keepends=True)
    (tmp_path / "s.csv").write_text("".join([*lines, lines[1]]))
    with pytest.raises(InputError, match="rows of fold .* are not together"):
        list(splits.read_splits(tmp_path / "s.csv"))
