"""TV-L1 in batches with torch, for a GPU: all pairs iterate together; a pair that has converged is no longer updated.

On a CPU the pairs are computed one by one in one thread, so that a result does not depend on the other pairs or on the
number of cores.
"""

import logging
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from merflow.preprocessing.settings import FlowSettings
from merflow.preprocessing.tvl1.backends import INNER, MEDIAN, OUTER, SMALLEST
from merflow.runtime.devices import device

log = logging.getLogger(__name__)

_MAX_PIXELS = 2**23
"""Pixels of a batch of pairs on the GPU: 157 pairs of 231 px, which take 2 GB there."""
_SORT_FIVE = ((0, 1), (3, 4), (2, 4), (2, 3), (1, 4), (0, 3), (0, 2), (1, 3), (1, 2))


@torch.no_grad()
def solve(first: np.ndarray, second: np.ndarray, start: np.ndarray, settings: FlowSettings) -> np.ndarray:
    """Compute the TV-L1 flow of N pairs, as defined in :mod:`merflow.preprocessing.tvl1.backends`."""
    place = device()
    count, height, width = first.shape
    batch = max(1, _MAX_PIXELS // (height * width)) if place.type == "cuda" else 1
    log.info("%d pairs on %s", count, place)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        flows = np.empty_like(start)
        for begin in range(0, count, batch):
            part = slice(begin, begin + batch)
            before, after, guess = (torch.tensor(array[part], device=place) for array in (first, second, start))
            flows[part] = _pairs(before, after, guess, settings).cpu().numpy()
    finally:
        torch.set_num_threads(threads)
    return flows


def _pairs(first: Tensor, second: Tensor, flow: Tensor, settings: FlowSettings) -> Tensor:
    """Solve from coarse to fine: float32 [N, H, W], [N, H, W], [N, 2, H, W] to the flow [N, 2, H, W]."""
    step = settings.step
    levels = [255 * torch.stack([first, second], 1)]
    for _ in range(1, settings.scales):
        height, width = (round(step * side) for side in levels[-1].shape[-2:])
        if min(height, width) < SMALLEST:
            break
        levels.append(_resized(levels[-1], (height, width), 1 / step))
        flow = _resized(flow, (height, width), 1 / step) * step
    for number, level in enumerate(reversed(levels)):
        if number:
            flow = _resized(flow, (level.shape[-2], level.shape[-1])) / step
        flow = _level(level[:, :1], level[:, 1:], flow, settings)
    return flow


def _resized(images: Tensor, size: tuple[int, int], scale: float | None = None) -> Tensor:
    """Resize images [N, C, H, W] bilinearly, as OpenCV does.

    Args:
        images: images to resize.
        size: new height and width.
        scale: old pixels per new pixel; the ratio of the sizes if None.
    """
    rows, columns = (
        torch.tensor(_weights(old, new, scale or old / new), device=images.device)
        for old, new in zip(images.shape[-2:], size, strict=True)
    )
    return rows @ images @ columns.T


@cache
def _weights(old: int, new: int, scale: float) -> np.ndarray:
    """Return the weight of each old pixel in each new one, float32 [new, old]."""
    places = np.clip((np.arange(new) + 0.5) * scale - 0.5, 0, old - 1)
    return np.asarray(np.maximum(1 - np.abs(places[:, None] - np.arange(old)), 0), np.float32)


def _level(first: Tensor, second: Tensor, flow: Tensor, settings: FlowSettings) -> Tensor:
    """Run all warpings of one level: [N, 1, H, W] twice and [N, 2, H, W], grey levels 0 to 255, to [N, 2, H, W]."""
    height, width = first.shape[-2:]
    tau, theta = settings.tau, settings.theta
    reach, rate = settings.lambda_ * theta, tau / theta
    enough = settings.epsilon**2 * height * width
    least = torch.finfo(torch.float32).eps  # Avoids division by zero where the frame is flat or ends.
    layers = torch.cat([second, _central(second)], 1)
    dual_x, dual_y = torch.zeros_like(flow), torch.zeros_like(flow)
    for _ in range(settings.warps):
        warped, slope = torch.split(_warped(layers, flow), [1, 2], 1)
        constant = warped - (slope * flow).sum(1, keepdim=True) - first
        inverse = 1 / slope.square().sum(1, keepdim=True).clamp_min(least)
        running = torch.ones(len(flow), 1, 1, 1, dtype=torch.bool, device=flow.device)
        for turn in range(OUTER * INNER):
            if turn % INNER == 0:
                flow = torch.where(running, _median(flow), flow)
            rho = constant + (slope * flow).sum(1, keepdim=True)
            move = (-rho * inverse).clamp(-reach, reach) * slope + theta * _divergence(dual_x, dual_y)
            flow = torch.where(running, flow + move, flow)
            flow_x, flow_y = _forward(flow)
            norm = 1 + rate * (flow_x.square() + flow_y.square()).sqrt()
            dual_x = torch.where(running, (dual_x + rate * flow_x) / norm, dual_x)
            dual_y = torch.where(running, (dual_y + rate * flow_y) / norm, dual_y)
            running = running & (move.square().sum((1, 2, 3), keepdim=True) > enough)
            if not running.any():
                break
    return flow


def _central(image: Tensor) -> Tensor:
    """Return central differences of [N, 1, H, W] along x and y, with the edge repeated: [N, 2, H, W]."""
    wide = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    along_x, along_y = wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2], wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]
    return torch.cat([along_x, along_y], 1) / 2


