"""A job that trains several folds: the bits of one job per fold, and no training twice after a kill."""

import logging

import pytest
from clip_network_training import FAST, NETWORK
from flow_caches import CLASSES, balanced, make_cache
from graph_caches import OWN
from graph_caches import make_cache as make_graph_cache
from training_jobs import train_clip_networks, train_graph_folds

from merflow.evaluation.evaluate import merge
from merflow.learning import checkpoints
from merflow.storage.tables import PREDICTIONS, read_table
from merflow.systems.clip_networks import make_network
from merflow.systems.saved_models import read_models
from merflow.systems.tsdgcn.graph import build_graph

FOLDS = ["s0", "s1", "s2", "s3"]
TABLES = ("predictions", "accuracy_train", "curves", "validation")


def clip_network_job(folder, system="ststnet", **changes):
    cache = make_cache(folder / "people.h5", *balanced(people=4, each=1))
    settings = {"experiment": "net", "system": system, "protocol": "loso", "classes": CLASSES}
    settings["network"] = NETWORK | FAST[system] | {"epochs": 3, "epoch_choice": "refit", "validation": 0.4}
    settings |= changes
    return lambda folds, files: train_clip_networks(
        [cache], **files, settings=settings, seed=0, folds=[f"people/{fold}" for fold in folds]
    )


def graph_job(folder, **changes):
    micro = make_graph_cache(folder / "micro.h5", 4, 1, 1, "micro")
    macro = make_graph_cache(folder / "macro.h5", 4, 1, 0, "macro")
    build_graph(16, 4, 2).save(folder / "graph.h5")
    short = {name: OWN[name] | {"epochs": 2} for name in ("head", "pretrain")}
    settings = OWN | short | changes
    inputs = [micro], [folder / "graph.h5"], [], macro
    return lambda folds, files: train_graph_folds(
        *inputs, **files, settings=settings, seed=0, folds=[f"micro/{fold}" for fold in folds]
    )


JOBS = {
    "flow images": clip_network_job,
    "pairs": lambda folder: clip_network_job(folder, "mersiamc3d"),
    "end to end": graph_job,
    "frozen": lambda folder: graph_job(folder, transfer="frozen"),
}


def outputs(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return {table: folder / f"{table}.csv" for table in TABLES} | {"model": folder / "model.safetensors"}


def results(job, folder, groups):
    """Run a job for each group; the merged tables as bytes, and the arrays of the model of each fold."""
    files = [outputs(folder / str(number)) for number in range(len(groups))]
    for group, job_files in zip(groups, files, strict=True):
        job(group, job_files)
    for table in TABLES:
        merge([job_files[table] for job_files in files], folder / f"{table}.csv")
    models = {key: model for job_files in files for key, model in read_models(job_files["model"]).items()}
    arrays = {key: {n: t.numpy().tobytes() for n, t in model.tensors.items()} for key, model in models.items()}
    return {table: (folder / f"{table}.csv").read_bytes() for table in TABLES}, arrays


@pytest.mark.parametrize("kind", JOBS)
def test_folds_have_the_same_bits_in_every_grouping(tmp_path, kind):
    job = JOBS[kind](tmp_path)
    alone = results(job, tmp_path / "one", [[fold] for fold in FOLDS])
    assert results(job, tmp_path / "three", [FOLDS[:3], FOLDS[3:]]) == alone
    assert list(alone[1]) == [
        (0, fold, 0) for fold in dict.fromkeys(read_table(tmp_path / "one/predictions.csv", PREDICTIONS)["fold"])
    ]


def test_saved_network_has_the_options_that_its_fold_selected(tmp_path):
    nested = {"selection": "nested", "inner_folds": 2, "grid": {"network.width": [2]}}
    clip_network_job(tmp_path, "msjfn", **nested)(FOLDS[:1], outputs(tmp_path / "0"))
    (model,) = read_models(tmp_path / "0/model.safetensors").values()
    state = {name.removeprefix("network."): tensor for name, tensor in model.tensors.items() if "centre" not in name}
    make_network(model.about["network"], len(CLASSES), model.about["options"]).load_state_dict(state)
    assert model.about["options"]["width"] == 2


def test_killed_job_trains_no_finished_fold_again(tmp_path, monkeypatch, caplog):
    job, honest, states = clip_network_job(tmp_path), checkpoints.Checkpoint.save, []

    def save(self, *state):
        honest(self, *state)
        states.append(1)
        if len(states) == 5:  # Each fold has two trainings.
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints.Checkpoint, "save", save)
        job(FOLDS, outputs(tmp_path / "killed/0"))
    caplog.clear()
    with caplog.at_level(logging.INFO):
        killed = results(job, tmp_path / "killed", [FOLDS])
    assert caplog.text.count("resumed after epoch 3") >= 3 and "people/s0: epoch" not in caplog.text
    assert killed == results(job, tmp_path / "whole", [FOLDS])
    assert not (tmp_path / "killed/0/checkpoints").exists()
