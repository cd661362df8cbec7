"""TV-L1 in batches with torch, for a GPU: all pairs take their steps together; a pair that has finished stands still.

On a CPU the pairs are taken one by one in one thread, so that a result does not depend on its neighbours or on the
number of cores.
"""

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from merflow.preprocessing.tvl1.backends import INNER, MEDIAN, OUTER, SMALLEST
from merflow.runtime.devices import device

log = logging.getLogger(__name__)

_PIXELS_AT_ONCE = 2**23
"""Of all pairs that go to the GPU together: 157 pairs of 231 px, which take 2 GB there."""
_SORT_FIVE = ((0, 1), (3, 4), (2, 4), (2, 3), (1, 4), (0, 3), (0, 2), (1, 3), (1, 2))


@torch.no_grad()
def solve(first: np.ndarray, second: np.ndarray, start: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    """TV-L1 of N pairs, as :mod:`merflow.preprocessing.tvl1` defines it."""
    place = device()
    count, height, width = first.shape
    together = max(1, _PIXELS_AT_ONCE // (height * width)) if place.type == "cuda" else 1
    log.info("%d pairs on %s", count, place)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        flows = np.empty_like(start)
        for begin in range(0, count, together):
            part = slice(begin, begin + together)
            given = (torch.tensor(array[part], device=place) for array in (first, second, start))
            flows[part] = _pairs(*given, options).cpu().numpy()
    finally:
        torch.set_num_threads(threads)
    return flows


def _pairs(first: Tensor, second: Tensor, flow: Tensor, options: Mapping[str, Any]) -> Tensor:
    """Coarse to fine: float32 [N, H, W], [N, H, W], [N, 2, H, W] to the flow [N, 2, H, W]."""
    step = float(options["step"])
    levels = [255 * torch.stack([first, second], 1)]
    for _ in range(1, int(options["scales"])):
        size = tuple(round(step * side) for side in levels[-1].shape[-2:])
        if min(size) < SMALLEST:
            break
        levels.append(_resized(levels[-1], size, 1 / step))
        flow = _resized(flow, size, 1 / step) * step
    for number, level in enumerate(reversed(levels)):
        if number:
            flow = _resized(flow, tuple(level.shape[-2:])) / step
        flow = _level(level[:, :1], level[:, 1:], flow, options)
    return flow


def _resized(images: Tensor, size: tuple[int, int], scale: float | None = None) -> Tensor:
    """Bilinear resizing of [N, C, H, W] as OpenCV has it.

    Args:
        images: what to resize.
        size: new height and width.
        scale: old pixels in a new one, where it is not simply the ratio of the sizes.
    """
    rows, columns = (
        torch.tensor(_weights(old, new, scale or old / new), device=images.device)
        for old, new in zip(images.shape[-2:], size, strict=True)
    )
    return rows @ images @ columns.T


@cache
def _weights(old: int, new: int, scale: float) -> np.ndarray:
    """What each old pixel gives to each new one, float32 [new, old]."""
    places = np.clip((np.arange(new) + 0.5) * scale - 0.5, 0, old - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(old)), 0).astype(np.float32)


def _level(first: Tensor, second: Tensor, flow: Tensor, options: Mapping[str, Any]) -> Tensor:
    """All warpings of one level: [N, 1, H, W] twice and [N, 2, H, W], grey levels 0 to 255, to [N, 2, H, W]."""
    height, width = first.shape[-2:]
    tau, theta = float(options["tau"]), float(options["theta"])
    reach, rate = float(options["lambda"]) * theta, tau / theta
    enough = float(options["epsilon"]) ** 2 * height * width
    least = torch.finfo(torch.float32).eps  # Where the frame is flat, or ends, it says nothing: any small number does.
    layers = torch.cat([second, _central(second)], 1)
    dual_x, dual_y = torch.zeros_like(flow), torch.zeros_like(flow)
    for _ in range(int(options["warps"])):
        warped, slope = _warped(layers, flow).split([1, 2], 1)
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
    """Central differences of [N, 1, H, W], the edge repeated: [N, 2, H, W], along x and along y."""
    wide = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    along_x, along_y = wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2], wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]
    return torch.cat([along_x, along_y], 1) / 2


def _forward(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences along x and along y; 0 at the far edge."""
    return functional.pad(flow.diff(dim=-1), (0, 1)), functional.pad(flow.diff(dim=-2), (0, 0, 0, 1))


def _divergence(dual_x: Tensor, dual_y: Tensor) -> Tensor:
    """Backward differences; minus the adjoint of :func:`_forward`."""
    return functional.pad(dual_x, (1, 0)).diff(dim=-1) + functional.pad(dual_y, (0, 0, 1, 0)).diff(dim=-2)


def _warped(layers: Tensor, flow: Tensor) -> Tensor:
    """``layers`` [N, C, H, W] at the places that ``flow`` [N, 2, H, W] leads to, bicubic, 0 outside.

    Places are rounded to 32nds of a pixel, as OpenCV does it, and float64 keeps them there: whether a pair stops at a
    step or takes another median and more steps is all or nothing, and a finer place could turn it.
    """
    height, width = flow.shape[-2:]
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    places = (32 * torch.stack([columns + flow[:, 0], rows + flow[:, 1]], -1)).round().double() / 32
    places = places * torch.tensor([2 / (width - 1), 2 / (height - 1)], device=flow.device, dtype=places.dtype) - 1
    warped = functional.grid_sample(layers.double(), places, mode="bicubic", padding_mode="zeros", align_corners=True)
    return warped.float()


def _median(flow: Tensor) -> Tensor:
    """Median of 5x5 pixels, the edge repeated, by comparing whole images.

    Columns sorted, then rows: entry (i, j) of the 5x5 table, counted from 1, is no smaller than i j entries and no
    larger than (6 - i)(6 - j), so 6 entries are too small, 6 too large, and the median is that of the other 13.
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
    """Put the smaller of each pair first, in place."""
    for low, high in pairs:
        values[low], values[high] = torch.minimum(values[low], values[high]), torch.maximum(values[low], values[high])


@cache
def _middle(count: int) -> tuple[tuple[int, int], ...]:
    """Comparisons that bring the median of ``count`` values to its place.

    Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M), less what the middle does
    not depend on.
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
    asked, kept = {count // 2}, []
    for pair in reversed(pairs):
        if asked & set(pair):
            asked |= set(pair)
            kept.append(pair)
    return tuple(reversed(kept))