def _forward(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Return forward differences along x and along y; 0 at the far edge."""
    return functional.pad(flow.diff(dim=-1), (0, 1)), functional.pad(flow.diff(dim=-2), (0, 0, 0, 1))


def _divergence(dual_x: Tensor, dual_y: Tensor) -> Tensor:
    """Return backward differences: the negative adjoint of :func:`_forward`."""
    return functional.pad(dual_x, (1, 0)).diff(dim=-1) + functional.pad(dual_y, (0, 0, 1, 0)).diff(dim=-2)


def _warped(layers: Tensor, flow: Tensor) -> Tensor:
    """Return ``layers`` [N, C, H, W] warped by ``flow`` [N, 2, H, W], bicubic, 0 outside.

    Positions are rounded to 1/32 of a pixel, as in OpenCV, and kept exact by float64: finer positions could change the
    step at which a pair stops.
    """
    height, width = flow.shape[-2:]
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    places = (32 * torch.stack([columns + flow[:, 0], rows + flow[:, 1]], -1)).round().double() / 32
    places = places * torch.tensor([2 / (width - 1), 2 / (height - 1)], device=flow.device, dtype=places.dtype) - 1
    warped = functional.grid_sample(layers.double(), places, mode="bicubic", padding_mode="zeros", align_corners=True)
    return warped.float()


def _median(flow: Tensor) -> Tensor:
    """Return the median of 5x5 pixels, with the edge repeated, by comparing whole images.

    After columns and then rows are sorted, entry (i, j) of the 5x5 table, counted from 1, is no smaller than i j
    entries and no larger than (6 - i)(6 - j). So 6 entries are too small, 6 too large, and the median is that of the
    other 13.
    """
    height, width = flow.shape[-2:]
    wide = functional.pad(flow, (2, 2, 2, 2), mode="replicate")
    rows = [wide[..., k : k + height, :] for k in range(MEDIAN)]
    _exchange(rows, _SORT_FIVE)
    table = [[row[..., k : k + width] for k in range(MEDIAN)] for row in rows]
    for row in table:
        _exchange(row, _SORT_FIVE)
    left = [
        table[i - 1][j - 1] for i in range(1, 6) for j in range(1, 6) if i * j <= 13 and (6 - i) * (6 - j) <= 13
    ]  # fmt: skip
    _exchange(left, _middle(len(left)))
    return left[len(left) // 2]


def _exchange(values: list[Tensor], pairs: tuple[tuple[int, int], ...]) -> None:
    """Sort each pair in place, the smaller value first."""
    for low, high in pairs:
        values[low], values[high] = torch.minimum(values[low], values[high]), torch.maximum(values[low], values[high])


@cache
def _middle(count: int) -> tuple[tuple[int, int], ...]:
    """Return the comparisons that move the median of ``count`` values to the middle.

    Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M), without the comparisons
    that do not affect the middle.
    """
    pairs = []
    top = 1 << (count - 1).bit_length() - 1
    p = top
    while p:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(count - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    needed, kept = {count // 2}, []
    for pair in reversed(pairs):
        if needed & set(pair):
            needed |= set(pair)
            kept.append(pair)
    return tuple(reversed(kept))
