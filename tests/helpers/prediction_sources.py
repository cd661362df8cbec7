"""Sources of a prediction: a picture on disk, and the clip that names a source."""

from pathlib import Path

import cv2
import numpy as np

from merflow.footage.clip import Clip


def write_picture(path: Path, number: int = 0) -> None:
    """Write a plain grey picture; ``number`` changes its shade."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((60, 80), 40 + number, np.uint8))


def source_clip(frames, **changes) -> Clip:
    """Return the clip of a source without annotation."""
    row = {"clip": "it", "label": "", "frames": str(frames), "onset": None, "apex": None, "offset": None, "fps": None}
    return Clip(**row | {"subject": "clips/somebody", "kind": "micro"} | changes)
