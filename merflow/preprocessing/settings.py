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
    """Settings of face alignment; the block ``align`` of a preparation (docs/configuration.md)."""

    landmarks: int
    size: int
    crop: float
    eye_height: float
    upsample: int
    search: int
    detector: str
    note_inside: float
    least_inside: float

    @property
    def geometry(self) -> Geometry:
        """Position of the eyes in the aligned crop."""
        return Geometry(self.crop, self.eye_height)


@dataclass(frozen=True)
class KeyframeSettings:
    """Settings of key-frame selection; the block ``keyframes`` of a preparation (docs/configuration.md)."""

    method: str
    count: int
    apex: str
    interpolate: bool


@dataclass(frozen=True)
class FlowSettings:
    """Settings of optical flow; the block ``flow`` of a preparation (docs/configuration.md).

    ``lambda_`` is the key ``lambda``.
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
        keyframes = {name: block["keyframes"][name] for name in ("method", "count", "apex", "interpolate")}
        return cls(AlignSettings(**block["align"]), KeyframeSettings(**keyframes), FlowSettings(**flow))
