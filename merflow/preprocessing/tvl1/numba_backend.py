"""TV-L1 compiled for the CPU: OpenCV resizes, warps and filters by medians; the iterations are compiled loops.

It follows OpenCV's scheme step by step and differs from it by rounding. Four things make the loops fast:

- Arrays are padded. Pixels beyond the edge repeat the last one, so that derivatives need no branch and rows have no
  remainder that is processed pixel by pixel; rows are aligned to vectors.
- ``error_model="numpy"``: a division that may raise cannot be vectorised.
- The dual variables of a row are updated right after its flow, in one pass over the arrays, which together exceed the
  second-level cache.
- The beginnings of the arrays are spread over the lines of the first-level cache; otherwise they would share them.

Every sum has a fixed order, so results are bit-identical between runs. One thread does the work.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np

from merflow.preprocessing.settings import FlowSettings

OUTER, INNER, MEDIAN = 10, 30, 5
"""Largest number of rounds and of steps per round for each warping, and the side of the median filter before each
round; as in OpenCV."""
SMALLEST = 16
"""Smallest side of a level of the pyramid; as in OpenCV."""

_VECTOR = 16  # float32 in the widest vector register
_PAGE = 1024  # float32 in the 4 KiB after which cache lines are shared again
_SPREAD = 80  # float32 between the beginnings of two arrays, modulo the page: five cache lines

CACHE = Path(".snakemake", "numba")
"""Folder of the compiled loops if neither the folder of this file nor the user's cache folder is writable: in the
working directory, where Snakemake itself writes."""

_kept = threading.local()


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile ``function`` at its first call, which takes seconds, and store the result on disk for all later jobs.

    Numba identifies the stored code by the source and the processor and replaces files atomically, so parallel jobs and
    different machines can share the folder.
    """
    # Only fused multiply-add is allowed, because it does not reorder sums.
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}, "boundscheck": False}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # Neither folder is writable, as in a container without a home.
        numba.config.CACHE_DIR = str(CACHE.absolute())  # type: ignore[attr-defined]
    try:
        return numba.njit(cache=True, **options)(function)
    except (RuntimeError, OSError):
        return numba.njit(**options)(function)


def solve(first: np.ndarray, second: np.ndarray, start: np.ndarray, settings: FlowSettings) -> np.ndarray:
    """Compute the TV-L1 flow of a pair, as defined in :mod:`merflow.preprocessing.tvl1.backends`."""
    step = settings.step
    levels: list[tuple[Any, Any]] = [(first * np.float32(255), second * np.float32(255))]
    flow = list(start)
    for _ in range(1, settings.scales):
        before, after = (cv2.resize(image, None, fx=step, fy=step) for image in levels[-1])
        if min(before.shape) < SMALLEST:
            break
        levels.append((before, after))
        flow = [cv2.resize(part, None, fx=step, fy=step) * np.float32(step) for part in flow]
    for number, (before, after) in enumerate(reversed(levels)):
        if number:
            flow = [cv2.resize(part, before.shape[::-1]) * np.float32(1 / step) for part in flow]
        flow = _level(before, after, flow, settings)
    return np.stack(flow)


