"""ONNX export: agreement with torch for any number of clips, and the program of the model card."""

import copy
import json
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from small_ensembles import CLASSES, SYSTEMS, trained
from stage_settings import preparation

from merflow.errors import ConfigError, MerflowError
from merflow.inference import onnx_export as export
from merflow.inference.ensemble import ClipArrays, clip_rows
from merflow.inference.model_card import write_card
from merflow.inference.onnx_export import LIMIT, compare, export_module, export_onnx, model_inputs, to_onnx
from merflow.inference.onnx_layers import ClipReader, ExportedSGCN, GridAverage, exportable
from merflow.inference.settings import ExportSettings
from merflow.storage.tables import CALIBRATION, METRICS, write_table
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.sgcn import SGCN

FEW = [
    "frozen",
    "frozen-clip",
    "end-to-end-concat",
    "end-to-end-clip",
    "from-nothing-channels",
    "off-apexnet",
    "msjfn",
    "mersiamc3d",
]
"""One of each kind of member and network; an export takes seconds."""


def clips_of(results):
    return ClipArrays.of_cache(results / "micro.h5")


def ensemble_of(results, name):
    return trained(results, name, (0, 1) if name == "frozen" else (0,))[0]


@pytest.mark.parametrize("name", SYSTEMS)
def test_reader_equals_the_input_of_training(results, name):
    """Resizing and signals in torch and in numpy."""
    whole, clips = ensemble_of(results, name), clips_of(results)
    clips = ClipArrays(clips.spatial, clips.flow, np.arange(len(clips)) % clips.flow.shape[1])
    reader = ClipReader(whole.input_settings)
    arrays = [torch.from_numpy(array) for array in model_inputs(reader.inputs, clips).values()]
    expected = np.stack([clip_rows(whole.input_settings, clips, place) for place in range(len(clips))])
    np.testing.assert_allclose(reader(*arrays).numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("name", SYSTEMS)
def test_exportable_members_give_the_same_answers(results, name):
    whole, clips = ensemble_of(results, name), clips_of(results)
    rows = np.stack([clip_rows(whole.input_settings, clips, place) for place in range(len(clips))])
    with torch.no_grad():
        probs = torch.cat([exportable(group)(torch.from_numpy(rows)) for group in whole.groups])
    np.testing.assert_allclose(probs.numpy(), whole.members(clips, calibrated=False), atol=1e-5)


def test_exported_sgcn_gives_the_features_of_the_sparse_one():
    torch.manual_seed(0)
    network = SGCN(build_graph(16, 8, 2), 3).eval()
    x = torch.randn(5, 256)
    with torch.no_grad():
        torch.testing.assert_close(ExportedSGCN(network).features(x), network.features(x), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_onnxruntime_answers_as_torch_does(results, name):
    whole, clips = ensemble_of(results, name), clips_of(results)
    whole.temperature = 1.7
    model = to_onnx(whole, clips, {"classes": json.dumps(whole.classes)})
    onnx.checker.check_model(model, full_check=True)
    assert {opset.domain for opset in model.opset_import} == {""}, "no operations of one runtime alone"
    content = model.SerializeToString(deterministic=True)
    assert b"/merflow/" not in content and b"site-packages" not in content, "no paths of this machine"
    for part in (clips.part(slice(0, 1)), clips.part(slice(1, 3)), clips):
        assert max(compare(content, whole, [part]).values()) < LIMIT / 5
    other = copy.copy(whole)
    other.temperature = 1.0
    assert compare(content, other, [clips])["members"] > LIMIT, "the check sees another temperature"


@pytest.mark.parametrize("shape", [(1, 2, 5, 7, 28), (2, 3, 1, 4, 5)])
def test_grid_average_equals_adaptive_pooling(shape):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(GridAverage(4)(x), torch.nn.AdaptiveAvgPool3d((1, 4, 4))(x))


class Unheard(torch.nn.Module):
    """What no translation knows."""

    def forward(self, *arrays):
        (x,) = arrays
        return torch.linalg.eigvals(x[:, :2, :2]).real


def test_export_names_unsupported_operation():
    with pytest.raises(MerflowError, match="cannot translate this system to ONNX: .*linalg_eig"):
        export_module(Unheard(), (torch.eye(3).expand(2, 3, 3),), ["rows"], ["probs"])


def settings_of(name, folder):
    """Settings of an export; the tables of the study are written into the folder."""
    rows = [
        {"experiment": experiment, "protocol": "loso", "scope": "pooled", "metric": metric, "value": 0.5, "n_clips": 9}
        | {"ci_low": 0.4, "ci_high": 0.6, "n_subjects": 3, "repeats": 1}
        for experiment in (name, "majority")
        for metric in ("accuracy", "uf1", "uar")
    ]
    write_table(rows, folder / "metrics.csv", METRICS)
    kinds = ("temperature", "ece_raw", "ece", "nll_raw", "nll", "brier_raw", "brier")
    write_table(
        [{"experiment": name, "metric": kind, "value": 0.1, "n_clips": 9} for kind in kinds],
        folder / "calibration.csv",
        CALIBRATION,
    )
    return ExportSettings(
        members=None,
        preparation=preparation(keyframes={"count": 3}),
        datasets=[{"name": "micro", "layout": "samm", "licence": "SAMM (licence agreement)", "role": "recognised"}],
        counts=[{"label": label, "indexed": 3} for label in CLASSES],
        floors=["majority"],
        photographs=False,
    )


def exported(results, name, folder, **changes):
    settings = replace(settings_of(name, folder), **changes)
    files = {key: folder / file for key, file in (("model", "model.onnx"), ("card", "card.md"), ("check", "check.csv"))}
    ensemble_of(results, name)
    path = results / "study/experiments" / name / "ensemble.json"
    tables = {table: folder / f"{table}.csv" for table in ("metrics", "calibration")}
    export_onnx(path, [results / "micro.h5"], settings, **tables, **files)
    return files


def test_export_writes_check_and_card_with_running_program(results, tmp_path):
    files = exported(results, "ststnet", tmp_path)
    check = pd.read_csv(files["check"])
    assert check["output"].tolist() == ["probabilities", "members"] and (check["clips"] == 9).all()
    assert (check["greatest_difference"] < check["limit"]).all() and (check["limit"] == LIMIT).all()
    card = files["card"].read_text()
    for said in ("SAMM (licence agreement)", "no lie detector", "Art. 5(1)(f)", "0.500 (0.400 to 0.600)", "majority"):
        assert said in card, said
    assert "synthetic" not in card.lower() and "the final ones trained on them, too" in card
    (program,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert re.fullmatch(r"(up|down|left): 0\.\d\d, members differ by 0\.\d\d\n", done.stdout), done.stdout + done.stderr
    assert len(program.strip().splitlines()) <= 18
    session = onnxruntime.InferenceSession(str(files["model"]))
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["classes"]) == CLASSES and len(json.loads(properties["members"])) == 3
    assert json.loads(properties["preparation"])["keyframes"]["count"] == 3


def test_model_card_escapes_names(tmp_path):
    evil = "<script>alert(1)</script>"
    metadata = {"experiment": "e", "system": "ststnet", "prep": "p", "protocol": "loso", "members": [{}]}
    metadata |= {"epoch_choice": "validation", "calibrated": True, "validation_clips": 3}
    metadata |= {"reads": {"kind": "flow-image"}, "clip": {"size": 32}}
    reads = SimpleNamespace(**metadata["reads"])
    ensemble = SimpleNamespace(metadata=metadata, classes=[evil, "joy"], temperature=1.0, input_settings=reads)
    ensemble.networks = [ensemble]
    check = [{"output": "members", "clips": 3, "greatest_difference": 0.0, "limit": 1e-4}]
    settings = replace(settings_of("e", tmp_path), counts=[{"label": evil, "indexed": 3}])
    for layout, licence in (("samm", "SAMM"), ("manifest", "")):
        datasets = [{"name": evil, "layout": layout, "licence": licence, "role": "recognised"}]
        tables = tmp_path / "metrics.csv", tmp_path / "calibration.csv"
        write_card(ensemble, b"", check, replace(settings, datasets=datasets), 1, *tables, tmp_path / "card.md")
        card = (tmp_path / "card.md").read_text()
        assert "<script" not in card and card.count("&lt;script&gt;") >= 3


@pytest.mark.slow
def test_export_of_some_members_is_reproducible(results, tmp_path):
    contents = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        files = exported(results, "ststnet", tmp_path / place, members=2)
        contents.append([files[name].read_bytes() for name in ("model", "card", "check")])
    assert contents[0] == contents[1]
    assert "2 networks out of 3" in contents[0][1].decode()


@pytest.mark.slow
def test_export_too_large_or_different_writes_no_file(results, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "LIMIT", 0.0)
    with pytest.raises(MerflowError, match="differ over 9 clips .*nothing was exported"):
        exported(results, "ststnet", tmp_path)
    assert not (tmp_path / "model.onnx").exists()
    monkeypatch.setattr(export, "MAX_BYTES", 30_000)
    with pytest.raises(ConfigError, match=r"larger than 2 GB.*export: \{members: [12]\}"):
        exported(results, "ststnet", tmp_path)
