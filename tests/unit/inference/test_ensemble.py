"""Ensembles: members reproduce the predictions of their folds; files and their validation."""

import json
from collections import defaultdict

import h5py
import numpy as np
import pytest
from small_ensembles import (
    FOLDS,
    SUBJECTS,
    SYSTEMS,
    UNIT_SYSTEMS,
    chances,
    clip_settings,
    ensemble_settings,
    outputs,
    settings_of,
    trained,
    weights,
)
from training_jobs import train_clip_networks

from merflow.errors import InputError
from merflow.evaluation.calibration import temper
from merflow.inference import ensemble, members
from merflow.inference.ensemble import ClipArrays, Ensemble, gather_ensemble, load_ensemble
from merflow.storage.tables import PREDICTIONS, read_table


def answers(whole: Ensemble, rows, results):
    """What the members say of rows of a table, those of its own fold and seed: their mean."""
    with h5py.File(results / "micro.h5") as file:
        place = {clip: number for number, clip in enumerate(file["clip"].asstr())}
    probs = whole.members(ClipArrays.of_cache(results / "micro.h5"), calibrated=False)
    numbers = defaultdict(list)
    for number, member in enumerate(whole.metadata["members"]):
        numbers[member["seed"], member["fold"]].append(number)
    pairs = zip(rows["repeat"], rows["fold"], rows["clip"], strict=True)
    return np.array([probs[numbers[seed, fold], place[clip]].mean(axis=0) for seed, fold, clip in pairs])


@pytest.mark.parametrize("name", [*SYSTEMS, *UNIT_SYSTEMS])
def test_members_reproduce_test_predictions(results, name):
    seeds = (0, 1) if name == "frozen" else (0,)
    whole, predictions, validation = trained(results, name, seeds)
    networks = 2 if name.startswith("msjfn") else 1
    assert len(whole.metadata["members"]) == SUBJECTS * len(seeds) * networks and len(
        predictions
    ) == 3 * SUBJECTS * len(seeds)
    np.testing.assert_allclose(answers(whole, predictions, results), chances(predictions), atol=1e-6)
    if not name.startswith("ststnet"):  # Trained on its validation clips, too, in the end.
        np.testing.assert_allclose(answers(whole, validation, results), chances(validation), atol=1e-6)


def test_units_are_not_calibrated(results):
    whole, predictions, _ = trained(results, "ststnet-units")
    assert (whole.temperature, whole.metadata["calibrated"], whole.units) == (1.0, False, True)
    assert set(predictions["truth"]) == {"up", "up+down", "none"}
    clips = ClipArrays.of_cache(results / "micro.h5")
    np.testing.assert_array_equal(whole.members(clips), whole.members(clips, calibrated=False))


@pytest.mark.parametrize("name", ["frozen", "end-to-end-concat", "msjfn"])
def test_validation_clips_are_not_of_test_subjects(results, name):
    whole, predictions, validation = trained(results, name, (0, 1) if name == "frozen" else (0,))
    assert set(validation["fold"]) == set(FOLDS) and not (validation["fold"] == validation["subject"]).any()
    assert not validation.duplicated(["repeat", "fold", "clip"]).any()
    assert list(validation) == list(predictions) and whole.metadata["calibrated"]


def test_refit_validation_uses_network_before_refit(results):
    """With `refit` the saved network has trained on the validation clips: its own answers there would be too good."""
    whole, _, validation = trained(results, "ststnet")
    assert np.abs(answers(whole, validation, results) - chances(validation)).max() > 1e-3


