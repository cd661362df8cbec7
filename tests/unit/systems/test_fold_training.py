"""Networks that depend on the fold: end to end, without a macro set, or without the people of the test."""

import h5py
import numpy as np
import pytest
import torch
from graph_caches import FAST, OWN, make_cache
from training_jobs import finetune, pretrain, train_graph_folds

from merflow.errors import InputError
from merflow.learning.batches import Centred
from merflow.learning.fit import repeatable
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, PREDICTIONS, read_table
from merflow.systems.saved_models import read_models
from merflow.systems.settings import PretrainSettings
from merflow.systems.tsdgcn.features import extract
from merflow.systems.tsdgcn.fold_training import EndToEnd, FoldSGCN
from merflow.systems.tsdgcn.graph import Graph, build_graph
from merflow.systems.tsdgcn.pretrain import train_sgcns
from merflow.systems.tsdgcn.sgcn import SGCN


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("in-fold")
    build_graph(16, 4, 2).save(folder / "graph.h5")
    macro = make_cache(folder / "macro.h5", 4, 2, 0, "macro")
    make_cache(folder / "micro.h5", 4, 2, 1, "micro")
    pretrain(macro, folder / "graph.h5", folder / "w.safetensors", folder / "w.csv", FAST, seed=3)
    return folder


def train(folder, where, weights=True, macro=None, micro=None, fold="micro/s1", graphs=1, **changes):
    where.mkdir(parents=True, exist_ok=True)
    files = {"predictions": where / "p.csv", "accuracy_train": where / "a.csv", "curves": where / "c.csv"}
    weights = [folder / "w.safetensors"] if weights else []
    caches = [micro or folder / "micro.h5"]
    inputs = caches, graphs * [folder / "graph.h5"], weights, macro
    train_graph_folds(*inputs, **files, settings=OWN | changes, seed=0, folds=[fold])
    return read_table(files["predictions"], PREDICTIONS), files


def probs_of(table):
    return table[["p_up", "p_down", "p_left"]].to_numpy(float)


def changed_copy(source, target, change):
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as file:
        change(file)
    return target


@pytest.mark.parametrize(
    "changes", [{}, {"fusion": "concat"}, {"fusion": "clip", "normalise": "image", "relative": "features"}]
)
def test_frozen_fold_equals_head_on_extracted_features(folder, tmp_path, changes):
    """The other path: features extracted once, heads trained by `finetune`."""
    table, files = train(folder, tmp_path / "fold", transfer="frozen", **changes)
    inputs = folder / "micro.h5", folder / "w.safetensors", folder / "graph.h5"
    extract(*inputs, tmp_path / "f.h5", "magnitude", changes.get("normalise", "constant"))
    outputs = [tmp_path / name for name in ("p.csv", "a.csv", "c.csv")]
    finetune({0: [[tmp_path / "f.h5"]]}, *outputs, OWN | changes)
    reference = read_table(outputs[0], PREDICTIONS).query("fold == 'micro/s1'")
    assert (
        table[["clip", "truth", "predicted"]].values.tolist()
        == reference[["clip", "truth", "predicted"]].values.tolist()
    )
    np.testing.assert_allclose(probs_of(table), probs_of(reference), atol=1e-4)
    accuracy = read_table(files["accuracy_train"], ACCURACY_TRAIN)
    assert accuracy["n"].tolist() == read_table(outputs[1], ACCURACY_TRAIN).query("fold == 'micro/s1'")["n"].tolist()


@pytest.mark.parametrize("weights", [True, False], ids=["from macro weights", "from nothing"])
def test_fold_networks_learn(folder, tmp_path, weights):
    tables = [train(folder, tmp_path / f"{n}", weights, fold=f"micro/s{n}")[0] for n in range(2)]
    right = np.concatenate([(table["truth"] == table["predicted"]).to_numpy() for table in tables])
    assert len(right) == 12 and right.mean() >= 0.75, "majority would reach a third"


