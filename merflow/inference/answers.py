"""Answers of an experiment's ensemble for clips, their uncertainty, and the face regions that they depend on."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy.special import entr

from merflow.errors import InputError
from merflow.inference.candidates import shown_candidates
from merflow.inference.ensemble import ClipArrays, Ensemble
from merflow.inference.settings import UNCERTAIN, AnswerSettings
from merflow.inference.system_ensemble import SystemEnsemble
from merflow.preprocessing.geometry import Box, region_mask
from merflow.preprocessing.settings import Geometry
from merflow.storage.files import atomic_write
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import ANSWERS, QUALITY, read_table, write_table
from merflow.systems.predictions import answers
from merflow.systems.samples import label_text

log = logging.getLogger(__name__)

MEMBER_PERCENTILES = (5.0, 95.0)
"""Percentiles of the members for ``p_low`` and ``p_high``."""
TRAINING_PERCENTILES = (1.0, 99.0)
"""Percentiles of the training clips outside which a clip is flagged."""

REGIONS: dict[str, Box] = {
    "forehead": (-0.9, 0.9, -0.93, -0.65),
    "brows": (-0.85, 0.85, -0.65, -0.17),
    "eyes": (-0.85, 0.85, -0.17, 0.22),
    "cheeks": (-1.05, 1.05, 0.22, 0.88),
    "nose": (-0.40, 0.40, 0.22, 0.88),
    "mouth": (-0.70, 0.70, 0.88, 1.58),
}
"""Regions that are occluded; ``cheeks`` excludes ``nose``."""
GRID = 8
"""Cells along each side of the occlusion grid."""

MEASURES = {
    "motion": "how far the face moves",
    "spread": "how much of the face moves",
    "head_motion_px": "how far the head moves",
    "interocular_px": "the size of the face",
}
"""Measures that are compared with the training clips."""


def summarize_members(
    members: np.ndarray, classes: Sequence[str], uncertain_below: float, units: bool = False
) -> pd.DataFrame:
    """Return a row per clip: the answer, the probabilities with the spread of the members, and two uncertainties.

    ``entropy`` is that of the mean, divided by its maximum: 0 if one class is certain, 1 if all are equally probable.
    ``mutual_information``, in the same unit, is the part of it that comes from disagreement between members (Houlsby et
    al. 2011; Lakshminarayanan et al. 2017 for ensembles); the rest is uncertainty that all members share.

    The answer of action units is all of them that are more probable than not, ``top`` the most probable one; the
    uncertainties are means over the units.

    Args:
        members: probabilities, float64 [members, n, classes].
        classes: their names.
        uncertain_below: the answer is ``uncertain`` if the top probability is lower.
        units: whether the classes are action units.
    """

    def entropy_of(probs: np.ndarray) -> np.ndarray:
        if units:
            return np.asarray((entr(probs) + entr(1 - probs)).mean(axis=-1) / np.log(2))
        return np.asarray(entr(probs).sum(axis=-1) / np.log(len(classes)))

    mean = members.mean(axis=0)
    entropy, within = entropy_of(mean), entropy_of(members).mean(axis=0)
    top, agree = mean.argmax(axis=1), answers(members, units) == answers(mean, units)
    low, high = np.percentile(members, MEMBER_PERCENTILES, axis=0)
    p_top = mean[np.arange(len(mean)), top]
    texts = [label_text(classes, answer) for answer in answers(mean, units)]
    table = pd.DataFrame(
        {
            "answer": [
                text if units or p >= uncertain_below else UNCERTAIN for text, p in zip(texts, p_top, strict=True)
            ],
            "top": [classes[n] for n in top],
            "p_top": p_top,
            "entropy": entropy,
            "mutual_information": np.maximum(entropy - within, 0),
            "members_agree": (agree.all(axis=2) if units else agree).mean(axis=0),
            "n_members": len(members),
        }
    )
    for name, values in (("p", mean), ("p_low", low), ("p_high", high)):
        for index, label in enumerate(classes):
            table[f"{name}_{label}"] = values[:, index]
    return table


# --- Occlusion --------------------------------------------------------------------------------------------------------


def region_masks(size: int, geometry: Geometry) -> dict[str, np.ndarray]:
    """Return the regions of an aligned crop, bool [size, size] each; they are disjoint."""
    masks = {name: region_mask(size, geometry, [box]) for name, box in REGIONS.items()}
    masks["cheeks"] &= ~masks["nose"]
    return masks


def grid_masks(size: int) -> list[np.ndarray]:
    """Return the cells of a grid over a crop, row by row, bool [size, size] each."""
    cell_of_pixel = np.arange(size) * GRID // size
    return [np.outer(cell_of_pixel == row, cell_of_pixel == column) for row in range(GRID) for column in range(GRID)]


def occlude(clip: ClipArrays, masks: Sequence[np.ndarray]) -> ClipArrays:
    """Return copies of one clip, each with one mask occluded: flow and strain are 0, frames have their mean grey."""
    spatial, flow = (np.repeat(array, len(masks), axis=0) for array in (clip.spatial, clip.flow))
    for number, mask in enumerate(masks):
        for frame in spatial[number]:
            frame[mask] = np.uint8(np.round(frame.mean()))
        flow[number][..., mask] = 0
    return ClipArrays(spatial, flow, np.repeat(clip.apex_index, len(masks)))


def occlusion_drops(
    ensemble: Ensemble | SystemEnsemble, clip: ClipArrays, top: int, masks: Sequence[np.ndarray]
) -> np.ndarray:
    """Return how much the probability of class ``top`` drops when each mask of a clip is occluded, float64 [masks].

    Occlusion (Zeiler, Fergus: Visualizing and understanding convolutional networks, ECCV 2014). Negative if the region
    is evidence against the class.
    """
    visible = ensemble.probabilities(clip)[0, top]
    return np.asarray(visible - ensemble.probabilities(occlude(clip, masks))[:, top])


# --- Comparison with training clips -----------------------------------------------------------------------------------


def flow_measures(flow: np.ndarray, apex: int) -> dict[str, float]:
    """Return measures of a clip's flow at its apex.

    ``motion`` is the mean of the top tenth of its magnitude in per cent of the crop's side; ``spread`` is the fraction
    of the crop that moves at least half as far. ``flow`` is [M, 3 (u, v, strain), S, S], ``apex`` one of the M.
    """
    lengths = np.hypot(*flow[apex, :2].astype(np.float32)).ravel()
    count = max(1, len(lengths) // 10)
    top = float(np.partition(lengths, -count)[-count:].mean())
    return {"motion": 100 * top / flow.shape[-1], "spread": float((lengths >= top / 2).mean())}


def clip_measures(cache: str | Path, quality: str | Path) -> pd.DataFrame:
    """Return :data:`MEASURES` of every moving clip of a cache, by its name."""
    table = read_table(quality, QUALITY).set_index("clip")
    rows = {}
    with open_h5(cache) as file:
        if len(file["clip"]) and file["flow"].shape[1]:
            for index, clip in enumerate(file["clip"].asstr()[:]):
                rows[clip] = flow_measures(file["flow"][index], int(file["apex_index"][index]))
    measures = pd.DataFrame.from_dict(rows, orient="index", columns=["motion", "spread"])
    for name in ("head_motion_px", "interocular_px"):
        measures[name] = pd.to_numeric(table[name], errors="coerce").reindex(measures.index)
    return measures


def training_ranges(tables: Sequence[pd.DataFrame]) -> dict[str, Sequence[float]]:
    """Return the range of each measure that contains all but the outermost training clips."""
    together = pd.concat(tables)
    values = {name: together[name].dropna() for name in MEASURES}
    ranges = {name: np.percentile(column, TRAINING_PERCENTILES) for name, column in values.items() if len(column)}
    return {name: (float(low), float(high)) for name, (low, high) in ranges.items()}


def range_flags(row: Mapping[str, float], ranges: Mapping[str, Sequence[float]]) -> list[str]:
    """Return how a clip differs from the training clips, in words."""
    flags = []
    for name, (low, high) in ranges.items():
        value = row.get(name, np.nan)
        if value < low or value > high:
            side = "less" if value < low else "more"
            flags.append(f"{MEASURES[name]} is {side} than in training ({value:.3g}, not {low:.3g} to {high:.3g})")
    return flags


def rate_flags(fps: float, training_fps: Sequence[float]) -> list[str]:
    """Return a flag if the frame rate differs from that of the training clips by a tenth or more."""
    if not training_fps or training_fps[0] / 1.1 <= fps <= training_fps[-1] * 1.1:
        return []
    low, high = training_fps[0], training_fps[-1]
    return [f"{fps:g} frames per second, in training " + (f"{low:g}" if low == high else f"{low:g} to {high:g}")]


# --- The job ----------------------------------------------------------------------------------------------------------


def answer_clips(
    ensemble: Ensemble | SystemEnsemble,
    experiment: str,
    cache: str | Path,
    quality: str | Path,
    settings: AnswerSettings,
    candidates: pd.DataFrame,
    table: Path,
    regions: Path,
) -> None:
    """Write an experiment's answers for the clips of a cache.

    The clips are prepared like the experiment's training clips; ``candidates`` has the rows of ``intervals.csv`` of all
    sources. ``table`` is a CSV with a row for each clip: :data:`merflow.storage.tables.ANSWERS`, and ``p_``, ``p_low_``
    and ``p_high_`` of each class. ``regions`` is HDF5 of the clips that the page shows in full: ``clip`` [n],
    ``region`` [r], ``drops`` float32 [n, r], ``grid`` float32 [n, 8, 8]: drop of the top class's probability when each
    region, and each cell of a grid, is occluded, by ``region_networks`` networks of the ensemble.

    Raises:
        InputError: the study has no clip to compare with.
    """
    with open_h5(cache) as file:
        names = list(file["clip"].asstr()[:])
        size = int(file.attrs["size"])
    classes = list(ensemble.classes)
    masks = region_masks(size, Geometry(settings.crop, settings.eye_height))
    all_masks = [*masks.values(), *grid_masks(size)]
    fps = dict(zip(candidates["clip"].astype(str), candidates["fps"].astype(float), strict=True))
    shown = shown_candidates(candidates.to_dict("records"))
    rows, drops = [], dict[str, np.ndarray]()
    if names:
        pairs = zip(settings.training_caches, settings.training_quality, strict=True)
        ranges = dict(settings.training_ranges) or training_ranges([clip_measures(*pair) for pair in pairs])
        if not ranges:
            raise InputError(f"experiment {experiment}: its caches have no moving clip to compare with")
        measures = clip_measures(cache, quality)
        occluded = ensemble.subsample(settings.region_networks)
        for index, name in enumerate(names):
            clip = ClipArrays.of_cache(cache, [index])
            row = summarize_members(ensemble.members(clip), classes, settings.uncertain_below, ensemble.units)
            clip_values = {str(key): float(value) for key, value in measures.loc[name].items()}
            flags = rate_flags(fps[name], settings.training_fps) + range_flags(clip_values, ranges)
            rows.append(row.assign(clip=name, experiment=experiment, flags="; ".join(flags)))
            if name in shown:
                drops[name] = occlusion_drops(occluded, clip, classes.index(row["top"].iloc[0]), all_masks)
            log.info("%s: %s (%.2f)", name, row["answer"].iloc[0], row["p_top"].iloc[0])
    columns = [f"{name}_{label}" for name in ("p", "p_low", "p_high") for label in classes]
    write_table(pd.concat(rows) if rows else pd.DataFrame(columns=ANSWERS + columns), table, ANSWERS)
    with atomic_write(regions) as temporary, h5py.File(temporary, "w") as file:
        text = h5py.string_dtype()
        file.create_dataset("clip", data=list(drops), dtype=text)
        file.create_dataset("region", data=list(masks), dtype=text)
        together = np.array(list(drops.values()), np.float32).reshape(-1, len(all_masks))
        file["drops"] = together[:, : len(masks)]
        file["grid"] = together[:, len(masks) :].reshape(-1, GRID, GRID)
