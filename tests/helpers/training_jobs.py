"""Training jobs from short settings: splits are drawn, and missing settings take their usual values."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from merflow.learning.settings import AugmentSettings, LossSettings
from merflow.protocols.settings import ClipSettings, SelectionSettings, SplitSettings
from merflow.protocols.splits import make_splits
from merflow.storage.hdf5 import open_h5
from merflow.systems import clip_networks, linear
from merflow.systems.predictions import ResultFiles
from merflow.systems.registry import NETWORKS, complete_block, network_settings
from merflow.systems.settings import (
    ClipNetworkSettings,
    FinetuneSettings,
    FoldTrainingSettings,
    HeadSettings,
    LinearSettings,
    PretrainSettings,
    SGCNSettings,
    SignalSettings,
)
from merflow.systems.tsdgcn import finetune as finetuning
from merflow.systems.tsdgcn import fold_training
from merflow.systems.tsdgcn import pretrain as pretraining

Settings = Mapping[str, Any]


def clip_settings(files: Sequence[Path], settings: Settings) -> ClipSettings:
    """Datasets, classes and labels; those of the files unless the settings have their own."""
    attributes = []
    for path in files:
        with open_h5(path) as file:
            attributes.append((str(file.attrs["dataset"]), [str(name) for name in file.attrs["classes"]]))
    return ClipSettings(
        settings.get("datasets") or [dataset for dataset, _ in attributes],
        settings.get("classes") or attributes[0][1],
        settings.get("labels", {}),
        units=settings.get("units", False),
    )


def split_files(
    files: Sequence[Path], clips: ClipSettings, settings: Settings, seeds: Sequence[int], folder: Path
) -> dict[int, str]:
    """The splits of the settings, or newly drawn ones."""
    if "splits" in settings:
        return settings["splits"]
    share = settings.get("network", settings.get("head", {})).get("validation", 0.2)
    protocol = settings.get("protocol", "loso")
    split = SplitSettings(protocol, settings.get("folds"), settings.get("test_clips"), share, clips)
    tables = {seed: folder / "splits" / f"{seed}.csv" for seed in seeds}
    (folder / "splits").mkdir(exist_ok=True)
    for seed, table in tables.items():
        make_splits(files, table, split, seed)
    return {seed: str(table) for seed, table in tables.items()}


def loss_settings(loss: Settings) -> LossSettings:
    return LossSettings(loss["name"], loss.get("alpha", 1.0), loss.get("gamma", 1.0), loss.get("weights", "none"))


def head_settings(head: Settings) -> HeadSettings:
    others = ("validation", "epoch_choice", "average_seeds")
    average = head.get("epoch_choice") == "average"
    return HeadSettings(**{key: value for key, value in head.items() if key not in others}, average=average)


def selection_settings(settings: Settings) -> SelectionSettings:
    block, method = settings.get("network", settings.get("head", {})), settings.get("selection", "fixed")
    epoch, share = block.get("epoch_choice", "validation"), block.get("validation", 0.2)
    return SelectionSettings(method, epoch, settings.get("grid", {}), settings.get("inner_folds", 0), share)


def augment_settings(settings: Settings) -> AugmentSettings | None:
    return AugmentSettings(**settings["augment"]) if "augment" in settings else None


def signal_settings(settings: Settings) -> SignalSettings:
    keys = {"signal": "magnitude", "normalise": "constant", "relative": "no"}
    choices = {key: settings.get(key, value) for key, value in keys.items()}
    return SignalSettings(settings["branches"], settings["fusion"], **choices)


def finetune_settings(
    files: Sequence[Path], settings: Settings, seeds: Sequence[int], folder: Path
) -> FinetuneSettings:
    clips = clip_settings(files, settings)
    return FinetuneSettings(
        settings["experiment"],
        clips,
        selection_settings(settings),
        split_files(files, clips, settings, seeds, folder),
        settings["head"].get("average_seeds", 1),
        signal_settings(settings),
        loss_settings(settings["loss"]),
        head_settings(settings["head"]),
    )


def pretrain(cache, graph, weights, curve, settings, seed):
    """Pre-train an SGCN (:func:`merflow.systems.tsdgcn.pretrain.pretrain`)."""
    pretraining.pretrain(cache, [graph], [weights], [curve], PretrainSettings(**settings), seed)


def finetune(
    features, predictions, accuracy, curves, settings, processes=1, *, validation=None, test_epochs=None, heads=None
):
    """Train heads on feature files (:func:`merflow.systems.tsdgcn.finetune.finetune`)."""
    files = [Path(group[0]) for group in next(iter(features.values()))]
    job = finetune_settings(files, settings, list(features), predictions.parent)
    tables = ResultFiles(predictions, accuracy, curves, validation, test_epochs)
    finetuning.finetune(features, tables, heads or predictions.parent / "heads.safetensors", job, processes)


def fold_settings(
    caches: Sequence[Path], settings: Settings, seed: int, folder: Path, pretrains: bool
) -> FoldTrainingSettings:
    base = finetune_settings(caches, settings, [seed], folder)
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
    pretrain = PretrainSettings(**settings["pretrain"]) if pretrains else None
    return FoldTrainingSettings(
        **fields,
        transfer=settings["transfer"],
        pretrain=pretrain,
        together=settings.get("together", False),
        sgcn=SGCNSettings(settings.get("layers", 6), settings.get("batch_norm", False)),
        network_seeds=settings["network_seeds"],
        augment=augment_settings(settings),
    )


def train_graph_folds(
    caches, graphs, weights, macro, *, predictions, accuracy_train, curves, settings, seed, folds, code="",
    validation=None, test_epochs=None, model=None,
):  # fmt: skip
    """Train folds of TSDGCN (:func:`merflow.systems.tsdgcn.fold_training.train_graph_folds`)."""
    job = fold_settings(caches, settings, seed, predictions.parent, macro is not None)
    files = ResultFiles(predictions, accuracy_train, curves, validation, test_epochs)
    model = model or predictions.parent / "model.safetensors"
    fold_training.train_graph_folds(caches, graphs, weights, macro, files, model, job, folds, code)


def clip_network_settings(caches: Sequence[Path], settings: Settings, seed: int, folder: Path) -> ClipNetworkSettings:
    clips = clip_settings(caches, settings)
    return ClipNetworkSettings(
        settings["experiment"],
        clips,
        selection_settings(settings),
        split_files(caches, clips, settings, [seed], folder),
        settings["network"].get("average_seeds", 1),
        network_settings(
            settings["system"], complete_block(settings["system"], settings["network"]), settings.get("units", False)
        ),
        loss_settings(settings.get("loss", NETWORKS[settings["system"]].loss)),
        augment_settings(settings),
    )


def train_clip_networks(
    caches, *, predictions, accuracy_train, curves, settings, seed, folds, code="",
    validation=None, test_epochs=None, model=None,
):  # fmt: skip
    """Train folds of a network on clips (:func:`merflow.systems.clip_networks.train_clip_networks`)."""
    job = clip_network_settings(caches, settings, seed, predictions.parent)
    files = ResultFiles(predictions, accuracy_train, curves, validation, test_epochs)
    model = model or predictions.parent / "model.safetensors"
    clip_networks.train_clip_networks(caches, files, model, job, folds, code)


def run_linear(caches, system, predictions, accuracy_train, settings):
    """Train a baseline (:func:`merflow.systems.linear.run_linear`); validation predictions too."""
    clips = clip_settings(caches, settings)
    splits = split_files(caches, clips, settings, settings.get("seeds", [0]), predictions.parent)
    selection = SelectionSettings("fixed", "refit", {}, 0, 0.0)
    job = LinearSettings(settings["experiment"], clips, selection, splits, 1, system)
    files = ResultFiles(predictions, accuracy_train, validation=predictions.parent / "validation.csv")
    linear.run_linear(caches, files, job)
