"""Images of the page as data URIs."""

from base64 import b64encode

import cv2
import numpy as np

from merflow.preprocessing.flow import flow_image


def picture(image: np.ndarray, longest: int = 128, quality: int = 88) -> str:
    """A grey [H, W] or RGB [H, W, 3] uint8 image as a JPEG data URI, scaled down to ``longest`` pixels."""
    scale = longest / max(image.shape[:2])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if image.ndim == 3:
        image = image[..., ::-1]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + b64encode(data.tobytes()).decode()


def flow_picture(flow: np.ndarray, full: float) -> str:
    """A flow field [2, S, S] in colours as a data URI; a motion of ``full`` pixels has full saturation."""
    return picture(flow_image(np.asarray(flow, np.float32), full), quality=90)


def colour_wheel(size: int = 96) -> str:
    """The legend of :func:`flow_picture`: a disc in which motion points away from the centre."""
    axis = (np.arange(size) - (size - 1) / 2) / (size / 2)
    x, y = np.meshgrid(axis, axis)
    inside = np.hypot(x, y) <= 1
    return flow_picture(np.where(inside, np.stack([x, y]), 0), 1.0)
