"""The device of a job: the setting, one GPU per job, and agreement of CPU and GPU."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from configurations import plan
from environments import SECTIONS
from repository import REPO

from merflow.errors import ConfigError
from merflow.learning.fit import Rows, fit, repeatable, scores_of
from merflow.learning.settings import Schedule
from merflow.runtime import devices
from merflow.runtime.code_hash import needed
from merflow.systems.clip_networks import make_network
from merflow.systems.registry import NETWORKS, complete_block, network_settings
from merflow.systems.tsdgcn.graph import build_graph
from merflow.systems.tsdgcn.sgcn import SGCN

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
PROBABILITY, AFTER_TRAINING = 1e-4, 1e-2
"""Tolerances between CPU and GPU (docs/install.md): probabilities of the same weights, of weights trained on each for
some epochs without dropout."""


@pytest.fixture
def gpus(monkeypatch):
    """Return a function that makes torch report a number of GPUs; locks are released at the end."""

    def pretend(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda n: SimpleNamespace(uuid=f"made-up-{n}"))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda gpu: "made up")
        monkeypatch.setattr(torch.cuda, "set_device", lambda gpu: None)
        devices.device.cache_clear()

    yield pretend
    devices.device.cache_clear()
    while devices._gpu_locks:
        devices._gpu_locks.pop().close()


@pytest.mark.parametrize(
    ("setting", "count", "expected"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda:0"), (None, 1, "cuda:0")],
)
def test_device_follows_setting(monkeypatch, tmp_path, gpus, setting, count, expected):
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: tmp_path)
    monkeypatch.delenv(devices.VARIABLE, raising=False)
    if setting:
        monkeypatch.setenv(devices.VARIABLE, setting)
    gpus(count)
    assert str(devices.device()) == expected


def test_cuda_without_gpu_is_an_error(monkeypatch, gpus):
    monkeypatch.setenv(devices.VARIABLE, "cuda")
    gpus(0)
    with pytest.raises(ConfigError, match="device: cuda, but torch .* finds no GPU here; .* or set device: auto"):
        devices.device()


def test_each_job_locks_a_gpu_until_it_ends(tmp_path):
    """Two jobs lock two GPUs, a third job shares one, and the GPU of a killed job is free again."""
    code = (
        "import sys, tempfile, time, logging; from merflow.runtime import devices\n"
        f"tempfile.tempdir = {str(tmp_path)!r}; logging.basicConfig(stream=sys.stdout)\n"
        "print(devices._lock_gpu(['a', 'b']), flush=True); time.sleep(60)"
    )

    def start():
        job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=REPO)
        return job, job.stdout.readline().strip()

    jobs = [start() for _ in range(3)]
    try:
        assert [taken for _, taken in jobs[:2]] == ["0", "1"]
        assert "all GPUs are in use" in jobs[2][1] and jobs[2][0].stdout.readline().strip() in ("0", "1")
        jobs[0][0].kill()
        jobs[0][0].wait()
        jobs.append(start())
        assert jobs[3][1] == "0"
    finally:
        for job, _ in jobs:
            job.kill()
            job.communicate()


@pytest.mark.parametrize(
    ("setting", "installed", "expected"), [("auto", 0, 0), ("auto", 3, 1), ("cuda", 0, 1), ("cpu", 3, 0)]
)
def test_gpus_per_job_follow_setting(monkeypatch, setting, installed, expected):
    monkeypatch.setattr(devices, "installed_gpus", lambda: installed)
    assert devices.gpus_per_job(setting) == expected


def test_exactly_the_rules_that_use_the_device_request_a_gpu():
    """From the sources: modules that call `device()`, scripts that need them, rules that run those scripts."""
    modules = {
        file
        for file in (REPO / "merflow").rglob("*.py")
        if file.stem not in ("devices", "checkpoints") and re.search(r"\bdevice\(\)", file.read_text())
    }
    expected, requesting = set(), set()
    for rule, text in SECTIONS:
        script = REPO / "workflow" / re.search(r"scripts/\w+\.py", text)[0]
        if modules & set(needed(script)):
            expected.add(rule)
        if re.search(r"^        gpu=GPUS", text, re.MULTILINE):
            requesting.add(rule)
    read_results_only = {"tabulate_pretraining", "gather_ensemble", "gather_systems", "run_table", "pack_weights"}
    assert requesting == expected - read_results_only
    assert len(requesting) == 7


def test_device_is_not_among_the_settings_of_a_job():
    """A study that began on a laptop continues on a machine with a GPU without reruns."""
    rules = "\n".join(text for _, text in SECTIONS)
    assert not re.search(r"params:(?:(?!message:).)*\bdevice\b", rules, re.DOTALL)
    plans = [plan({"device": device}) for device in ("cpu", "cuda")]
    for name in plans[0].experiments.clip_network_experiments:
        on_cpu, on_gpu = (study.training.clip_network_settings(name, 0) for study in plans)
        assert on_cpu == on_gpu


def trained(place, system="ststnet"):
    """Return probabilities of a network before and after some epochs on a device, without dropout."""
    block = {"weight_decay": 0.0, "epoch_choice": "validation"}
    settings = network_settings(system, complete_block(system, block))
    generator = torch.Generator().manual_seed(0)
    shape = (24, 3, 28, 28) if settings.input_kind == "flow-image" else (24, 3, 4, 28, 28)
    x, y = torch.randn(shape, generator=generator), torch.arange(24) % 3
    with repeatable(0):
        model = make_network(settings.model, 3, {"dropout": 0.0, **settings.options})
        model = model.to(place)
        before = scores_of(model, x.to(place), 8).softmax(1).cpu()
        schedule = Schedule(epochs=3, patience=3, learning_rate=1e-3, batch=8, decay=0.0, weight_decay=0.0)
        fit(model, torch.nn.functional.cross_entropy, Rows(x.to(place), y.to(place)), None, schedule)
        return before, scores_of(model, x.to(place), 8).softmax(1).cpu()


@pytest.mark.parametrize("system", NETWORKS)
def test_training_changes_more_than_the_tolerance(system):
    """Otherwise the tests below would pass with a network that does not train."""
    before, after = trained("cpu", system)
    assert (before - after).abs().max() > 2 * AFTER_TRAINING


@needs_gpu
@pytest.mark.parametrize("system", NETWORKS)
def test_networks_on_cpu_and_gpu_agree(system):
    (before, after), (gpu_before, gpu_after) = trained("cpu", system), trained(devices.device(), system)
    assert (before - gpu_before).abs().max() < PROBABILITY
    assert (after - gpu_after).abs().max() < AFTER_TRAINING


@needs_gpu
def test_graph_networks_on_cpu_and_gpu_agree():
    graph = build_graph(32, 8, 2)
    with repeatable(0):
        model, x = SGCN(graph, 5, dropout=0.0).eval(), torch.rand(6, 32 * 32)
        expected = model(x).softmax(1)
        probs = model.to(devices.device())(x.to(devices.device())).softmax(1).cpu()
    assert (expected - probs).abs().max() < PROBABILITY
