"""Networks that depend on the fold: end to end, without a macro set, or without the people of the test."""

import h5py
import numpy as np
import pytest
import torch
from graph_caches import FAST, OWN, make_cache

from merflow.errors import InputError
from merflow.learning.fit import repeatable
from merflow.storage.disk_arrays import Centred
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, PREDICTIONS, read_table
from merflow.systems.tsdgcn import fold_training as in_fold
from merflow.systems.tsdgcn.features import extract
from merflow.systems.tsdgcn.finetune import finetune
from merflow.systems.tsdgcn.fold_training import pretrain_without, train_fold
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.pretrain import pretrain
from merflow.systems.tsdgcn.sgcn import SGCN


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("in-fold")
    build_graph(16, 4, 2).save(folder / "graph.h5")
    macro = make_cache(folder / "macro.h5", 4, 2, 0, "macro")
    make_cache(folder / "micro.h5", 4, 2, 1, "micro")
    pretrain(macro, folder / "graph.h5", folder / "w.safetensors", folder / "w.csv", FAST, seed=3)
    return folder


def train(made, where, weights=True, macro=None, micro=None, fold="micro/s1", **changes):
    where.mkdir(parents=True, exist_ok=True)
    files = {"predictions": where / "p.csv", "accuracy_train": where / "a.csv", "curves": where / "c.csv"}
    weights = [made / "w.safetensors"] if weights else []
    caches = [micro or made / "micro.h5"]
    train_fold(caches, [made / "graph.h5"], weights, macro, **files, settings=OWN | changes, seed=0, fold=fold)
    return read_table(files["predictions"], PREDICTIONS), files


def chances(table):
    return table[["p_up", "p_down", "p_left"]].to_numpy(float)


def changed_copy(source, target, change):
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as file:
        change(file)
    return target


@pytest.mark.parametrize("fusion", ["stack", "concat"])
def test_with_frozen_networks_a_fold_equals_the_way_over_extracted_features(made, tmp_path, fusion):
    """The other path: features extracted once, heads trained by `finetune`."""
    table, files = train(made, tmp_path / "fold", transfer="frozen", fusion=fusion)
    extract(
        made / "micro.h5", made / "w.safetensors", made / "graph.h5", tmp_path / "f.h5", {"signal": "magnitude"}
    )  # fmt: skip
    outputs = [tmp_path / name for name in ("p.csv", "a.csv", "c.csv")]
    finetune({0: [[tmp_path / "f.h5"]]}, *outputs, OWN | {"fusion": fusion})
    reference = read_table(outputs[0], PREDICTIONS).query("fold == 'micro/s1'")
    assert (
        table[["clip", "truth", "predicted"]].values.tolist()
        == reference[["clip", "truth", "predicted"]].values.tolist()
    )
    np.testing.assert_allclose(chances(table), chances(reference), atol=1e-4)
    accuracy = read_table(files["accuracy_train"], ACCURACY_TRAIN)
    assert accuracy["n"].tolist() == read_table(outputs[1], ACCURACY_TRAIN).query("fold == 'micro/s1'")["n"].tolist()


@pytest.mark.parametrize("weights", [True, False], ids=["from macro weights", "from nothing"])
def test_networks_learn_inside_the_fold(made, tmp_path, weights):
    found = [train(made, tmp_path / f"{n}", weights, fold=f"micro/s{n}")[0] for n in range(2)]
    right = np.concatenate([(table["truth"] == table["predicted"]).to_numpy() for table in found])
    assert len(right) == 12 and right.mean() >= 0.75, "majority would reach a third"


def test_end_to_end_moves_the_networks_and_frozen_does_not(made, tmp_path):
    frozen, _ = train(made, tmp_path / "frozen", transfer="frozen")
    moved, files = train(made, tmp_path / "moved")
    assert np.abs(chances(frozen) - chances(moved)).max() > 1e-3
    curve = read_table(files["curves"], CURVES)
    assert set(curve["split"]) == {"train", "validation"} and set(curve["name"]) == {"micro/s1"}


@pytest.mark.parametrize("changes", [{}, {"transfer": "frozen"}], ids=["end to end", "frozen"])
def test_labels_of_the_test_clips_change_no_prediction(made, tmp_path, changes):
    def poison(file):
        labels = file["label"].asstr()[:]
        mine = file["subject"].asstr()[:] == "micro/s1"
        labels[mine] = np.roll(labels[mine], 2)
        file["label"][:] = labels.tolist()

    other = changed_copy(made / "micro.h5", tmp_path / "poisoned.h5", poison)
    one, _ = train(made, tmp_path / "one", **changes)
    two, _ = train(made, tmp_path / "two", micro=other, **changes)
    assert one["truth"].tolist() != two["truth"].tolist()
    assert chances(one).tolist() == chances(two).tolist()


