"""Spotting experiments: what each system spots in the videos of people that it was not fitted on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from merflow.inference.motion_track import load_track
from merflow.inference.settings import SpottingExperiment
from merflow.inference.spotters.registry import SPOTTERS, save_spotter
from merflow.inference.spotters.spotter import Expression, LabelledVideo, Spotter
from merflow.protocols.folds import draw_folds
from merflow.storage.tables import CANDIDATES, DETECTIONS, LONG_VIDEOS, TRUE_INTERVALS, read_table, write_table

log = logging.getLogger(__name__)


def spot_videos(
    settings: SpottingExperiment,
    videos: Path,
    truth: Path,
    tracks: Mapping[tuple[str, str], Path],
    candidates: Path,
    detections: Path,
    spotter: Path,
) -> None:
    """Spot the expressions in the videos of each fold's people by a system that is fitted on all other people.

    Everything that is fitted (thresholds, lengths, a network) is fitted anew in each fold.

    Args:
        settings: the experiment.
        videos: ``videos.csv``.
        truth: ``truth.csv``.
        tracks: the motion of each video, by dataset and video.
        candidates: output with all intervals that were scored; ``accepted`` is 1 for those that count.
        detections: output with the accepted ones.
        spotter: output, the system fitted on all people, for new videos.

    Raises:
        InputError: there are too few people for the folds.
    """
    table = read_table(videos, LONG_VIDEOS)
    table = table[table["dataset"].isin(settings.datasets)].reset_index(drop=True)
    true = read_table(truth, TRUE_INTERVALS)
    true = true[true["kind"].isin(settings.kinds)]
    subjects = table["subject"].to_numpy(str)
    names = zip(table["dataset"], table["video"], subjects, strict=True)
    labelled = [_labelled(*row, truth=true, tracks=tracks) for row in names]
    shows = np.array([str(bool(video.intervals)) for video in labelled])
    rows = []
    for fold in draw_folds(settings.protocol, subjects, shows, seed=settings.seed, folds=settings.folds):
        training = np.setdiff1d(np.arange(len(labelled)), fold.test)
        system = _fitted(settings, [labelled[index] for index in training])
        for index in fold.test:
            where = table.loc[index, ["dataset", "video", "subject"]].to_dict()
            rows += [
                {"experiment": settings.experiment, **where, "fold": fold.name, **asdict(each), "label": ""}
                for each in system.detections(labelled[index].track)
                if each.kind in settings.kinds
            ]
        log.info("fold %s: %d videos searched", fold.name, len(fold.test))
    scored = pd.DataFrame(rows, columns=CANDIDATES).astype({"accepted": int})
    write_table(scored, candidates, CANDIDATES)
    write_table(scored[scored["accepted"] == 1].drop(columns="accepted"), detections, DETECTIONS)
    save_spotter(_fitted(settings, labelled), spotter)


def _fitted(settings: SpottingExperiment, videos: Sequence[LabelledVideo]) -> Spotter:
    spotter = SPOTTERS[settings.system](settings.search, settings.seed)
    spotter.fit(videos)
    return spotter


def _labelled(
    dataset: str, video: str, subject: str, *, truth: pd.DataFrame, tracks: Mapping[tuple[str, str], Path]
) -> LabelledVideo:
    """A video with its motion and its expressions."""
    part = truth[(truth["dataset"] == dataset) & (truth["video"] == video)]
    rows: list[list[Any]] = part[["onset", "offset", "kind"]].to_numpy().tolist()
    intervals = [Expression(int(onset), int(offset), kind) for onset, offset, kind in rows]
    return LabelledVideo(load_track(tracks[dataset, video]), str(subject), intervals)
