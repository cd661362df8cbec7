"""Fusion of features, and the head that is trained on them in each fold."""

import h5py
import numpy as np
import pytest
import torch
from graph_caches import CLASSES, HEAD, SETTINGS, SIZE, make_cache
from training_jobs import finetune, finetune_settings

from merflow.errors import ConfigError, InputError
from merflow.evaluation.metrics import score
from merflow.protocols.folds import draw_folds
from merflow.protocols.settings import ClipSettings
from merflow.storage.tables import ACCURACY_TRAIN, CURVES, PREDICTIONS, read_table
from merflow.systems.fold_runner import run_folds
from merflow.systems.samples import Samples
from merflow.systems.settings import SignalSettings
from merflow.systems.tsdgcn import finetune as finetuning
from merflow.systems.tsdgcn.features import extract
from merflow.systems.tsdgcn.finetune import HeadSystem
from merflow.systems.tsdgcn.fusion import fuse, load_features, relative_features
from merflow.systems.tsdgcn.signals import less_clip_mean

BOTH = ["spatial", "temporal"]


def run(features, folder, **changes):
    folder.mkdir(exist_ok=True)
    files = [folder / name for name in ("predictions.csv", "accuracy_train.csv", "curves.csv")]
    finetune(features, *files, SETTINGS | changes)
    return files


def load(files, branches=BOTH, fusion="stack", classes=CLASSES, datasets=("micro",), relative="no"):
    inputs = SignalSettings(branches, fusion, "magnitude", "image", relative)
    return load_features(files, ClipSettings(datasets, classes, {}), inputs)


def probs_of(rows):
    return [[row[f"p_{name}"] for name in CLASSES] for row in rows]


# --- fusion -----------------------------------------------------------------------------------------------------------


def test_load_features_of_u_and_v_has_two_rows_per_flow(pretrained, tmp_path):
    folder = pretrained["folder"]
    files = pretrained["micro"], folder / "two.safetensors", folder / "two.graph.h5", tmp_path / "f.h5"
    extract(*files, "u+v")
    for fusion, shape in (("stack", (29, 9, 512)), ("concat", (29, 6, 1024))):
        assert load([[tmp_path / "f.h5"]], fusion=fusion)[0].rows.shape == shape


def test_load_features_of_stills_has_spatial_rows_only(pretrained, tmp_path):
    folder = pretrained["folder"]
    cache = make_cache(tmp_path / "cache.h5", 3, 1, 5, "stills", frames=1)
    with h5py.File(cache, "r+") as file:
        del file["flow"]
        file["flow"] = np.zeros((9, 0, 3, SIZE, SIZE), np.float16)
    extract(cache, folder / "one.safetensors", folder / "one.graph.h5", tmp_path / "f.h5", "magnitude")
    assert load([[tmp_path / "f.h5"]], ["spatial"])[0].rows.shape == (9, 1, 512)
    with pytest.raises(InputError, match="no temporal features"):
        load([[tmp_path / "f.h5"]])


def test_load_features_leaves_out_clips_of_other_classes(pretrained):
    everything, _ = load([pretrained["features"]])
    some, _ = load([pretrained["features"]], classes=CLASSES[1:])
    kept = [clip for clip in everything.clips_with_truth if clip["truth"] in CLASSES[1:]]
    assert some.classes == CLASSES[1:] and some.clips_with_truth == kept and len(kept) < len(everything.clips)


def test_load_features_fuses_as_eq_4_and_5(pretrained):
    arrays = {}
    for number, path in enumerate(pretrained["features"]):
        with h5py.File(path) as file:
            arrays[number] = {branch: np.delete(file[branch][:], 3, axis=0) for branch in BOTH}
    dual = {branch: np.concatenate([arrays[0][branch], arrays[1][branch]], axis=2) for branch in arrays[0]}
    stack, branch = load([pretrained["features"]])
    np.testing.assert_array_equal(stack.rows[:, :3], dual["spatial"])
    np.testing.assert_array_equal(stack.rows[:, 3:], dual["temporal"])
    assert list(branch) == [0, 0, 0, 1, 1, 1]
    concat, _ = load([pretrained["features"]], fusion="concat")
    np.testing.assert_array_equal(concat.rows[:, 1, :1024], dual["spatial"][:, 1])
    np.testing.assert_array_equal(concat.rows[:, 1, 1024:], dual["temporal"][:, 1])
    single, _ = load([pretrained["features"][:1]], ["temporal"])
    np.testing.assert_array_equal(single.rows, arrays[0]["temporal"])


