"""Networks that are passed on: they answer as before, hold nothing private, and damage is named."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from private_content import private_content, zip_content
from safetensors.numpy import load, save
from small_ensembles import CLASSES, trained

from merflow.errors import InputError
from merflow.inference import packing
from merflow.inference.ensemble import ClipArrays
from merflow.inference.packed import ABOUT, PackedWeights, unpack_weights
from merflow.inference.packing import pack_weights
from merflow.inference.settings import ExportSettings, PackSettings
from merflow.inference.system_ensemble import load_systems
from merflow.preprocessing.settings import PreparationSettings
from merflow.storage.tables import AUDIT, CALIBRATION, COVERAGE, METRICS, write_table
from merflow.study.config_data import PreparationBlock

BLOCK = PreparationBlock().model_dump(by_alias=True)
CARD = ExportSettings(
    None,
    PreparationSettings.from_block(BLOCK),
    [{"name": "micro", "layout": "samm", "role": "recognised", "licence": "SAMM (licence agreement)"}],
    [{"label": name, "indexed": 3} for name in CLASSES],
    False,
    [],
)


@pytest.fixture(scope="module", autouse=True)
def known_ranges():
    """The ranges of the training clips; a cache of tests has no table of quality."""
    patch = pytest.MonkeyPatch()
    patch.setattr(packing, "training_ranges", lambda tables: {"motion": (0.5, 1.5)})
    yield
    patch.undo()


def pack(results: Path, name: str, folder: Path) -> Path:
    """Pack an experiment; its archive."""
    ensemble = trained(results, name)[0]
    rows = {"experiment": name, "protocol": "loso", "scope": "pooled", "value": 0.5, "n_clips": 9, "n_subjects": 3}
    metrics = [rows | {"metric": metric} for metric in ("accuracy", "uf1", "uar")]
    other = {"experiment": "other", "check": "subjects: train and test", "size": 0, "allowed": "no"}
    tables = {"metrics": (metrics, METRICS), "audit": ([other, other | {"experiment": name}], AUDIT)}
    kinds = ("ece_raw", "ece", "nll_raw", "nll", "brier_raw", "brier")
    calibration = [{"experiment": name, "metric": metric, "value": 0.1} for metric in kinds]
    coverage = {"experiment": name, "threshold": 0.0, "answered": 1.0, "accuracy": 0.5, "n_clips": 9}
    tables |= {"calibration": (calibration, CALIBRATION), "coverage": ([coverage], COVERAGE)}
    for table, (content, columns) in tables.items():
        write_table(content, folder / f"{table}.csv", columns)
    block = BLOCK | {"keyframes": {k: v for k, v in BLOCK["keyframes"].items() if k != "learn_from"}}
    settings = PackSettings("theirs", name, "9.9.9", block, "", 3, 9, [], [], [200.0, 200.0], CARD)
    file = results / "study" / "experiments" / ensemble.metadata["experiment"] / "ensemble.json"
    pack_weights(file, settings, {table: folder / f"{table}.csv" for table in tables}, folder / f"{name}.zip")
    return folder / f"{name}.zip"


@pytest.fixture(scope="module")
def archive(results, tmp_path_factory):
    return pack(results, "frozen", tmp_path_factory.mktemp("packed"))


@pytest.mark.parametrize("name", ["frozen", "end-to-end", "ststnet"])
def test_unpacked_networks_answer_as_before(results, tmp_path, name):
    archive = pack(results, name, tmp_path)
    weights = unpack_weights(archive, tmp_path / "elsewhere" / "theirs")
    assert weights.about == PackedWeights.read(weights.folder).about
    clips = ClipArrays.of_cache(results / "micro.h5")
    again = load_systems(weights.folder / ABOUT)
    np.testing.assert_array_equal(again.members(clips), trained(results, name)[0].members(clips))


def test_archive_holds_arrays_as_safetensors_and_nothing_private(archive, results):
    content = zip_content(archive)
    paths = [str(results), str(archive.parent)]
    arrays = {name: data for name, data in content.items() if name.endswith(".safetensors")}
    texts = {name: data for name, data in content.items() if name not in arrays}
    assert private_content(texts, paths) == [] and set(texts) == {
        ABOUT, "audit.csv", "metrics.csv", "coverage.csv", "model_card.md"
    }  # fmt: skip
    assert {name.split("/")[0] for name in arrays} == {"models", "pretrained", "graphs"}
    for data in arrays.values():
        assert load(data) and not any(path.encode() in data for path in paths)
    about = json.loads(content[ABOUT])
    assert (about["people"], about["protocol"], about["study"]) == (3, "loso", "theirs")
    assert set(about["digests"]) == set(content) - {ABOUT}
    card = content["model_card.md"].decode()
    assert "SAMM (licence agreement)" in card and "weights.json" in card and "onnx" not in card
    audit = (content["audit.csv"]).decode()
    assert "frozen,," in audit and "other" not in audit


def changed(archive: Path, target: Path, change) -> Path:
    """A copy of an archive with other content."""
    content = zip_content(archive)
    change(content)
    with ZipFile(target, "w") as file:
        for name, data in content.items():
            file.writestr(name, data)
    return target


def replace_model(content):
    arrays = load(content["models/0.safetensors"])
    content["models/0.safetensors"] = save({name: array + 1 for name, array in arrays.items()})


def add_pickle(content):
    content["models/x.pkl"] = b"\x80\x04."


def list_outside(content):
    about = json.loads(content[ABOUT])
    about["digests"]["../x.safetensors"] = "0"
    content[ABOUT] = json.dumps(about).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace_model, "models/0.safetensors is damaged or was changed: its SHA-256 begins with"),
        (add_pickle, "models/x.pkl is not listed in weights.json"),
        (lambda content: content.pop("graphs/0.safetensors"), "graphs/0.safetensors is missing"),
        (list_outside, "it lists '../x.safetensors'"),
        (lambda content: content.pop(ABOUT), "has no weights.json: it is no archive of `merflow weights pack`"),
        (lambda content: content.update({ABOUT: b"{}"}), "does not describe weights of merflow ('format')"),
    ],
)
def test_damaged_or_foreign_archive_is_refused(archive, tmp_path, change, message):
    with pytest.raises(InputError, match=re.escape(message)):
        unpack_weights(changed(archive, tmp_path / "bad.zip", change), tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_archive_that_is_cut_short_is_refused(archive, tmp_path):
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"cut.zip cannot be read as an archive"):
        unpack_weights(tmp_path / "cut.zip", tmp_path / "weights")


def test_file_that_changes_after_unpacking_is_named(archive, tmp_path):
    weights = unpack_weights(archive, tmp_path / "weights")
    with pytest.raises(InputError, match="weights exists already"):
        unpack_weights(archive, tmp_path / "weights")
    (weights.folder / "coverage.csv").write_text("experiment\n")
    with pytest.raises(InputError, match=r"coverage.csv is damaged or was changed"):
        load_systems(weights.folder / ABOUT)
    shutil.rmtree(weights.folder / "graphs")
    with pytest.raises(InputError, match=r"graphs/0.safetensors cannot be read"):
        replace(weights, about={"digests": {"graphs/0.safetensors": "0"}}).check()
