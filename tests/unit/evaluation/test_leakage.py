"""The leakage audit: nothing is reported for clean studies, and every kind of leak is found where it was planted."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from merflow.errors import InputError
from merflow.evaluation.leakage import CHECKS, ELSEWHERE, Clip, audit, check_fold, content_digest
from merflow.evaluation.settings import AddedDatasets, AuditSettings
from merflow.protocols.folds import draw_folds
from merflow.protocols.settings import ClipSettings, SelectionSettings, SplitSettings
from merflow.protocols.splits import make_splits
from merflow.storage.tables import ACCURACY_TRAIN, AUDIT, PREDICTIONS, read_table, write_table
from merflow.systems.fold_runner import run_folds
from merflow.systems.linear import Baseline
from merflow.systems.samples import FoldData, Samples
from merflow.systems.settings import LinearSettings

CLASSES = ["up", "down"]


def write_cache(path, dataset, people, seed, classes=CLASSES):
    """Four clips of each person, two of each class."""
    table = [(f"{p}-{n}", f"{dataset}/{p}", classes[n % 2]) for p in people for n in range(4)]
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        for name, values in zip(("clip", "subject", "label"), zip(*table, strict=True), strict=True):
            file.create_dataset(name, data=list(values), dtype=h5py.string_dtype())
        file["spatial"] = rng.integers(0, 255, (len(table), 2, 8, 8), dtype=np.uint8)
        file["flow"] = rng.normal(0, 1, (len(table), 2, 3, 8, 8)).astype(np.float16)
        file.attrs.update(dataset=dataset, classes=classes)
    return str(path)


def audit_settings(same_people):
    """Settings of an audit without files, for one fold."""
    return AuditSettings("mine", {}, {}, "", same_people, False, "", [], False, ["train"], False)


class Study:
    """A study of made-up files; a test plants a leak in them and runs the audit."""

    def __init__(self, folder, protocol="loso", floor=False, macro_people=("m1", "m2"), **changes):
        self.folder = folder
        self.micro = write_cache(folder / "micro.h5", "faces", [f"s{n}" for n in range(5)], 0)
        self.macro = write_cache(folder / "macro.h5", "posed", macro_people, 1)
        self.split = folder / "splits.csv"
        settings = SplitSettings(protocol, None, 8, 0.25, ClipSettings(["faces"], CLASSES, {}))
        make_splits([self.micro], self.split, settings, 4)
        self.entry = {
            "experiment": "mine",
            "splits": {4: str(self.split)},
            "caches": {"faces": self.micro},
            "macro": "" if floor else self.macro,
            "same_people": [] if floor else ["faces"],
            "excludes_test_people": False,
            "scorer": "",
            "scorer_people": [],
            "divides_subjects": protocol == "paper-holdout",
            "fitted_parts": ["train", "validation"] if floor else ["train"],
            "scored": True,
        } | changes
        table = read_table(self.split, ["part"])
        tested = table[table["part"] == "test"].assign(experiment="mine", repeat=4, truth="up", predicted="up")
        self.predictions = tested.drop(columns=["protocol", "seed", "part"])
        fitted = table[table["part"].isin(self.entry["fitted_parts"])].groupby("fold", sort=False).size()
        common = {"experiment": "mine", "repeat": 4, "stage": "finetune", "accuracy": 1.0}
        self.trained = pd.DataFrame([common | {"fold": fold, "n": n} for fold, n in fitted.items()])

    def change_split(self, change):
        table = pd.read_csv(self.split, dtype=str)
        change(table).sort_values("fold", kind="stable").to_csv(self.split, index=False)

    def change_cache(self, file, change):
        with h5py.File(file, "r+") as opened:
            change(opened)

    def audit(self):
        files = [self.folder / name for name in ("predictions.csv", "accuracy_train.csv", "audit.csv")]
        write_table(self.predictions, files[0], PREDICTIONS)
        write_table(self.trained, files[1], ACCURACY_TRAIN)
        audit([AuditSettings(**self.entry)], *files)
        return read_table(files[2], AUDIT)


@pytest.mark.parametrize("floor", [False, True], ids=["network", "floor"])
def test_audit_of_clean_study_reports_no_leak(tmp_path, floor):
    audited = Study(tmp_path, floor=floor).audit()
    assert list(audited) == AUDIT and (audited["size"] == 0).all() and set(audited["allowed"]) <= {"yes", "no"}
    checks = [name for name in CHECKS if "scorer" not in name and not (floor and "pre-training" in name)]
    assert audited.groupby("fold")["check"].apply(list).tolist() == [checks] * 5


def test_audit_lists_networks_that_were_trained_elsewhere(tmp_path):
    tables = [tmp_path / f"{name}.csv" for name in ("predictions", "accuracy_train", "audit")]
    write_table([], tables[0], PREDICTIONS)
    write_table([], tables[1], ACCURACY_TRAIN)
    audit([], *tables, elsewhere=[{"experiment": "theirs", "people": 7, "note": "trained elsewhere"}])
    (row,) = read_table(tables[2], AUDIT).to_dict("records")
    assert (row["experiment"], row["check"], row["size"], row["allowed"]) == ("theirs", ELSEWHERE, 7, "yes")
    assert row["note"] == "trained elsewhere"


# --- Leaks that are not allowed ---------------------------------------------------------------------------------------


def person_in(part, other):
    """Move one clip of the first person of ``part`` in fold faces/s0 into ``other``."""

    def plant(study):
        def change(table):
            mine = (table["fold"] == "faces/s0") & (table["part"] == part)
            table.loc[table.index[mine][0], "part"] = other
            return table

        study.change_split(change)

    return plant


def copied_clip(same_person):
    """Copy s0's first clip under another name, to the clips of another person or of s0."""

    def plant(study):
        def change(file):
            place = file["clip"].asstr()[:].tolist().index("s0-1" if same_person else "s3-2")
            file["spatial"][place], file["flow"][place] = file["spatial"][0], file["flow"][0]

        study.change_cache(study.micro, change)

    return plant


