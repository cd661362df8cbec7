"""TV-L1 optical flow by three backends with one meaning.

The model is that of Zach, Pock, Bischof: A duality based approach for realtime TV-L1 optical flow, DAGM 2007; the
scheme is that of Sanchez Perez, Meinhardt-Llopis, Facciolo: TV-L1 optical flow estimation, IPOL 2013, as OpenCV's
DualTVL1OpticalFlow runs it. On every level of a pyramid, from coarse to fine, and for every warping of the second
frame by the flow so far (central differences, bicubic interpolation, nothing outside of the frame):

    rho(u) = I1w + <grad I1w, u - u0> - I0
    v = u + clip(-rho(u) / |grad I1w|^2, -lambda theta, lambda theta) grad I1w      (data term, IPOL eq. 14)
    u = v + theta div p                                                            (Chambolle, IPOL eq. 11)
    p = (p + tau / theta grad u) / (1 + tau / theta |grad u|)                      (IPOL eq. 12)

until the mean square of a step of u is at most epsilon^2. A 5x5 median cleans the flow before every 30 such steps, of
which there are at most 300. lambda is meant for grey levels of 0 to 255.

The backends differ by rounding, a thousandth of a pixel and mostly far less. Only where rounding decides whether a pair
stops or takes another median and more steps does a field differ by hundredths of a pixel.

A backend is a function ``solve(first, second, start, options)``:

- ``first``, ``second``: float32 [N, H, W] in [0, 1], the frames of N pairs;
- ``start``: float32 [N, 2, H, W], a flow to begin with, pixels, u right, v down;
- ``options``: ``tau, lambda, theta, scales, step, warps, epsilon``;
- returns float32 [N, 2, H, W]: what is at (x, y) in ``first`` is at (x + u, y + v) in ``second``.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

__all__ = ["BACKENDS", "INNER", "MEDIAN", "OUTER", "Solver", "backend"]

Solver = Callable[[np.ndarray, np.ndarray, np.ndarray, Mapping[str, Any]], np.ndarray]

BACKENDS = {
    "opencv": "merflow.preprocessing.tvl1.opencv_backend:solve",
    "numba": "merflow.preprocessing.tvl1.numba_backend:solve",
    "torch": "merflow.preprocessing.tvl1.torch_backend:solve",
}

OUTER, INNER, MEDIAN = 10, 30, 5
"""At most so many rounds of so many steps per warping, and the side of the median before each round; as in OpenCV."""
SMALLEST = 16
"""A pyramid has no level with a side under this; as in OpenCV."""


def backend(name: str) -> Solver:
    """The function of a backend; what it needs (numba, torch) is imported now and not before."""
    module, function = BACKENDS[name].split(":")
    solve: Solver = getattr(import_module(module), function)
    return solve