def test_fold_pre_trains_two_networks_together(folder, tmp_path):
    changes = {"transfer": "frozen", "network_seeds": [3, 3]}
    apart, together = (
        train(folder, tmp_path / str(flag), False, folder / "macro.h5", graphs=2, together=flag, **changes)[0]
        for flag in (False, True)
    )
    assert np.abs(probs_of(apart) - probs_of(together)).max() > 1e-4
    assert (together["truth"] == together["predicted"]).mean() >= 0.5


def test_fold_networks_learn_from_channels(folder, tmp_path):
    """u, v and strain as channels, four layers, batch normalisation: none of it in the paper."""
    changes = {"signal": "channels", "branches": ["temporal"], "layers": 4, "batch_norm": True}
    table, _ = train(folder, tmp_path, weights=False, **changes)
    assert (table["truth"] == table["predicted"]).mean() >= 0.75


def test_batch_normalisation_sees_all_images_of_a_batch(folder):
    with repeatable(0, 0):
        networks = [SGCN(load_graph(folder), 3, batch_norm=True) for _ in range(2)]
    network = EndToEnd(networks, torch.nn.Identity(), images=4)
    x = torch.randn(3, 4, 256) * torch.tensor([1, 2, 4, 8])[:, None]
    expected = [network.features(x.flatten(0, 1)).view(3, 4, -1) for network in networks]
    torch.testing.assert_close(network(x.flatten(1)), torch.cat(expected, dim=2).flatten(1))


def test_images_side_by_side_are_scaled_by_themselves(folder, tmp_path):
    train(folder, tmp_path, weights=False, fusion="concat")
    (model,) = read_models(tmp_path / "model.safetensors").values()
    grey, flow = model.tensors["centre.divisor"].chunk(2, dim=1)
    assert (grey == grey[:, :1]).all() and (flow == flow[:, :1]).all()
    assert (grey[:, 0] / flow[:, 0]).log2().abs().min() > 0.1


def test_fold_networks_learn_whole_clips(folder, tmp_path):
    changes = {"fusion": "clip", "normalise": "image", "relative": "pixels"}
    table, _ = train(folder, tmp_path, **changes)
    assert (table["truth"] == table["predicted"]).mean() >= 0.75


def test_end_to_end_differs_from_frozen(folder, tmp_path):
    frozen, _ = train(folder, tmp_path / "frozen", transfer="frozen")
    moved, files = train(folder, tmp_path / "moved")
    assert np.abs(probs_of(frozen) - probs_of(moved)).max() > 1e-3
    curve = read_table(files["curves"], CURVES)
    assert set(curve["split"]) == {"train", "validation"} and set(curve["name"]) == {"micro/s1"}


@pytest.mark.parametrize("changes", [{}, {"transfer": "frozen"}], ids=["end to end", "frozen"])
def test_poisoned_test_labels_change_no_prediction(folder, tmp_path, changes):
    def poison(file):
        labels = file["label"].asstr()[:]
        mine = file["subject"].asstr()[:] == "micro/s1"
        labels[mine] = np.roll(labels[mine], 2)
        file["label"][:] = labels.tolist()

    other = changed_copy(folder / "micro.h5", tmp_path / "poisoned.h5", poison)
    before, _ = train(folder, tmp_path / "one", **changes)
    after, _ = train(folder, tmp_path / "two", micro=other, **changes)
    assert before["truth"].tolist() != after["truth"].tolist()
    assert probs_of(before).tolist() == probs_of(after).tolist()


@pytest.mark.parametrize("weights", [True, False], ids=["from macro weights", "from nothing"])
def test_changed_test_clip_changes_no_other_prediction(folder, tmp_path, weights):
    """Images are centred by training clips, so what a fold tests reaches nothing but its own answer."""

    def brighten(file):
        first = int(np.flatnonzero(file["subject"].asstr()[:] == "micro/s1")[0])
        file["spatial"][first] = 255 - file["spatial"][first]
        file["flow"][first] = 30 + file["flow"][first]

    other = changed_copy(folder / "micro.h5", tmp_path / "changed.h5", brighten)
    short = {"head": OWN["head"] | {"epochs": 3}}
    before, _ = train(folder, tmp_path / "one", weights, **short)
    after, _ = train(folder, tmp_path / "two", weights, micro=other, **short)
    assert np.abs(probs_of(before)[0] - probs_of(after)[0]).max() > 1e-4
    np.testing.assert_allclose(probs_of(before)[1:], probs_of(after)[1:], atol=1e-6)