def clip_of_the_test_pretrains(study):
    def change(micro):
        with h5py.File(study.macro, "r+") as macro:
            macro["spatial"][5], macro["flow"][5] = micro["spatial"][7], micro["flow"][7]

    study.change_cache(study.micro, change)


def a_clip_in_two_parts(study):
    def change(table):
        extra = table[(table["fold"] == "faces/s2") & (table["part"] == "test")].iloc[:1]
        return pd.concat([table, extra.assign(part="train")])

    study.change_split(change)


def more_clips_fitted(study):
    study.trained.loc[2, "n"] += 3


def nothing_reported(study):
    study.trained = study.trained.drop(index=2)


def a_training_clip_is_predicted(study):
    mine = study.predictions["fold"] == "faces/s2"
    study.predictions.loc[study.predictions.index[mine][0], "clip"] = "s4-0"


def a_fold_that_no_split_has_is_predicted(study):
    extra = study.predictions[study.predictions["fold"] == "faces/s2"].assign(fold="faces/s9")
    study.predictions = pd.concat([study.predictions, extra])


LEAKS = {
    "a person trains and is tested": (person_in("test", "train"), "subjects: train and test", "faces/s0", 1),
    "a person validates and is tested": (person_in("test", "validation"), "subjects: validation and test",
                                         "faces/s0", 1),
    "a person trains and validates": (person_in("validation", "train"), "subjects: train and validation",
                                      "faces/s0", 1),
    "a clip copied to another person": (copied_clip(False), "contents: train, validation and test", "faces/s0", 1),
    "a clip in two parts": (a_clip_in_two_parts, "contents: train, validation and test", "faces/s2", 1),
    "a micro clip pre-trains": (clip_of_the_test_pretrains, "contents: pre-training and test", "faces/s1", 1),
    "test clips fit the scale": (more_clips_fitted, "fitted on training clips only", "faces/s2", 3),
    "nothing says what was fitted": (nothing_reported, "fitted on training clips only", "faces/s2", None),
    "a training clip is predicted": (a_training_clip_is_predicted, "predicted clips are the test part", "faces/s2", 2),
    "a fold of no split is predicted": (a_fold_that_no_split_has_is_predicted, "predicted clips are the test part",
                                        "faces/s9", 4),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAKS)
