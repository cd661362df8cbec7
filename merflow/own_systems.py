"""The clips of a cache as arrays, and a protocol for a classifier of one's own (docs/from-python.md)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from merflow.errors import InputError
from merflow.evaluation.leakage import content_digest
from merflow.footage.clip import database
from merflow.protocols.folds import Fold, draw_folds
from merflow.storage.hdf5 import open_h5
from merflow.systems.clip_images import SIDE, clip_image

if TYPE_CHECKING:
    import torch

    from merflow.learning.settings import Schedule


@dataclass(frozen=True)
class Cache:
    """The clips of a cache (:func:`open_cache`).

    Attributes:
        path: the file.
        clips: a row per clip: ``clip, dataset, subject, label`` (empty if the clip has no class), ``apex_index`` (index
            of the apex among the key-frames) and ``content``, a digest of its key-frames and flow.
    """

    path: Path
    clips: pd.DataFrame

    def images(self, input_kind: str = "flow-image", side: int = SIDE) -> np.ndarray:
        """Read what a system reads of every clip, float32, at ``side`` x ``side`` pixels.

        ``flow-image``: u, v and strain between onset and apex, ``[clips, 3, side, side]``. ``flows``: the same for each
        key-frame, ``[clips, 3, key-frames, side, side]``. ``key-frames``: grey, less their mean over the clip,
        ``[clips, 1, key-frames, side, side]``.
        """
        with open_h5(self.path) as file:
            images = [
                clip_image(file, index, apex, input_kind, side) for index, apex in enumerate(self.clips["apex_index"])
            ]
        rows = np.stack(images)
        depth = () if input_kind == "flow-image" else (-1,)
        return rows.reshape(*rows.shape[:2], *depth, side, side)

    def to_torch(self, input_kind: str = "flow-image", side: int = SIDE) -> "torch.utils.data.TensorDataset":
        """Return the clips that have a class as a dataset of PyTorch: images, and classes in alphabetical order."""
        import torch

        labelled = self.clips["label"] != ""
        _, numbers = np.unique(self.clips.loc[labelled, "label"], return_inverse=True)
        images = self.images(input_kind, side)[labelled.to_numpy()]
        return torch.utils.data.TensorDataset(torch.from_numpy(images), torch.from_numpy(numbers))


def open_cache(path: str | Path) -> Cache:
    """Open ``results/data/{dataset}/{preparation}/cache.h5``.

    Raises:
        InputError: the file is no cache.
    """
    with open_h5(path) as file:
        if "apex_index" not in file:
            raise InputError(f"{path} is no cache of clips; name the cache.h5 of a preparation")
        clips = pd.DataFrame({name: file[name].asstr()[:] for name in ("clip", "subject", "label")})
        clips.insert(1, "dataset", [database(subject, str(file.attrs["dataset"])) for subject in clips["subject"]])
        clips["apex_index"] = file["apex_index"][:]
        spatial, flow = (file.get(name, np.empty((len(clips), 0))) for name in ("spatial", "flow"))
        names = enumerate(zip(clips["dataset"], clips["clip"], strict=True))
        clips["content"] = [content_digest(spatial[index], flow[index], name) for index, name in names]
    return Cache(Path(path), clips)


def cross_validate(
    estimator: Any,
    cache: Cache | str | Path,
    protocol: str = "loso",
    *,
    folds: int | None = None,
    seed: int = 0,
    input_kind: str = "flow-image",
    side: int = SIDE,
    schedule: "Schedule | None" = None,
) -> pd.DataFrame:
    """Train a classifier on every fold of a protocol, and return its predictions of the test clips.

    Every fold starts from a copy of ``estimator`` and trains on all clips of the other people.

    Args:
        estimator: a classifier of scikit-learn, which gets each clip as one row of numbers, or an ``nn.Module`` that
            maps ``[clips, channels, ..., side, side]`` to class scores ``[clips, classes]``.
        cache: of :func:`open_cache`, or its path. Clips without a class are left out.
        protocol: ``loso``, ``subject-kfold`` (``folds`` groups of people) or another of
            :data:`merflow.protocols.folds.PROTOCOLS`.
        folds: number of groups of ``subject-kfold``; None: 5.
        seed: seed of the groups, and of batches and dropout of a module.
        input_kind: what the classifier reads of a clip (:meth:`Cache.images`).
        side: side of the images in pixels.
        schedule: how long and how fast a module trains; None: 40 epochs of Adam, 1e-3, batches of 32.

    Returns:
        One row per test clip: ``dataset, subject, clip, fold, truth, predicted``, which :mod:`merflow.metrics` and
        ``python -m merflow.score`` read.

    Raises:
        InputError: a copy of a test clip trains, or the clips allow no such folds.
    """
    cache = cache if isinstance(cache, Cache) else open_cache(cache)
    labelled = np.flatnonzero(cache.clips["label"] != "")
    clips, images = cache.clips.iloc[labelled], cache.images(input_kind, side)[labelled]
    classes, numbers = np.unique(clips["label"].to_numpy(str), return_inverse=True)
    tables = []
    for fold in draw_folds(protocol, clips["subject"].to_numpy(str), numbers, folds=folds, seed=seed):
        train = np.sort(np.concatenate([fold.train, fold.validation]))
        _check_copies(clips, fold, train)
        if hasattr(estimator, "get_params"):
            rows = images.reshape(len(images), -1)
            predicted = clone(estimator).fit(rows[train], classes[numbers[train]]).predict(rows[fold.test])
        else:
            predicted = classes[_train_module(estimator, images, numbers, train, fold, (seed, fold.number), schedule)]
        table = clips.iloc[fold.test][["dataset", "subject", "clip"]]
        tables.append(table.assign(fold=fold.name, truth=classes[numbers[fold.test]], predicted=predicted))
    return pd.concat(tables, ignore_index=True)


def _check_copies(clips: pd.DataFrame, fold: Fold, train: np.ndarray) -> None:
    """Raise InputError if a copy of a test clip trains."""
    if shared := set(clips["content"].iloc[train]) & set(clips["content"].iloc[fold.test]):
        copies = ", ".join((clips["subject"] + "/" + clips["clip"])[clips["content"].isin(shared)])
        raise InputError(
            f"fold {fold.name}: the same frames in training and test: {copies}; leave all but one of these clips out"
        )


def _train_module(
    module: Any,
    images: np.ndarray,
    numbers: np.ndarray,
    train: np.ndarray,
    fold: Fold,
    seed: Sequence[int],
    schedule: "Schedule | None",
) -> np.ndarray:
    """Train a copy of a module on one fold; returns the class numbers of the test clips."""
    import torch
    from torch.nn import functional

    from merflow.learning.fit import Rows, fit, repeatable, scores_of
    from merflow.learning.settings import Schedule

    schedule = schedule or Schedule(epochs=40, patience=40, learning_rate=1e-3, decay=0.0, batch=32, weight_decay=0.0)
    network, x = copy.deepcopy(module), torch.from_numpy(images)
    with repeatable(*seed):
        fit(network, functional.cross_entropy, Rows(x[train], torch.from_numpy(numbers[train])), None, schedule)
        return scores_of(network, x[fold.test], schedule.batch).argmax(dim=1).numpy()