def test_training_gets_no_test_clip(folder, tmp_path, monkeypatch):
    folds, honest = [], FoldSGCN.train

    def watched(system, rows, classes, data, settings):
        folds.extend(data)
        yield from honest(system, rows, classes, data, settings)

    monkeypatch.setattr(FoldSGCN, "train", watched)
    nested = {"selection": "nested", "inner_folds": 2, "grid": {"head.learning_rate": [1e-3, 2e-3]}}
    table, _ = train(folder, tmp_path, **nested, transfer="frozen")
    assert len(folds) == 5 and set(table["truth"]) == {"up", "down", "left"}
    tested = set(range(6, 12))  # The clips of micro/s1.
    for fold in folds:
        assert not tested & {*fold.train.tolist(), *fold.validation.tolist()}
        assert len(fold.train_labels) == len(fold.train) and len(fold.validation_labels) == len(fold.validation)


def test_fold_gives_same_bits_on_second_run(folder, tmp_path):
    first, second = (train(folder, tmp_path / name, weights=False)[0] for name in ("one", "two"))
    assert first.equals(second)


def test_macro_images_of_test_subjects_do_not_train(folder, tmp_path):
    def blank(person):
        def change(file):
            mine = file["subject"].asstr()[:] == f"macro/{person}"
            spatial = file["spatial"][:]
            spatial[mine] = 255 - spatial[mine]
            file["spatial"][:] = spatial

        return changed_copy(folder / "macro.h5", tmp_path / f"without {person}.h5", change)

    base, _ = train(folder, tmp_path / "base", False, folder / "macro.h5", transfer="frozen")
    same, _ = train(folder, tmp_path / "same", False, blank("s1"), transfer="frozen")
    other, _ = train(folder, tmp_path / "other", False, blank("s2"), transfer="frozen")
    assert probs_of(base).tolist() == probs_of(same).tolist(), "s1 is tested, and is in the macro set by the same name"
    assert probs_of(base).tolist() != probs_of(other).tolist()
    with pytest.raises(InputError, match="fewer than 2 classes are left"):
        people = {f"s{n}" for n in range(4)}
        train_sgcns(folder / "macro.h5", [load_graph(folder)], PretrainSettings(**FAST), (0, 0), left_out=people)


def load_graph(folder):
    return Graph.load(folder / "graph.h5")


def test_fold_without_clips_has_empty_tables(folder, tmp_path):
    table, files = train(folder, tmp_path, fold="micro/s9")
    assert table.empty and read_table(files["curves"], CURVES).empty


def test_missing_branch_of_cache_is_named(folder, tmp_path):
    def without_frames(file):
        spatial = file["spatial"][:, :0]
        del file["spatial"]
        file["spatial"] = spatial

    images = changed_copy(folder / "micro.h5", tmp_path / "images.h5", without_frames)
    with pytest.raises(InputError, match="has nothing for the spatial branch"):
        train(folder, tmp_path, micro=images)
    table, _ = train(folder, tmp_path, weights=False, micro=images, branches=["temporal"])
    assert len(table) == 6


def test_centred_uses_training_clips_only():
    rows = np.random.default_rng(0).normal(7, 3, (9, 2, 25)).astype(np.float32)
    train_indices = np.arange(6)
    centred = Centred(rows, train_indices)[:]
    np.testing.assert_allclose(centred[:6].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(centred[:6].std(axis=(0, 2)), 1, rtol=1e-5)
    assert abs(centred[6:].mean(axis=0)).max() > 1e-3
    np.testing.assert_allclose(
        centred[6], (rows[6] - rows[:6].mean(0)) / (rows[:6] - rows[:6].mean(0)).std((0, 2))[:, None], rtol=1e-4
    )


def test_untrained_networks_differ_by_seed(folder):
    weights = []
    for seed in (0, 1):
        with repeatable(seed, 0):
            weights.append(SGCN(load_graph(folder), 3).layers[0].weight.detach())
    assert not torch.equal(*weights)