def test_planted_leak_is_named_and_nothing_is_written(tmp_path, name):
    plant, check, fold, size = LEAKS[name]
    study = Study(tmp_path)
    plant(study)
    with pytest.raises(InputError) as error:
        study.audit()
    lines = [line for line in str(error.value).splitlines() if check in line]
    assert any(f"mine, repeat 4, fold {fold}" in line for line in lines), error.value
    if size is not None:
        assert any(f"{check}: {size} (" in line for line in lines), error.value
    assert "does not request it" in str(error.value) and not (tmp_path / "audit.csv").exists()


@pytest.mark.parametrize("parts", [("train", "validation"), ("train", "test"), ("validation", "test")])
def test_same_content_in_any_two_parts_is_a_leak(parts):
    split = pd.DataFrame({"dataset": "d", "subject": ["d/1", "d/2", "d/3"], "clip": list("abc"),
                          "part": ["train", "validation", "test"]})  # fmt: skip
    shown = {
        ("d", row.clip): Clip(row.subject, "same" if row.part in parts else row.clip) for row in split.itertuples()
    }
    settings = audit_settings(same_people=[])
    audited = {row["check"]: row["size"] for row in check_fold(split, settings, shown, {})}
    assert audited.pop("contents: train, validation and test") == 1 and not any(audited.values())


def test_copies_within_one_part_are_no_leak(tmp_path):
    study = Study(tmp_path)
    copied_clip(True)(study)
    assert (study.audit()["size"] == 0).all()


def test_copied_clip_is_named_by_both_names(tmp_path):
    study = Study(tmp_path)
    copied_clip(False)(study)
    with pytest.raises(InputError, match=r"faces/s3-2 = faces/s0-0|faces/s0-0 = faces/s3-2"):
        study.audit()


def test_content_digest_covers_every_byte():
    spatial, flow = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 3, 4, 4), np.float16)
    base = content_digest(spatial, flow, ("d", "a"))
    assert base == content_digest(spatial.copy(), flow.copy(), ("d", "b"))
    for array in (spatial, flow):
        array[-1, -1, -1] = 1
        assert content_digest(spatial, flow, ("d", "a")) != base
        array[-1, -1, -1] = 0
    nothing = np.zeros((0, 4, 4), np.uint8), np.zeros((0, 3, 4, 4), np.float16)
    assert content_digest(*nothing, ("d", "a")) != content_digest(*nothing, ("d", "b")), "empty clips are not one clip"


# --- Datasets that only train -----------------------------------------------------------------------------------------


def with_more(tmp_path, people, same_people=("faces",)):
    """A study that trains also on a dataset ``more`` in every fold."""
    study = Study(tmp_path)
    file = write_cache(tmp_path / "more.h5", "more", people, 9)
    study.entry["added"] = AddedDatasets(ClipSettings(["more"], CLASSES, {}), [file], {"more": list(same_people)})
    study.trained["n"] += 4 * len(people)
    return study


def test_people_who_only_train_are_no_leak(tmp_path):
    assert (with_more(tmp_path, ["t1", "t2"]).audit()["size"] == 0).all()
    assert (with_more(tmp_path, ["t1", "s2"], same_people=()).audit()["size"] == 0).all(), "the name of another person"


def test_person_who_trains_also_and_is_tested_is_a_leak(tmp_path):
    with pytest.raises(InputError, match=r"fold faces/s2: subjects: train and test: 1 \(faces/s2\)") as error:
        with_more(tmp_path, ["t1", "s2"]).audit()
    assert "a dataset of `train_also` shows people of the test" in str(error.value)