def test_probabilities_are_mean_of_calibrated_members(results):
    whole, *_ = trained(results, "frozen", (0, 1))
    clips = ClipArrays.of_cache(results / "micro.h5", [4, 0, 7])
    raw = whole.members(clips, calibrated=False)
    whole.temperature = 2.5
    np.testing.assert_allclose(whole.members(clips), raw**0.4 / (raw**0.4).sum(axis=2, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(whole.probabilities(clips), temper(raw, 2.5).mean(axis=0), atol=1e-12)
    assert raw.shape == (2 * SUBJECTS, 3, 3) and raw.dtype == np.float64
    everything = whole.members(ClipArrays.of_cache(results / "micro.h5"), calibrated=False)
    np.testing.assert_allclose(raw, everything[:, [4, 0, 7]], atol=1e-6)


def test_ensemble_loads_shared_networks_once(results, monkeypatch):
    whole, *_ = trained(results, "frozen", (0, 1))
    again, loaded, seen = Ensemble(whole.metadata, whole.results), [], []
    monkeypatch.setattr(ensemble, "load_network", lambda *pair: loaded.append(pair) or load(*pair))
    clips = ClipArrays.of_cache(results / "micro.h5", [0, 1])
    for _ in range(3):
        again.members(clips)
    assert len(loaded) == 2, "one network of each of two seeds"
    for group in again.groups:
        for network in group.networks:
            features = network.features
            monkeypatch.setattr(network, "features", lambda x, original=features: seen.append(len(x)) or original(x))
    again.members(clips)
    assert len(seen) == 2, "not once for each fold"


load = ensemble.load_network


def test_gather_ensemble_reads_names_of_heads_only(results, tmp_path, monkeypatch):
    whole, *_ = trained(results, "frozen", (0, 1))
    folder = results / "study/experiments/frozen"
    input_settings, models = whole.metadata["reads"], [folder / "heads.safetensors"]
    networks = {seed: [{"graph": results / f"graph{seed}.h5", "weights": weights(results, seed)}] for seed in (0, 1)}
    monkeypatch.setattr(ensemble, "read_models", None)
    settings, caches = ensemble_settings("frozen", input_settings, networks), [results / "micro.h5"]
    gather_ensemble(settings, folder / "validation.csv", models, caches, tmp_path / "ensemble.json", results)
    assert (tmp_path / "ensemble.json").read_bytes() == (folder / "ensemble.json").read_bytes()
    with pytest.raises(InputError, match=r"w0\.safetensors holds no models of merflow"):
        models = [results / "w0.safetensors"]
        gather_ensemble(settings, folder / "validation.csv", models, caches, tmp_path / "e", results)


def test_ensemble_in_small_batches_gives_same_answers(results, monkeypatch):
    whole, *_ = trained(results, "end-to-end-concat")
    clips = ClipArrays.of_cache(results / "micro.h5")
    usual = whole.members(clips)
    monkeypatch.setattr(members, "IMAGE_BATCH", 5)
    np.testing.assert_allclose(whole.members(clips), usual, atol=1e-6)


def test_temperature_without_validation_clips_is_one(results):
    fixed = settings_of("from-nothing")["head"] | {"epoch_choice": "fixed"}
    whole, predictions, validation = trained(results, "from-nothing", folds=tuple(FOLDS[:2]), head=fixed)
    assert len(validation) == 0 and len(predictions) == 6
    assert whole.temperature == 1 and whole.metadata["calibrated"] is False
    np.testing.assert_allclose(answers(whole, predictions, results), chances(predictions), atol=1e-6)


def test_gather_ensemble_skips_fold_without_clips(results, tmp_path):
    files = outputs(tmp_path / "study/experiments/x", "micro/nobody")
    fold = {"settings": clip_settings("msjfn"), "seed": 0, "folds": ["micro/nobody"]}
    train_clip_networks([results / "micro.h5"], **files, **fold)
    assert len(read_table(files["validation"], PREDICTIONS)) == 0
    models = [files["model"]]
    with pytest.raises(InputError, match="no fold has a usable clip"):
        gather_ensemble(
            ensemble_settings("x", {"kind": "flow-image", "side": 28}, {}),
            files["validation"],
            models,
            [],
            tmp_path / "e.json",
            tmp_path,
        )


@pytest.mark.parametrize("name", ["frozen", "msjfn"])
def test_members_refuse_clips_of_other_preparation(results, name):
    whole, *_ = trained(results, name, (0, 1) if name == "frozen" else (0,))
    clips = ClipArrays.of_cache(results / "micro.h5", [0])
    with pytest.raises(InputError, match="3 flows of 32x32 pixels of each clip, and these have 2"):
        whole.members(ClipArrays(clips.spatial, clips.flow[:, :2], clips.apex_index))
    with pytest.raises(InputError, match="of 30x30"):
        whole.members(ClipArrays(clips.spatial[..., :30, :30], clips.flow[..., :30, :30], clips.apex_index))


def test_ensemble_names_damaged_files(results, tmp_path):
    whole, *_ = trained(results, "msjfn")
    with pytest.raises(InputError, match="run the study first"):
        load_ensemble(tmp_path / "ensemble.json")
    (tmp_path / "ensemble.json").write_text(json.dumps({"classes": []}))
    with pytest.raises(InputError, match="is not a valid ensemble file"):
        load_ensemble(tmp_path / "ensemble.json")
    missing = whole.metadata | {"members": [{"seed": 0, "fold": "x", "member": 0, "file": "gone.safetensors"}]}
    with pytest.raises(InputError, match="gone.safetensors does not exist"):
        Ensemble(missing, tmp_path).members(ClipArrays.of_cache(results / "micro.h5", [0]))
    other = whole.metadata | {"members": [{"seed": 0, "fold": "x", "member": 0, "file": "w0.safetensors"}]}
    with pytest.raises(InputError, match="holds no models of merflow"):
        Ensemble(other, results).members(ClipArrays.of_cache(results / "micro.h5", [0]))


@pytest.mark.parametrize("part", ["classes", "temperature", "reads"])
def test_load_ensemble_names_missing_part(tmp_path, part):
    parts = {"system": "ststnet", "members": [], "classes": ["joy"], "temperature": 1.0}
    parts["reads"] = {"kind": "flow-image", "side": 4}
    parts["reads"] |= {"branches": [], "fusion": "", "signal": "", "normalise": "", "relative": ""}
    (tmp_path / "ensemble.json").write_text(json.dumps({name: parts[name] for name in parts if name != part}))
    with pytest.raises(InputError, match=rf"ensemble\.json is not a valid ensemble file \('{part}'\)"):
        load_ensemble(tmp_path / "ensemble.json")


def test_model_file_is_independent_of_test_labels(results, tmp_path):
    """The networks of a fold whose test clips have other labels are the same file."""
    other = tmp_path / "other.h5"
    other.write_bytes((results / "micro.h5").read_bytes())
    with h5py.File(other, "r+") as file:
        labels = file["label"].asstr()[:]
        mine = file["subject"].asstr()[:] == FOLDS[1]
        labels[mine] = np.roll(labels[mine], 1)
        file["label"][:] = labels.tolist()
    files = []
    for name, cache in (("one", results / "micro.h5"), ("two", other)):
        files_of_fold = outputs(tmp_path / name, FOLDS[1])
        train_clip_networks([cache], **files_of_fold, settings=clip_settings("msjfn"), seed=0, folds=[FOLDS[1]])
        files.append(files_of_fold["model"].read_bytes())
    assert files[0] == files[1]
