"""Backends of optical flow: TV-L1, by two backends with one definition, and Farnebäck's method for comparison.

The model of TV-L1 is that of Zach, Pock, Bischof: A duality based approach for realtime TV-L1 optical flow, DAGM 2007;
the scheme is that of Sanchez Perez, Meinhardt-Llopis, Facciolo: TV-L1 optical flow estimation, IPOL 2013, as
implemented in OpenCV's DualTVL1OpticalFlow. On every level of a pyramid, from coarse to fine, and for every warping of
the second frame by the current flow (central differences, bicubic interpolation, zero outside the frame):

    rho(u) = I1w + <grad I1w, u - u0> - I0
    v = u + clip(-rho(u) / |grad I1w|^2, -lambda theta, lambda theta) grad I1w      (data term, IPOL eq. 14)
    u = v + theta div p                                                            (Chambolle, IPOL eq. 11)
    p = (p + tau / theta grad u) / (1 + tau / theta |grad u|)                      (IPOL eq. 12)

until the mean square of a step of u is at most epsilon^2. A 5x5 median filters the flow before every 30 such steps, of
which there are at most 300. lambda refers to grey levels of 0 to 255.

The two differ by rounding, a thousandth of a pixel and mostly far less. If rounding decides whether a pair stops
or continues with another median and more steps, its field differs by hundredths of a pixel.

A backend is a function ``solve(first, second, start, settings)``:

- ``first``, ``second``: float32 [H, W] in [0, 1];
- ``start``: float32 [2, H, W], the initial flow, pixels, u right, v down;
- ``settings``: of which TV-L1 uses ``tau, lambda_, theta, scales, step, warps, epsilon``;
- returns float32 [2, H, W]: the point at (x, y) in ``first`` is at (x + u, y + v) in ``second``.
"""

from collections.abc import Callable
from importlib import import_module

import numpy as np

from merflow.preprocessing.settings import FlowSettings

Solver = Callable[[np.ndarray, np.ndarray, np.ndarray, FlowSettings], np.ndarray]

BACKENDS = {
    "opencv": "merflow.preprocessing.tvl1.opencv_backend:solve",
    "numba": "merflow.preprocessing.tvl1.numba_backend:solve",
    "farneback": "merflow.preprocessing.farneback:solve",
}


def backend(name: str) -> Solver:
    """Return the function of a backend; numba is imported by this call only."""
    module, function = BACKENDS[name].split(":")
    solve: Solver = getattr(import_module(module), function)
    return solve