@pytest.mark.parametrize("weights", [True, False], ids=["from macro weights", "from nothing"])
def test_a_test_clip_changes_no_other_answer(made, tmp_path, weights):
    """Images are centred by training clips, so what a fold tests reaches nothing but its own answer."""

    def brighten(file):
        first = int(np.flatnonzero(file["subject"].asstr()[:] == "micro/s1")[0])
        file["spatial"][first] = 255 - file["spatial"][first]
        file["flow"][first] = 30 + file["flow"][first]

    other = changed_copy(made / "micro.h5", tmp_path / "changed.h5", brighten)
    short = {"head": OWN["head"] | {"epochs": 3}}
    one, _ = train(made, tmp_path / "one", weights, **short)
    two, _ = train(made, tmp_path / "two", weights, micro=other, **short)
    assert np.abs(chances(one)[0] - chances(two)[0]).max() > 1e-4
    np.testing.assert_allclose(chances(one)[1:], chances(two)[1:], atol=1e-6)


def test_training_is_handed_no_class_of_a_test_clip(made, tmp_path, monkeypatch):
    handed, honest = [], in_fold._train

    def watched(samples, *given):
        handed.append(samples)
        return honest(samples, *given)

    monkeypatch.setattr(in_fold, "_train", watched)
    own = {"selection": "nested", "inner_folds": 2, "grid": {"head.learning_rate": [1e-3, 2e-3]}, "transfer": "frozen"}
    table, _ = train(made, tmp_path, **own)
    assert len(handed) == 5 and set(table["truth"]) == {"up", "down", "left"}
    for samples in handed:
        mine = np.array(samples.subjects) == "micro/s1"
        assert (samples.labels[mine] == -1).all() and (samples.labels[~mine] >= 0).all()
        assert {clip["truth"] for clip in samples.clips if clip["subject"] == "micro/s1"} == {""}


def test_a_fold_is_the_same_bits_again(made, tmp_path):
    first, second = (train(made, tmp_path / name, weights=False)[0] for name in ("one", "two"))
    assert first.equals(second)


def test_macro_images_of_the_people_of_the_test_train_nothing(made, tmp_path):
    def blank(person):
        def change(file):
            mine = file["subject"].asstr()[:] == f"macro/{person}"
            spatial = file["spatial"][:]
            spatial[mine] = 255 - spatial[mine]
            file["spatial"][:] = spatial

        return changed_copy(made / "macro.h5", tmp_path / f"without {person}.h5", change)

    base, _ = train(made, tmp_path / "base", False, made / "macro.h5", transfer="frozen")
    same, _ = train(made, tmp_path / "same", False, blank("s1"), transfer="frozen")
    other, _ = train(made, tmp_path / "other", False, blank("s2"), transfer="frozen")
    assert chances(base).tolist() == chances(same).tolist(), "s1 is tested, and is in the macro set by the same name"
    assert chances(base).tolist() != chances(other).tolist()
    with pytest.raises(InputError, match="fewer than 2 classes are left"):
        pretrain_without(made / "macro.h5", plan(made), {f"s{n}" for n in range(4)}, FAST, (0, 0))


def plan(made):
    from merflow.systems.tsdgcn.graph import Graph

    return Graph.load(made / "graph.h5")


def test_a_fold_whose_clips_all_failed_is_empty(made, tmp_path):
    table, files = train(made, tmp_path, fold="micro/s9")
    assert table.empty and read_table(files["curves"], CURVES).empty


def test_a_branch_that_the_cache_does_not_have_is_named(made, tmp_path):
    def without_frames(file):
        spatial = file["spatial"][:, :0]
        del file["spatial"]
        file["spatial"] = spatial

    images = changed_copy(made / "micro.h5", tmp_path / "images.h5", without_frames)
    with pytest.raises(InputError, match="holds nothing for the spatial branch"):
        train(made, tmp_path, micro=images)
    table, _ = train(made, tmp_path, weights=False, micro=images, branches=["temporal"])
    assert len(table) == 6


def test_pictures_are_centred_on_the_training_clips_alone():
    rows = np.random.default_rng(0).normal(7, 3, (9, 2, 25)).astype(np.float32)
    train_places = np.arange(6)
    found = Centred(rows, train_places)[:]
    np.testing.assert_allclose(found[:6].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found[:6].std(axis=(0, 2)), 1, rtol=1e-5)
    assert abs(found[6:].mean(axis=0)).max() > 1e-3
    np.testing.assert_allclose(
        found[6], (rows[6] - rows[:6].mean(0)) / (rows[:6] - rows[:6].mean(0)).std((0, 2))[:, None], rtol=1e-4
    )


def test_untrained_networks_differ_by_their_seeds(made):
    weights = []
    for seed in (0, 1):
        with repeatable(seed, 0):
            weights.append(SGCN(plan(made), 3).layers[0].weight.detach())
    assert not torch.equal(*weights)
