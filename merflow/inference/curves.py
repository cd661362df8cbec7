"""Curves of motion: smoothing, the height that a peak must reach, and peaks."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from merflow.inference.motion_track import MotionCurve
from merflow.inference.settings import SpottingSettings

_TRUNCATE = 4.0  # Standard deviations at which the Gaussian ends.
_NEAR, _FAR, _PERCENTILE = 1.75, 12.5, 80
"""Where the surroundings of a peak begin and end on either side, in multiples of the time between compared frames."""


def _sigma(reach: int) -> float:
    return max(0.5, reach / 6)


def smoothing_radius(reach: int) -> int:
    """Return how many values before and after a value :func:`smooth` uses."""
    return int(_TRUNCATE * _sigma(reach) + 0.5)


def smooth(motion: Sequence[float] | np.ndarray, reach: int) -> np.ndarray:
    """Return a curve without the noise of single times, float64 [n]; it stays NaN where there is no face."""
    values = np.asarray(motion, np.float64)
    valid = np.isfinite(values)
    weights = gaussian_filter1d(valid.astype(float), _sigma(reach), mode="nearest", truncate=_TRUNCATE)
    filled = gaussian_filter1d(np.where(valid, values, 0.0), _sigma(reach), mode="nearest", truncate=_TRUNCATE)
    return np.where(valid, filled / np.maximum(weights, 1e-9), np.nan)


def threshold(curve: np.ndarray, settings: SpottingSettings) -> float:
    """Return the least height of a peak of a curve [n]: ``least_motion``, or more if the video is restless."""
    valid = curve[np.isfinite(curve)]
    if not len(valid):
        return settings.least_motion
    middle = float(np.median(valid))
    # From the lower half only, which contains no expressions.
    deviation = 1.4826 * float(np.median(middle - valid[valid <= middle]))
    return max(settings.least_motion, middle + settings.deviations * deviation)


def surroundings(curve: np.ndarray, index: int, reach: int) -> float:
    """Return how far the face moves around a value of a curve [n], its own motion left out; 0 if that is not known.

    It is the 80th percentile of some seconds on either side (micro-expressions: 0.35 to 2.5 s). In a phrase, the jaw
    and the lips go and come with every syllable, so that no syllable stands out from it.
    """
    near, far = round(_NEAR * reach), round(_FAR * reach)
    values = np.concatenate(
        [curve[max(0, index - far) : max(0, index - near)], curve[index + near + 1 : index + far + 1]]
    )
    values = values[np.isfinite(values)]
    return float(np.percentile(values, _PERCENTILE)) if len(values) else 0.0


def least_strengths(curve: MotionCurve, fps: float, settings: SpottingSettings) -> list[float]:
    """Return the strength that each candidate of a curve must reach.

    It is the threshold of the video, or ``prominence`` times the motion around the candidate, if that is restless and
    gives more.
    """
    reach = curve.reach(fps)
    smoothed = smooth(curve.motion, reach)
    least = threshold(smoothed, settings)
    places = np.searchsorted(curve.centres, [candidate.apex for candidate in curve.candidates]).tolist()
    around = [surroundings(smoothed, place, reach) for place in places]
    # A calm face moves less than twice the least motion; noise and weak expressions nearby raise nothing there.
    restless = 2 * settings.least_motion
    return [max(least, settings.prominence * motion if motion > restless else 0.0) for motion in around]


def is_peak(curve: np.ndarray, index: int, apart: int) -> bool:
    """Return whether a value of a curve [n] is higher than all that are less than ``apart`` from it; NaN is lowest."""
    value = curve[index]
    before, after = curve[max(0, index - apart + 1) : index], curve[index + 1 : index + apart]
    return bool(np.isfinite(value) and not (before >= value).any() and not (after > value).any())


def peaks(curve: np.ndarray, least: float, apart: int) -> list[int]:
    """Return the indices of peaks of a curve [n] that reach ``least`` and are ``apart`` or more from a higher value."""
    return [index for index in np.flatnonzero(curve >= least).tolist() if is_peak(curve, index, apart)]