def test_copy_of_a_test_clip_that_trains_also_is_a_leak(tmp_path):
    study = with_more(tmp_path, ["t1", "t2"])
    with h5py.File(study.micro) as micro, h5py.File(tmp_path / "more.h5", "r+") as more:
        more["spatial"][1], more["flow"][1] = micro["spatial"][0], micro["flow"][0]
    with pytest.raises(InputError, match=r"faces/s0: contents: train, validation and test: 1 \(more/t1-1 = faces/s0-0"):
        study.audit()


def test_clips_that_only_train_must_have_trained(tmp_path):
    study = with_more(tmp_path, ["t1"])
    study.trained["n"] -= 1
    with pytest.raises(InputError, match="fitted on training clips only: 1"):
        study.audit()


# --- Leaks that the configuration requests ----------------------------------------------------------------------------


def test_pretraining_on_test_people_is_counted_and_allowed(tmp_path):
    audited = Study(tmp_path, macro_people=("s1", "s4", "x")).audit().query("size > 0")
    assert set(audited["check"]) == {"subjects: pre-training and test"} and set(audited["allowed"]) == {"yes"}
    assert dict(zip(audited["fold"], audited["note"], strict=True)) == {n: n for n in ("faces/s1", "faces/s4")}


def test_pretraining_without_test_people_is_clean(tmp_path):
    for name, changes in {"excluded": {"excludes_test_people": True}, "other source": {"same_people": []}}.items():
        (tmp_path / name).mkdir()
        assert (Study(tmp_path / name, macro_people=("s1", "s4"), **changes).audit()["size"] == 0).all()


def test_dataset_name_that_is_a_prefix_of_another():
    split = pd.DataFrame({"dataset": "faces2", "subject": ["faces2/1"], "clip": ["c"], "part": ["test"]})
    settings = audit_settings(same_people=["faces"])
    clips, macro = {("faces2", "c"): Clip("faces2/1", "one")}, {("posed", "m"): Clip("posed/1", "other")}
    assert not any(row["size"] for row in check_fold(split, settings, clips, macro))


def test_macro_clips_without_label_are_not_counted(tmp_path):
    study = Study(tmp_path, macro_people=("s1", "x"))

    def unlabel(file):
        file["label"][:4] = [""] * 4

    study.change_cache(study.macro, unlabel)
    assert (study.audit()["size"] == 0).all()


def test_holdout_that_divides_people_is_allowed(tmp_path):
    study = Study(tmp_path, "paper-holdout")
    audited = study.audit()
    table = pd.read_csv(study.split)
    people = {part: set(rows["subject"]) for part, rows in table.groupby("part")}
    own_people = audited.set_index("check")
    assert own_people.loc["subjects: train and test", "size"] == len(people["train"] & people["test"]) > 0
    assert own_people.loc["subjects: validation and test", "size"] == len(people["validation"] & people["test"])
    assert (audited.query("size > 0")["allowed"] == "yes").all()
    assert own_people.loc["subjects: train and validation", "allowed"] == "no"


def test_divided_people_without_holdout_are_an_error(tmp_path):
    with pytest.raises(InputError, match="subjects: train and test"):
        Study(tmp_path, "paper-holdout", divides_subjects=False).audit()


def test_audit_of_table_cells_needs_no_predictions(tmp_path):
    study = Study(tmp_path, scored=False, experiment="table t")
    assert set(study.audit()["check"]) == {
        name for name in CHECKS if name.startswith(("subjects", "contents")) and "scorer" not in name
    }
    person_in("test", "train")(study)
    with pytest.raises(InputError, match="table t, repeat 4, fold faces/s0"):
        study.audit()


def taught_scorer(folder, people):
    """A weights file that names the people it was trained on, as the key-frame scorer does."""
    save_file({"a": np.zeros(2)}, folder / "scorer.safetensors", {"subjects": json.dumps(people)})
    return str(folder / "scorer.safetensors")


