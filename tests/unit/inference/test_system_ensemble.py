"""Ensembles of systems on new clips: the mean of experiments and of baselines that are trained when they answer."""

import json

import numpy as np
import pytest
from small_ensembles import CLASSES, trained
from training_jobs import run_linear

from merflow.evaluation.calibration import fit_temperature, read_probs, temper
from merflow.inference.ensemble import ClipArrays
from merflow.inference.onnx_export import LIMIT, compare, model_inputs, to_onnx
from merflow.inference.settings import SystemEnsembleSettings, SystemMember
from merflow.inference.system_ensemble import SystemEnsemble, gather_systems, load_systems
from merflow.protocols.settings import ClipSettings
from merflow.storage.tables import PREDICTIONS, read_table
from merflow.systems.clip_images import read_clip_images
from merflow.systems.linear import fit


def gathered(results, *names, baselines=()):
    """The ensemble of trained systems and of baselines, as its file describes it."""
    experiments = results / "study/experiments"
    members = [SystemMember(name, "any", [str(experiments / name / "ensemble.json")]) for name in names]
    validation = {}
    for name in baselines:
        folder = experiments / name
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"experiment": name, "classes": CLASSES, "datasets": ["micro"]}
        run_linear([results / "micro.h5"], name, folder / "predictions.csv", folder / "accuracy.csv", settings)
        members.append(SystemMember(name, name, [str(results / "micro.h5")], ClipSettings(["micro"], CLASSES, {})))
        validation[name] = folder / "validation.csv"
    file = experiments / "-".join([*names, *baselines]) / "ensemble.json"
    file.parent.mkdir(exist_ok=True)
    settings = SystemEnsembleSettings("mix", CLASSES, ["micro"], "default", "loso", [0], members)
    gather_systems(settings, validation, file, results)
    return load_systems(file)


def test_answer_is_the_mean_of_the_calibrated_systems(results):
    whole, network = trained(results, "frozen", (0, 1))[0], trained(results, "ststnet")[0]
    mix = gathered(results, "frozen", "ststnet", baselines=["linear-svm"])
    clips = ClipArrays.of_cache(results / "micro.h5", [5, 0, 7])
    samples = read_clip_images([results / "micro.h5"], ClipSettings(["micro"], CLASSES, {}), in_memory=True)
    images = samples.rows.reshape(len(samples.labels), -1)
    table = results / "study/experiments/linear-svm/validation.csv"
    temperature = fit_temperature(*read_probs(read_table(table, PREDICTIONS), CLASSES, table))
    svm = temper(fit("linear-svm", images, samples.labels, len(CLASSES))(images[[5, 0, 7]]), temperature)
    expected = np.stack([whole.probabilities(clips), network.probabilities(clips), svm])
    np.testing.assert_allclose(mix.members(clips), expected, atol=1e-9)
    np.testing.assert_allclose(mix.probabilities(clips), expected.mean(axis=0), atol=1e-9)
    assert temperature != 1 and mix.classes == CLASSES


def test_file_of_an_experiment_is_loaded_as_its_networks(results):
    whole = trained(results, "ststnet")[0]
    loaded = load_systems(results / "study/experiments/ststnet/ensemble.json")
    assert loaded.metadata == whole.metadata and not isinstance(loaded, SystemEnsemble)


@pytest.mark.slow
def test_exported_systems_answer_as_torch_does(results):
    for name in ("frozen", "ststnet"):
        trained(results, name, (0, 1) if name == "frozen" else (0,))
    mix, clips = gathered(results, "frozen", "ststnet"), ClipArrays.of_cache(results / "micro.h5")
    model = to_onnx(mix, clips, {"classes": json.dumps(CLASSES)})
    assert [array.name for array in model.graph.input] == list(model_inputs(("spatial", "flow", "apex_index"), clips))
    content = model.SerializeToString(deterministic=True)
    assert max(compare(content, mix, [clips]).values()) <= LIMIT
    mix.systems[0].temperature *= 2
    assert compare(content, mix, [clips])["members"] > LIMIT
