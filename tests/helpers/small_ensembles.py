"""Trained ensembles of every system, small enough to train in seconds."""

import pytest
from clip_network_training import FAST as NETWORK_SETTINGS
from graph_caches import CLASSES, HEAD, PRETRAIN, SETTINGS
from training_jobs import finetune, signal_settings, train_clip_networks, train_graph_folds

from merflow.evaluation.evaluate import merge
from merflow.inference.ensemble import gather_ensemble, load_ensemble
from merflow.inference.settings import EnsembleSettings
from merflow.runtime.script_context import from_params
from merflow.storage.tables import PREDICTIONS, read_table
from merflow.systems.registry import input_kind
from merflow.systems.tsdgcn.features import extract

SUBJECTS, SIDE = 3, 16


FOLDS = [f"micro/s{number}" for number in range(SUBJECTS)]


SHORT = {"epochs": 2, "patience": 2}


GRAPH_SYSTEMS = {
    "frozen": {},
    "frozen-concat": {"fusion": "concat", "signal": "u+v"},
    "frozen-spatial": {"branches": ["spatial"]},
    "frozen-clip": {"fusion": "clip", "normalise": "image", "relative": "features"},
    "fold-pretrained": {"transfer": "frozen"},
    "end-to-end": {"transfer": "end-to-end"},
    "end-to-end-concat": {"transfer": "end-to-end", "fusion": "concat"},
    "end-to-end-clip": {"transfer": "end-to-end", "fusion": "clip", "normalise": "image", "relative": "pixels"},
    "from-nothing": {"transfer": "end-to-end", "branches": ["temporal"]},
    "from-nothing-channels": {
        "transfer": "end-to-end",
        "branches": ["temporal"],
        "signal": "channels",
        "layers": 4,
        "batch_norm": True,
    },
}


CLIP_SYSTEMS = {
    "ststnet": {"epoch_choice": "refit"},
    "off-apexnet": {},
    "msjfn": {"fusion": "learned", "average_seeds": 2},
    "mersiamc3d": {},
    "mersiamc3d-magnitude": {"input_kind": "flows-magnitude"},
    "mersiamc3d-frames": {"input_kind": "key-frames"},
}


QUICK = (
    "frozen",
    "frozen-clip",
    "end-to-end-concat",
    "end-to-end-clip",
    "from-nothing-channels",
    "ststnet",
    "msjfn",
    "mersiamc3d-frames",
)


SHOWN = {"up": "up", "down": "up+down", "left": "none"}
UNITS = {
    "units": True,
    "labels": {"micro": {f"s{n}-{label}-0": shown for n in range(SUBJECTS) for label, shown in SHOWN.items()}},
    "loss": {"name": "binary-cross-entropy", "weights": "balanced"},
}
"""Settings of systems for which the classes are action units, of which a clip may show several."""
UNIT_SYSTEMS = ["frozen-units", "end-to-end-units", "ststnet-units", "msjfn-units"]


SYSTEMS = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in (*GRAPH_SYSTEMS, *CLIP_SYSTEMS)
]


def weights(folder, seed):
    return folder / f"w{seed}.safetensors"


def settings_of(name):
    data = {"signal": "magnitude", "classes": CLASSES, "datasets": ["micro"], "head": HEAD | SHORT}
    data = SETTINGS | data | {"pretrain": PRETRAIN | SHORT, "network_seeds": [3]}
    if name.endswith("-units"):
        return data | UNITS | GRAPH_SYSTEMS[name.removesuffix("-units")]
    return data | GRAPH_SYSTEMS[name]


def ensemble_settings(name, input_settings, networks):
    settings = {"experiment": name, "system": "any", "classes": CLASSES, "prep": "default", "micro": ["micro"]}
    epoch_choice = CLIP_SYSTEMS.get(name, {}).get("epoch_choice", "validation")
    settings |= {"epoch_choice": epoch_choice, "seeds": [0], "selection": "fixed"}
    settings |= {"macro": "none", "protocol": "loso", "networks": networks}
    empty = {"branches": [], "fusion": "", "signal": "", "normalise": "", "relative": ""}
    settings |= {"input_settings": empty | input_settings, "units": name in UNIT_SYSTEMS}
    return from_params(EnsembleSettings, settings)


