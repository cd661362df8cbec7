"""Resizing by area averaging."""

import numpy as np


def area_weights(size: int, side: int) -> np.ndarray:
    """Return the weight of each of ``size`` old pixels in each of ``side`` new ones, float32 ``[side, size]``."""
    edges = np.arange(side + 1) * (size / side)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: np.ndarray = (np.clip(overlap, 0, None) * (side / size)).astype(np.float32)
    return weights


def area_resize(images: np.ndarray, side: int) -> np.ndarray:
    """Resize square images: each new pixel is the mean over the area that it covers.

    Args:
        images: ``[..., S, S]``, any number type.
        side: new side in pixels; a larger one than S repeats pixels.

    Returns:
        float32 ``[..., side, side]``, a new array.
    """
    images = np.array(images, dtype=np.float32)
    if images.shape[-1] == side:
        return images
    weights = area_weights(images.shape[-1], side)
    resized: np.ndarray = weights @ images @ weights.T
    return resized