@pytest.mark.parametrize(
    ("people", "same", "size"),
    [
        (["other/s1", "other/s9"], ["faces"], 1),
        (["faces/s1", "faces/s2"], ["faces"], 1),
        (["other/s8", "other/s9"], ["faces"], 0),
        (["other/s1"], [], 0),
    ],
)
def test_people_of_the_keyframe_scorer_are_not_tested(tmp_path, people, same, size):
    check = "subjects: key-frame scorer and test"
    study = Study(tmp_path, scorer=taught_scorer(tmp_path, people), scorer_people=same)
    if size:
        with pytest.raises(InputError, match=f"fold faces/s1: {check}: {size}"):
            study.audit()
        assert not (tmp_path / "audit.csv").exists()
        return
    audited = study.audit().query("check == @check")
    assert audited["fold"].nunique() == 5 and (audited["size"] == 0).all() and set(audited["allowed"]) == {"no"}


def test_unreadable_scorer_stops_the_audit(tmp_path):
    (tmp_path / "scorer.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="scorer.safetensors cannot be read as a key-frame scorer"):
        Study(tmp_path, scorer=str(tmp_path / "scorer.safetensors")).audit()


# --- What training reports is what it was given -----------------------------------------------------------------------


def test_reported_number_of_training_clips_is_what_training_got(monkeypatch):
    """A training that also fits test clips reports them."""
    labels, rng = np.arange(9) % 2, np.random.default_rng(0)
    clips = [{"dataset": "d", "subject": f"d/{n // 3}", "clip": str(n)} for n in range(9)]
    samples = Samples(clips, labels, CLASSES, rng.normal(0, 1, (9, 1, 6)).astype(np.float32))
    settings = LinearSettings(
        "e", ClipSettings(["d"], CLASSES, {}), SelectionSettings("fixed", "refit", {}, 0, 0.0), {}, 1, "softmax"
    )

    def reported():
        results = run_folds(Baseline(), samples, draw_folds("loso", samples.subjects, labels), 0, settings)
        return [result.accuracy_row("e")["n"] for result in results]

    assert reported() == [6, 6, 6]
    honest = FoldData.of

    def greedy(fold, labels, *rest):
        return honest(replace(fold, train=np.union1d(fold.train, fold.test)), labels, *rest)

    monkeypatch.setattr(FoldData, "of", greedy)
    assert reported() == [9, 9, 9]


# --- Clips that share frames of a video -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "leaks"), [(("train", "test"), 1), (("validation", "test"), 1), (("train", "train"), 0)]
)
def test_clips_that_share_frames_are_one_piece_of_footage(parts, leaks):
    split = pd.DataFrame({"dataset": "d", "subject": ["d/1", "d/2"], "clip": ["a", "b"], "part": parts})
    overlaps = [["d", "a", "d", "b"], ["d", "b", "d", "other"]]
    clips = {("d", "a"): Clip("d/1", "one"), ("d", "b"): Clip("d/2", "two")}
    rows = {row["check"]: row for row in check_fold(split, audit_settings([]), clips, {}, overlaps=overlaps)}
    assert rows["contents: train, validation and test"]["size"] == leaks
    assert rows["contents: train, validation and test"]["note"] == ("d/a = d/b" if leaks else "")


def test_pretraining_clip_that_shares_frames_with_a_test_clip_is_a_leak():
    split = pd.DataFrame({"dataset": "d", "subject": ["d/1"], "clip": ["a"], "part": ["test"]})
    overlaps = [["d", "a", "m", "x"]]
    clips, macro = {("d", "a"): Clip("d/1", "one")}, {("m", "x"): Clip("m/1", "two"), ("m", "y"): Clip("m/1", "three")}
    rows = {row["check"]: row["size"] for row in check_fold(split, audit_settings([]), clips, macro, overlaps=overlaps)}
    assert rows["contents: pre-training and test"] == 1
