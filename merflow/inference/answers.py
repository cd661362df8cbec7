"""What the ensemble of an experiment says of clips, how sure it is, and which parts of the face it hangs on."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import pandas as pd

from merflow.errors import InputError
from merflow.inference.ensemble import ClipArrays
from merflow.inference.outcomes import UNCERTAIN
from merflow.storage.files import atomic_write
from merflow.storage.hdf5 import open_h5
from merflow.storage.tables import ANSWERS, QUALITY, read_table, write_table

log = logging.getLogger(__name__)

LOW, HIGH = 5.0, 95.0
"""Percentiles of the members between which ``p_low`` and ``p_high`` lie."""
USUAL = (1.0, 99.0)
"""Percentiles of the training clips beyond which a clip is unlike them."""

REGIONS: dict[str, tuple[float, float, float, float]] = {
    "forehead": (-0.9, 0.9, -0.93, -0.65),
    "brows": (-0.85, 0.85, -0.65, -0.17),
    "eyes": (-0.85, 0.85, -0.17, 0.22),
    "cheeks": (-1.05, 1.05, 0.22, 0.88),
    "nose": (-0.40, 0.40, 0.22, 0.88),
    "mouth": (-0.70, 0.70, 0.88, 1.58),
}
"""Left, right, top, bottom in inter-ocular distances from the point between the eyes; ``cheeks`` without ``nose``."""
GRID = 8
"""Sides of the grid whose cells are covered in turn."""

MEASURES = {
    "motion": "how far the face moves",
    "spread": "how much of the face moves",
    "head_motion_px": "how far the head moves",
    "interocular_px": "the size of the face",
}
"""What is compared with the training clips."""


class Answering(Protocol):
    """What is asked of an ensemble (:class:`merflow.inference.ensemble.Ensemble`)."""

    classes: list[str]

    def members(self, clips: ClipArrays, calibrated: bool = True) -> np.ndarray:
        """Probabilities of each member, float64 [members, n, classes]."""


def summed_up(members: np.ndarray, classes: Sequence[str], uncertain_below: float) -> pd.DataFrame:
    """One row per clip: the answer, probabilities with the spread of the members, and two measures of doubt.

    ``entropy`` is that of the mean, in shares of the most there can be: 0 where one class is certain, 1 where all are
    alike. ``mutual_information``, in the same unit, is the part of it that comes from members that disagree (Houlsby et
    al. 2011; Lakshminarayanan et al. 2017 for ensembles); the rest is doubt that they share.

    Args:
        members: probabilities, float64 [members, n, classes].
        classes: their names.
        uncertain_below: the answer is ``uncertain`` where the top probability is less.
    """
    mean = members.mean(axis=0)
    most = np.log(len(classes))
    entropy = _entropy(mean) / most
    within = _entropy(members).mean(axis=0) / most
    top = mean.argmax(axis=1)
    low, high = np.percentile(members, [LOW, HIGH], axis=0)
    p_top = mean[np.arange(len(mean)), top]
    table = pd.DataFrame(
        {
            "answer": [classes[one] if p >= uncertain_below else UNCERTAIN for one, p in zip(top, p_top, strict=True)],
            "top": [classes[one] for one in top],
            "p_top": p_top,
            "entropy": entropy,
            "mutual_information": np.maximum(entropy - within, 0),
            "members_agree": (members.argmax(axis=2) == top).mean(axis=0),
            "n_members": len(members),
        }
    )
    for name, values in (("p", mean), ("p_low", low), ("p_high", high)):
        for place, label in enumerate(classes):
            table[f"{name}_{label}"] = values[:, place]
    return table


def _entropy(chances: np.ndarray) -> np.ndarray:
    return -(chances * np.log(np.maximum(chances, 1e-12))).sum(axis=-1)


# --- What drove the answer --------------------------------------------------------------------------------------------


def region_masks(size: int, crop: float, eye_height: float) -> dict[str, np.ndarray]:
    """The regions of an aligned crop, bool [size, size] each; no pixel is in two.

    Args:
        size: side of the crop in pixels.
        crop: width of the crop in inter-ocular distances.
        eye_height: height of the eyes as a part of the side.
    """
    axis = (np.arange(size) + 0.5) / size
    x, y = (axis - 0.5) * crop, (axis - eye_height) * crop
    masks = {}
    for name, (left, right, top, bottom) in REGIONS.items():
        masks[name] = ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))[None, :]
    masks["cheeks"] &= ~masks["nose"]
    return masks


def grid_masks(size: int, cells: int = GRID) -> list[np.ndarray]:
    """The cells of a grid over a crop, row by row, bool [size, size] each."""
    owner = np.arange(size) * cells // size
    return [np.outer(owner == row, owner == column) for row in range(cells) for column in range(cells)]


def covered(clips: ClipArrays, place: int, masks: Sequence[np.ndarray]) -> ClipArrays:
    """One clip again and again, each time with another part covered.

    There the flow and its strain are none, and a frame is its own mean grey: the part neither moves nor shows.
    """
    spatial = np.repeat(clips.spatial[place : place + 1], len(masks), axis=0)
    flow = np.repeat(clips.flow[place : place + 1], len(masks), axis=0)
    for number, mask in enumerate(masks):
        for frame in spatial[number]:
            frame[mask] = np.uint8(np.round(frame.mean()))
        flow[number][..., mask] = 0
    return ClipArrays(spatial, flow, np.repeat(clips.apex_index[place : place + 1], len(masks)))


def falls(ensemble: Answering, clips: ClipArrays, place: int, top: int, masks: Sequence[np.ndarray]) -> np.ndarray:
    """How much of the probability of class ``top`` goes when each part of a clip is covered, float64 [parts].

    Occlusion (Zeiler, Fergus: Visualizing and understanding convolutional networks, ECCV 2014). Below zero where the
    part spoke against the class.
    """
    whole_one = ensemble.members(clips.part(slice(place, place + 1))).mean(axis=0)[0, top]
    return whole_one - ensemble.members(covered(clips, place, masks)).mean(axis=0)[:, top]


# --- Whether a clip is like those of the training ---------------------------------------------------------------------


def measures(flow: np.ndarray, apex: int) -> dict[str, float]:
    """What is measured of a clip's flow at its apex: ``motion``, mean of the top tenth of its lengths in per cent of
    the crop's side; ``spread``, share of the crop that moves half as far as that or more.

    Args:
        flow: [M, 3 (u, v, strain), S, S].
        apex: place of the apex among the M.
    """
    lengths = np.hypot(*flow[apex, :2].astype(np.float32)).ravel()
    count = max(1, len(lengths) // 10)
    top = float(np.partition(lengths, -count)[-count:].mean())
    return {"motion": 100 * top / flow.shape[-1], "spread": float((lengths >= top / 2).mean())}


def measured(cache: str | Path, quality: str | Path) -> pd.DataFrame:
    """:data:`MEASURES` of every moving clip of a cache, by its name."""
    table = read_table(quality, QUALITY).set_index("clip")
    rows = {}
    with open_h5(cache) as file:
        if len(file["clip"]) and file["flow"].shape[1]:
            for place, clip in enumerate(file["clip"].asstr()[:]):
                rows[clip] = measures(file["flow"][place], int(file["apex_index"][place]))
    found = pd.DataFrame.from_dict(rows, orient="index", columns=["motion", "spread"])
    for name in ("head_motion_px", "interocular_px"):
        found[name] = pd.to_numeric(table[name], errors="coerce").reindex(found.index)
    return found


def usual(tables: Sequence[pd.DataFrame]) -> dict[str, tuple[float, float]]:
    """Range of each measure that all but the outermost of the training clips lie in."""
    together = pd.concat(tables)
    ranges = {name: together[name].dropna() for name in MEASURES}
    return {name: tuple(np.percentile(values, USUAL)) for name, values in ranges.items() if len(values)}


def flags_of(row: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]) -> list[str]:
    """What about a clip is unlike the training clips, in words."""
    found = []
    for name, (low, high) in ranges.items():
        value = row.get(name, np.nan)
        if value < low or value > high:
            side = "less" if value < low else "more"
            found.append(f"{MEASURES[name]} is {side} than in training ({value:.3g}, not {low:.3g} to {high:.3g})")
    return found


def rate_flags(fps: float, usual_rates: Sequence[float], told: str = "") -> list[str]:
    """Words where the frame rate is not that of the training clips, by a tenth or more."""
    if not usual_rates or usual_rates[0] / 1.1 <= fps <= usual_rates[-1] * 1.1:
        return []
    span = f"{usual_rates[0]:g}" if usual_rates[0] == usual_rates[-1] else f"{usual_rates[0]:g} to {usual_rates[-1]:g}"
    return [f"{fps:g} frames per second, in training {span}"]


# --- All of it --------------------------------------------------------------------------------------------------------


def answer_clips(
    ensemble: Answering,
    experiment: str,
    cache: str | Path,
    quality: str | Path,
    training: Mapping[str, Any],
    settings: Mapping[str, Any],
    fps: Mapping[str, float],
    table: Path,
    regions: Path,
) -> None:
    """Write what an experiment says of the clips of a cache.

    Args:
        ensemble: of the experiment.
        experiment: its name.
        cache: of the clips, prepared as the experiment's training clips were.
        quality: table beside it.
        training: ``caches, quality`` and ``fps`` of :meth:`merflow.study.prediction.Prediction.training`.
        settings: ``uncertain_below``; ``crop`` and ``eye_height`` of the preparation.
        fps: frames per second of each clip.
        table: CSV with a row for each clip: :data:`merflow.storage.tables.ANSWERS`, and of each class ``p_``,
            ``p_low_`` and ``p_high_``.
        regions: HDF5 with ``clip`` [n], ``region`` [r], ``falls`` float32 [n, r] and ``grid`` float32 [n, 8, 8]: how
            much of the top class's probability goes with each region, and with each cell of a grid.

    Raises:
        InputError: the study has no clip to compare with.
    """
    with open_h5(cache) as file:
        names = list(file["clip"].asstr()[:])
        size = int(file.attrs["size"])
    classes = list(ensemble.classes)
    masks = region_masks(size, settings["crop"], settings["eye_height"])
    parts = [*masks.values(), *grid_masks(size)]
    found, fallen = [], np.zeros((len(names), len(parts)), np.float32)
    if names:
        pairs = zip(training["caches"], training["quality"], strict=True)
        ranges = usual([measured(*pair) for pair in pairs])
        if not ranges:
            raise InputError(f"experiment {experiment}: its caches have no moving clip to compare with")
        own = measured(cache, quality)
        for place, name in enumerate(names):
            clip = ClipArrays.of_cache(cache, [place])
            row = summed_up(ensemble.members(clip), classes, settings["uncertain_below"])
            flags = rate_flags(fps[name], training["fps"]) + flags_of(own.loc[name].to_dict(), ranges)
            found.append(row.assign(clip=name, experiment=experiment, flags="; ".join(flags)))
            fallen[place] = falls(ensemble, clip, 0, classes.index(row["top"].iloc[0]), parts)
            log.info("%s: %s (%.2f)", name, row["answer"].iloc[0], row["p_top"].iloc[0])
    columns = [f"{name}_{label}" for name in ("p", "p_low", "p_high") for label in classes]
    rows = pd.concat(found) if found else pd.DataFrame(columns=ANSWERS + columns)
    write_table(rows, table, ANSWERS)
    with atomic_write(regions) as temporary, h5py.File(temporary, "w") as file:
        text = h5py.string_dtype()
        file.create_dataset("clip", data=names, dtype=text)
        file.create_dataset("region", data=list(masks), dtype=text)
        file["falls"] = fallen[:, : len(masks)]
        file["grid"] = fallen[:, len(masks) :].reshape(-1, GRID, GRID)
