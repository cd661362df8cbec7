"""The mean of the calibrated probabilities of several systems that predicted the same clips in the same folds."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from merflow.errors import InputError
from merflow.evaluation.calibration import ValidationProbs, calibrated_probs
from merflow.evaluation.settings import AveragingSettings
from merflow.storage.tables import PREDICTIONS, read_table, write_table

log = logging.getLogger(__name__)

CLIP = ["fold", "dataset", "subject", "clip", "truth"]
"""Columns that name a clip in the predictions of a repeat."""


def average_systems(
    predictions: Sequence[Path],
    validation: Sequence[Path],
    output: Path,
    no_validation: Path,
    settings: AveragingSettings,
) -> None:
    """Write the predictions of an ensemble of systems.

    Every member is calibrated in each fold by its validation clips (:func:`calibrated_probs`). A member with a single
    repeat has the same answer in each repeat of the ensemble. Truth is copied and has no influence.

    Args:
        predictions: table of each member.
        validation: predictions of each member for validation clips, in the same order.
        output: predictions of the ensemble.
        no_validation: output, a table without rows: the mean of calibrated probabilities is not calibrated again.
        settings: classes and repeats.

    Raises:
        InputError: a table is damaged, or the members predicted different clips or folds.
    """
    members = [_calibrated(*files, settings.classes) for files in zip(predictions, validation, strict=True)]
    repeats = []
    for seed in settings.seeds:
        first, *others = (_of_repeat(member, seed) for member in members)
        for other, path in zip(others, predictions[1:], strict=True):
            if not first.index.sort_values().equals(other.index.sort_values()):
                raise InputError(
                    f"{path}: its clips or folds of repeat {seed} are not those of {predictions[0]}; delete both "
                    "and run again"
                )
        mean = np.mean([first, *(other.loc[first.index] for other in others)], axis=0)
        table = pd.DataFrame(mean, first.index, first.columns).reset_index()
        names = [settings.classes[index] for index in mean.argmax(axis=1)]
        repeats.append(table.assign(experiment=settings.experiment, repeat=seed, predicted=names))
        log.info("repeat %d: the mean of %d systems on %d clips", seed, len(members), len(table))
    write_table(pd.concat(repeats), output, PREDICTIONS)
    write_table([], no_validation, PREDICTIONS)


def _calibrated(predictions: Path, validation: Path, classes: Sequence[str]) -> pd.DataFrame:
    """The calibrated probabilities of a member, ``p_<class>``, and ``repeat``, indexed by :data:`CLIP`."""
    rows = read_table(predictions, PREDICTIONS)
    probs = calibrated_probs(rows, ValidationProbs.read(validation, classes), classes, predictions)
    index = pd.MultiIndex.from_frame(rows[CLIP])
    return pd.DataFrame(probs, index, [f"p_{name}" for name in classes]).assign(repeat=rows["repeat"].to_numpy())


def _of_repeat(member: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The probabilities of a repeat of a member, or of its only repeat."""
    of_repeat = member["repeat"].eq(seed) | (member["repeat"].nunique() == 1)
    return member[of_repeat].drop(columns="repeat")