def _level(first: np.ndarray, second: np.ndarray, flow: list[np.ndarray], settings: FlowSettings) -> list[np.ndarray]:
    """Run all warpings of one level of the pyramid; all arrays float32 [H, W], grey levels 0 to 255."""
    height, width = first.shape
    theta = np.float32(settings.theta)
    reach = np.float32(settings.lambda_ * settings.theta)
    rate = np.float32(settings.tau / settings.theta)
    enough = np.float32(settings.epsilon**2 * height * width)
    u, v, *dual, slope_x, slope_y, constant, inverse, sums = _padded(11, height, width)
    inside = np.s_[:height, :width]
    parts = [u[inside], v[inside]]
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    for part, initial in zip(parts, flow, strict=True):
        part[:] = initial
    for array in (u, v, slope_x, slope_y, constant, inverse):
        array[:, width:] = 0
    for array in dual:
        array[:] = 0
    gradients = [
        cv2.Sobel(second, cv2.CV_32F, 1 - axis, axis, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
        for axis in (0, 1)
    ]
    for _ in range(settings.warps):
        # Converted once to OpenCV's fixed point; otherwise remap would convert it for each of the three arrays.
        positions, fractions = cv2.convertMaps(columns + parts[0], rows + parts[1], cv2.CV_16SC2)
        warped = cv2.remap(second, positions, fractions, cv2.INTER_CUBIC)
        for slope, gradient in zip((slope_x, slope_y), gradients, strict=True):
            cv2.remap(gradient, positions, fractions, cv2.INTER_CUBIC, dst=slope[inside])
        _linearise(first, warped, slope_x, slope_y, u, v, constant, inverse)
        error, rounds = np.inf, 0
        while error > enough and rounds < OUTER:
            for part in parts:
                cv2.medianBlur(part, MEDIAN, dst=part)
            error = _iterate(
                u, v, *dual, slope_x, slope_y, constant, inverse, sums[0],
                height, width, _whole_vectors(width), reach, theta, rate, enough, INNER,
            )  # fmt: skip
            rounds += 1
    return [part.copy() for part in parts]


def _padded(count: int, height: int, width: int) -> list[np.ndarray]:
    """Return ``count`` arrays, float32 [height + 1, W + a vector], W = width rounded up to whole vectors.

    The thread reuses their memory, because mapping new memory for each level of each pair costs time. They are valid
    until the next call and contain old values.
    """
    shape = height + 1, _whole_vectors(width) + _VECTOR
    size = shape[0] * shape[1]
    apart = size + (_SPREAD - size) % _PAGE
    needed = count * apart + _VECTOR
    if getattr(_kept, "memory", np.empty(0)).size < needed:
        _kept.memory = np.empty(needed, np.float32)
    memory = _kept.memory
    begin = -(memory.ctypes.data // memory.itemsize) % _VECTOR
    return [memory[start : start + size].reshape(shape) for start in range(begin, begin + count * apart, apart)]


def _whole_vectors(width: int) -> int:
    return -(-width // _VECTOR) * _VECTOR


@_compiled
def _linearise(
    first: np.ndarray, warped: np.ndarray, slope_x: np.ndarray, slope_y: np.ndarray, u: np.ndarray, v: np.ndarray,
    constant: np.ndarray, inverse: np.ndarray,
) -> None:  # fmt: skip
    """Set ``constant`` = I1w - <grad I1w, u0> - I0 and ``inverse`` = 1 / |grad I1w|^2.

    ``first`` and ``warped`` are [H, W]; all others are padded, and nothing is written beyond the edge.
    """
    height, width = first.shape
    # Avoids division by zero where the warped frame is flat or ends.
    least = np.float32(1.1920929e-07)
    for y in range(height):
        for x in range(width):
            a, b = slope_x[y, x], slope_y[y, x]
            constant[y, x] = warped[y, x] - a * u[y, x] - b * v[y, x] - first[y, x]
            inverse[y, x] = np.float32(1) / max(a * a + b * b, least)


@_compiled
def _iterate(
    u: np.ndarray, v: np.ndarray, p1: np.ndarray, p2: np.ndarray, q1: np.ndarray, q2: np.ndarray, slope_x: np.ndarray,
    slope_y: np.ndarray, constant: np.ndarray, inverse: np.ndarray, sums: np.ndarray, height: int, width: int,
    wide: int, reach: np.float32, theta: np.float32, rate: np.float32, enough: np.float32, most: int,
) -> float:  # fmt: skip
    """Do at most ``most`` steps of the flow u, v and of its dual variables p (of u) and q (of v).

    The dual arrays are shifted by a row and a vector: ``p1[y + 1, x + _VECTOR]`` belongs to ``u[y, x]``; the row
    above and the column to the left are the zeros that the divergence reads at the edge.

    ``sums`` is a buffer for the sum of squared steps of each column, ``wide`` the number of columns rounded up to whole
    vectors, ``reach`` lambda * theta, ``rate`` tau / theta, and ``enough`` the sum of squared steps at which to stop.

    Returns:
        Sum of the squared steps of the last iteration, float64.
    """
    unit = np.float32(1)
    error = np.inf
    count = 0
    while error > enough and count < most:
        count += 1
        sums[:] = 0
        # A row of flow reads the old dual variables of its own row and of the row above. The dual variables of a row
        # read the flow of the next row, so they are updated as soon as it is computed.
        for y in range(height + 1):
            if y < height:
                for x in range(wide):
                    a, b = slope_x[y, x], slope_y[y, x]
                    s = -(constant[y, x] + a * u[y, x] + b * v[y, x]) * inverse[y, x]
                    s = min(max(s, -reach), reach)
                    c, d = x + _VECTOR, x + _VECTOR - 1
                    du = s * a + theta * (p1[y + 1, c] - p1[y + 1, d] + p2[y + 1, c] - p2[y, c])
                    dv = s * b + theta * (q1[y + 1, c] - q1[y + 1, d] + q2[y + 1, c] - q2[y, c])
                    u[y, x] += du
                    v[y, x] += dv
                    sums[x] += du * du + dv * dv
                for x in range(width, wide + 1):
                    u[y, x] = u[y, width - 1]
                    v[y, x] = v[y, width - 1]
            else:
                u[height] = u[height - 1]
                v[height] = v[height - 1]
            if y == 0:
                continue
            for x in range(wide):
                ux, uy = u[y - 1, x + 1] - u[y - 1, x], u[y, x] - u[y - 1, x]
                vx, vy = v[y - 1, x + 1] - v[y - 1, x], v[y, x] - v[y - 1, x]
                m = unit + rate * np.sqrt(ux * ux + uy * uy)
                n = unit + rate * np.sqrt(vx * vx + vy * vy)
                both = unit / (m * n)  # One division instead of two, the slowest operation here.
                p1[y, x + _VECTOR] = (p1[y, x + _VECTOR] + rate * ux) * (both * n)
                p2[y, x + _VECTOR] = (p2[y, x + _VECTOR] + rate * uy) * (both * n)
                q1[y, x + _VECTOR] = (q1[y, x + _VECTOR] + rate * vx) * (both * m)
                q2[y, x + _VECTOR] = (q2[y, x + _VECTOR] + rate * vy) * (both * m)
        error = 0.0
        for x in range(width):
            error += sums[x]
    return error