def trained(results, name, seeds=(0,), **changes):
    """Train all folds of a system; its ensemble, and the tables of predictions and of validation clips."""
    folder = results / "study" / "experiments" / name
    if not (folder / "ensemble.json").exists() or changes:
        if name.startswith("frozen"):
            input_settings, models, networks = frozen(results, name, folder, seeds)
        else:
            train_folds = graph_folds if name.removesuffix("-units") in GRAPH_SYSTEMS else clip_folds
            input_settings, models, networks = train_folds(results, name, folder, **changes)
        settings = ensemble_settings(name, input_settings, networks)
        gather_ensemble(
            settings, folder / "validation.csv", models, [results / "micro.h5"], folder / "ensemble.json", results
        )
    tables = (read_table(folder / f"{table}.csv", PREDICTIONS) for table in ("predictions", "validation"))
    return load_ensemble(folder / "ensemble.json"), *tables


def input_settings_of(settings):
    return {"kind": "signals", "side": SIDE} | vars(signal_settings(settings))


def frozen(results, name, folder, seeds):
    settings = settings_of(name)
    files = {}
    for seed in seeds:
        files[seed] = [[folder / f"f{seed}.h5"]]
        folder.mkdir(parents=True, exist_ok=True)
        paths = (
            results / "micro.h5",
            weights(results, seed),
            results / f"graph{seed}.h5",
            folder / f"f{seed}.h5",
        )
        extract(*paths, settings["signal"], settings.get("normalise", "constant"))
    tables = [folder / f"{table}.csv" for table in ("predictions", "accuracy", "curves")]
    more = {"validation": folder / "validation.csv", "heads": folder / "heads.safetensors"}
    finetune(files, *tables, settings, processes=len(seeds), **more)
    networks = {seed: [{"graph": results / f"graph{seed}.h5", "weights": weights(results, seed)}] for seed in seeds}
    return input_settings_of(settings), [folder / "heads.safetensors"], networks


def outputs(folder, fold):
    names = {"predictions": "predictions", "accuracy_train": "accuracy", "curves": "curves", "validation": "validation"}
    fold_folder = folder / "folds" / fold.replace("/", "-")
    fold_folder.mkdir(parents=True, exist_ok=True)
    return {key: fold_folder / f"{name}.csv" for key, name in names.items()} | {
        "model": fold_folder / "model.safetensors"
    }


def gathered(folder, folds):
    for table in ("predictions", "validation"):
        merge([outputs(folder, fold)[table] for fold in folds], folder / f"{table}.csv")
    return [outputs(folder, fold)["model"] for fold in folds]


def graph_folds(results, name, folder, folds=tuple(FOLDS), **changes):
    settings = settings_of(name) | changes
    macro = results / "macro.h5" if name == "fold-pretrained" else None
    start = [] if macro or name.startswith("from-nothing") else [weights(results, 0)]
    for fold in folds:
        inputs = [results / "micro.h5"], [results / "graph0.h5"], start, macro
        train_graph_folds(*inputs, **outputs(folder, fold), settings=settings, seed=0, folds=[fold])
    return input_settings_of(settings), gathered(folder, folds), {0: [{"graph": results / "graph0.h5"}]}


def clip_settings(name, **changes):
    units, name = (UNITS if name in UNIT_SYSTEMS else {}), name.removesuffix("-units")
    system = name.removesuffix("-frames").removesuffix("-magnitude")
    network = NETWORK_SETTINGS[system] | {"epoch_choice": "validation", "weight_decay": 0.0, "validation": 0.4, **SHORT}
    network |= CLIP_SYSTEMS[name] | changes
    return {"experiment": name, "system": system, "protocol": "loso", "classes": CLASSES, "network": network} | units


def clip_folds(results, name, folder, **changes):
    settings = clip_settings(name, **changes)
    for fold in FOLDS:
        train_clip_networks(
            [results / "micro.h5"], **outputs(folder, fold), settings=settings, seed=0, folds=[fold]
        )  # fmt: skip
    side = settings["network"].get("side", 28)
    return {"kind": input_kind(settings["system"], settings["network"]), "side": side}, gathered(folder, FOLDS), {}


def chances(table):
    return table[[f"p_{name}" for name in CLASSES]].to_numpy(float)
