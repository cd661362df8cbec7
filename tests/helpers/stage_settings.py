"""Default settings of the stages, as config.yaml has them, with changes."""

import yaml
from configurations import BASE

from merflow.inference.settings import SpottingSettings
from merflow.preprocessing.settings import AlignSettings, FlowSettings, KeyframeSettings, PreparationSettings

_CONFIG = yaml.safe_load(BASE.read_text(encoding="utf-8"))


def preparation(**changes) -> PreparationSettings:
    """``changes``: by stage (``align``, ``keyframes``, ``flow``), the settings that differ."""
    block = _CONFIG["preparations"]["default"]
    return PreparationSettings.from_block({stage: block[stage] | changes.get(stage, {}) for stage in block})


def align_settings(**changes) -> AlignSettings:
    return preparation(align=changes).align


def keyframe_settings(**changes) -> KeyframeSettings:
    return preparation(keyframes=changes).keyframes


def flow_settings(**changes) -> FlowSettings:
    return preparation(flow=changes).flow


def spotting_settings(**changes) -> SpottingSettings:
    return SpottingSettings(**_CONFIG["predict"]["spotting"] | {"detector": "auto"} | changes)
