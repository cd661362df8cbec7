"""Settings of the stages from frames to arrays: one block of the configuration's ``preparations``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Geometry(NamedTuple):
    """Position of the eyes in a square crop of a face.

    Attributes:
        crop: side of the crop in inter-ocular distances.
        eye_height: distance of the eyes from the top, as a fraction of the side.
        eye_across: distance of the point between the eyes from the left, as a fraction of the side.
    """

    crop: float
    eye_height: float
    eye_across: float = 0.5


STANDARD_GEOMETRY = Geometry(crop=2.6, eye_height=0.36)
"""The default of alignment; a width of 2.3 cuts the chin."""


@dataclass(frozen=True)
class AlignSettings:
    """Settings of face alignment.

    Attributes:
        landmarks: landmarks of dlib's model, 5 or 68.
        size: side of the crop in pixels.
        crop: width of the crop in inter-ocular distances.
        eye_height: distance of the eyes from the top, as a fraction of the crop's side.
        upsample: how many times the image may be doubled if no face is found in it.
        search: number of frames, from onset, that are searched for a face.
    """

    landmarks: int
    size: int
    crop: float
    eye_height: float
    upsample: int
    search: int

    @property
    def geometry(self) -> Geometry:
        """Position of the eyes in the aligned crop."""
        return Geometry(self.crop, self.eye_height)


@dataclass(frozen=True)
class KeyframeSettings:
    """Settings of key-frame selection.

    Attributes:
        method: ``motion`` (equal steps of the motion curve around the apex), ``adaptive`` (equal steps of the learned
            scores) or ``uniform`` (equal steps of time).
        count: number of key-frames besides the onset.
        apex: ``annotated`` (where the dataset has one, otherwise spotted) or ``spotted``.
    """

    method: str
    count: int
    apex: str


@dataclass(frozen=True)
class FlowSettings:
    """Settings of optical flow.

    Attributes:
        backend: implementation of TV-L1 (:mod:`merflow.preprocessing.tvl1.backends`).
        reference: flow from the ``onset`` to each key-frame, or from each key-frame to the next (``consecutive``).
        tau: time step, as in OpenCV's DualTVL1OpticalFlow, like the next six.
        lambda_: weight of the data term; the configuration's key is ``lambda``.
        theta: tightness of the coupling.
        scales: levels of the pyramid.
        step: ratio of the sides of two successive levels.
        warps: warpings per level.
        epsilon: stopping threshold in pixels.
        normalise: whether local contrast is normalised first.
        smooth: standard deviation of the final Gaussian as a fraction of the crop's side; 0 for none.
        rigid: whether the motion of the head is subtracted.
    """

    backend: str
    reference: str
    tau: float
    lambda_: float
    theta: float
    scales: int
    step: float
    warps: int
    epsilon: float
    normalise: bool
    smooth: float
    rigid: bool


@dataclass(frozen=True)
class PreparationSettings:
    """Settings of all stages of one preparation."""

    align: AlignSettings
    keyframes: KeyframeSettings
    flow: FlowSettings

    @classmethod
    def from_block(cls, block: Mapping[str, Mapping[str, Any]]) -> "PreparationSettings":
        """Make the settings from a block of the configuration's ``preparations``; keys of other rules are ignored."""
        flow = {"lambda_" if name == "lambda" else name: value for name, value in block["flow"].items()}
        keyframes = {name: block["keyframes"][name] for name in ("method", "count", "apex")}
        return cls(AlignSettings(**block["align"]), KeyframeSettings(**keyframes), FlowSettings(**flow))