@pytest.mark.parametrize("fusion", ["stack", "clip", "concat"])
@pytest.mark.parametrize("branches", [BOTH, BOTH[::-1], ["temporal"]])
def test_relative_features_are_less_the_mean_of_the_key_frames(pretrained, fusion, branches):
    plain, _ = load([pretrained["features"]], branches, fusion)
    relative, _ = load([pretrained["features"]], branches, fusion, relative="features")
    expected = plain.rows.copy()
    if "spatial" in branches:
        place = branches.index("spatial")
        part = expected[:, 3 * place : 3 * place + 3]
        if fusion == "concat":
            part = expected[:, :, 1024 * place : 1024 * place + 1024]
        part -= part.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(relative.rows, expected, atol=1e-6)


def test_single_key_frame_stays_as_it_is():
    rows = np.random.default_rng(0).normal(size=(4, 1, 6)).astype(np.float32)
    np.testing.assert_array_equal(less_clip_mean(rows), rows)
    inputs = SignalSettings(["spatial"], "clip", "magnitude", "image", "features")
    np.testing.assert_array_equal(relative_features(torch.from_numpy(rows), inputs, [0]), rows)
    beside, branch = fuse({"spatial": rows, "temporal": np.repeat(rows, 2, axis=1)}, "concat", rows_per_flow=2)
    inputs = SignalSettings(BOTH, "concat", "u+v", "image", "features")
    np.testing.assert_array_equal(relative_features(torch.from_numpy(beside), inputs, branch), beside)


def test_fuse_names_what_does_not_fit():
    with pytest.raises(InputError, match="as many key-frames as flow images"):
        fuse({"spatial": np.zeros((2, 3, 4)), "temporal": np.zeros((2, 5, 4))}, "concat")


def test_load_features_refuses_files_that_do_not_belong_together(pretrained, tmp_path):
    other = make_cache(tmp_path / "other.h5", 3, 1, 2, "other")
    folder = pretrained["folder"]
    extract(other, folder / "two.safetensors", folder / "two.graph.h5", tmp_path / "f.h5", "magnitude")
    with pytest.raises(InputError, match="other clips"):
        load([[pretrained["features"][0], tmp_path / "f.h5"]])
    both, _ = load([pretrained["features"][1:], [tmp_path / "f.h5"]], datasets=["first", "second"])
    assert len(both.clips) == 29 + 9
    assert {clip["dataset"] for clip in both.clips} == {"micro", "other"}, "that of the subject"
    with pytest.raises(InputError, match="clips of two shapes"):
        load([pretrained["features"], [tmp_path / "f.h5"]], datasets=["first", "second"])
    with pytest.raises(InputError, match="is damaged|not a feature file"):
        load([[pretrained["macro"]]])


# --- the head ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["stack", "concat"])
def test_finetune_writes_tables_of_all_repeats(pretrained, tmp_path, fusion):
    features = {0: [pretrained["features"]], 7: [pretrained["features"]]}
    columns = (PREDICTIONS, ACCURACY_TRAIN, CURVES)
    files = run(features, tmp_path, fusion=fusion)
    predictions, accuracy_train, curves = (read_table(*pair) for pair in zip(files, columns, strict=True))
    assert len(predictions) == 2 * 29
    assert not predictions.duplicated(["repeat", "clip"]).any()
    assert "" not in set(predictions["truth"])
    assert set(predictions["dataset"]) == {"micro"}
    assert (predictions["fold"] == predictions["subject"]).all()
    probs = predictions[[f"p_{name}" for name in CLASSES]].to_numpy(float)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)
    assert [CLASSES[i] for i in probs.argmax(axis=1)] == list(predictions["predicted"])
    accuracy = (predictions["truth"] == predictions["predicted"]).mean()
    assert accuracy > 0.75
    assert (predictions["truth"] == "up").mean() < 0.5, "a constant answer fails the same bound"
    assert len(accuracy_train) == 10
    assert set(accuracy_train["stage"]) == {"finetune"}
    assert accuracy_train["accuracy"].between(0.5, 1).all()
    assert set(curves["name"]) == set(predictions["fold"])
    assert set(curves["split"]) == {"train", "validation"}


def test_finetune_gives_same_bytes_on_second_run(pretrained, tmp_path):
    features = {0: [pretrained["features"]]}
    first = [path.read_bytes() for path in run(features, tmp_path / "a")]
    second = [path.read_bytes() for path in run(features, tmp_path / "b")]
    assert first == second
    other_seed = [path.read_bytes() for path in run({1: [pretrained["features"]]}, tmp_path / "c")]
    assert other_seed[0] != first[0]


def test_finetune_of_repeats_in_parallel_gives_same_bytes(pretrained, tmp_path, monkeypatch):
    features = {seed: [pretrained["features"]] for seed in (3, 1, 2)}
    serial, parallel = [], []
    for processes, files in ((1, serial), (2, parallel)):
        folder = tmp_path / str(processes)
        folder.mkdir()
        files += [folder / name for name in ("predictions.csv", "accuracy_train.csv", "curves.csv")]
        finetune(features, *files, SETTINGS, processes=processes)
    assert [file.read_bytes() for file in serial] == [file.read_bytes() for file in parallel]
    assert list(dict.fromkeys(read_table(parallel[0], PREDICTIONS)["repeat"])) == [3, 1, 2]
    monkeypatch.setattr(finetuning, "load_features", None)
    with pytest.raises(TypeError):  # An error in a worker is raised here.
        finetune(features, *parallel, SETTINGS, processes=2)


def test_finetune_writes_validation_predictions_of_each_fold(pretrained, tmp_path):
    tables = [tmp_path / f"{name}.csv" for name in ("p", "a", "c")]
    features = {seed: [pretrained["features"]] for seed in (0, 1)}
    settings = SETTINGS | {"head": HEAD | {"epochs": 1, "patience": 1}}
    finetune(features, *tables, settings, validation=tmp_path / "v.csv")
    table = read_table(tmp_path / "v.csv", PREDICTIONS)
    assert table.groupby(["repeat", "fold"], sort=False).ngroups == 10
    assert not table.duplicated(["repeat", "fold", "clip"]).any()
    assert (table["fold"] != table["subject"]).all()


def test_poisoned_test_labels_leave_predictions_unchanged(pretrained, tmp_path):
    settings = finetune_settings([pretrained["features"][0]], SETTINGS, [0], tmp_path)
    samples, branch = load([pretrained["features"]])
    folds = draw_folds("loso", samples.subjects, samples.labels)

    def predict(labels):
        poisoned = Samples(samples.clips, labels, samples.classes, samples.rows)
        results = run_folds(HeadSystem(branch), poisoned, folds, 0, settings)
        return {result.fold: result.test.probs.tolist() for result in results}

    honest = predict(samples.labels)
    for subject in sorted(honest)[:2]:
        changed = predict((samples.labels + (np.array(samples.subjects) == subject)) % 3)
        same = {fold for fold, probs in honest.items() if changed[fold] == probs}
        assert subject in same
        # The same labels train the other folds: otherwise the test would prove nothing.
        assert len(same) < len(honest) / 2


def test_permuted_labels_leave_chance_accuracy(tmp_path, pretrained):
    """On 50 permutations of the labels the mean UAR is within two standard errors of chance, or below it."""
    rng, subjects = np.random.default_rng(0), np.repeat([f"d/{n}" for n in range(5)], 6)
    truth = np.tile(np.arange(3), 10)
    rows = (rng.normal(0, 1, (30, 1, 8)) + 2 * np.eye(3, 8)[truth][:, None]).astype(np.float32)
    clips = [{"dataset": "d", "subject": str(subject), "clip": str(n)} for n, subject in enumerate(subjects)]
    head = SETTINGS | {"head": HEAD | {"epochs": 12, "learning_rate": 1e-2}}
    settings = finetune_settings([pretrained["features"][0]], head, [0], tmp_path)

    def uar(labels):
        folds = draw_folds("loso", subjects, labels)
        results = run_folds(HeadSystem(np.zeros(1, int)), Samples(clips, labels, CLASSES, rows), folds, 0, settings)
        predicted = [CLASSES[probs.argmax()] for result in results for probs in result.test.probs]
        return score([clip["truth"] for result in results for clip in result.test.clips], predicted, CLASSES)["uar"]

    assert uar(truth) > 0.6, "there is something to learn"
    permuted = [uar(rng.permutation(truth)) for _ in range(50)]
    assert np.mean(permuted) <= 1 / 3 + 2 * np.std(permuted, ddof=1) / np.sqrt(50)


def test_class_weights_reach_the_loss(pretrained, tmp_path):
    features = {0: [pretrained["features"]]}
    with pytest.raises(ConfigError, match="2 values for 3 classes"):
        run(features, tmp_path, loss={"name": "focal", "alpha": [1.0, 2.0], "gamma": 0.0})
    shares = []
    for alpha in (1.0, [0.01, 0.01, 1.0]):
        short = HEAD | {"epochs": 2, "learning_rate": 1e-3}
        files = run(features, tmp_path, loss={"name": "focal", "alpha": alpha, "gamma": 0.0}, head=short)
        shares.append(read_table(files[0], PREDICTIONS)["p_left"].mean())
    assert shares[1] > shares[0] + 0.03


def test_cross_entropy_equals_focal_loss_with_gamma_0(pretrained, tmp_path):
    features, predictions = {0: [pretrained["features"]]}, []
    for loss in ({"name": "focal", "gamma": 0.0}, {"name": "cross-entropy"}, {"name": "focal", "gamma": 2.0}):
        predictions.append(run(features, tmp_path, loss=loss)[0].read_bytes())
    assert predictions[0] == predictions[1] != predictions[2]
