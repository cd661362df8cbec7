"""Resizing by the area that a pixel covers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from merflow.preprocessing.resize import area_resize


@settings(max_examples=40, deadline=None)
@given(size=st.integers(2, 40), side=st.integers(2, 40), seed=st.integers(0, 99))
def test_area_resize_averages_pixels(size, side, seed):
    image = np.random.default_rng(seed).random((2, size, size))
    resized = area_resize(image, side)
    # By definition: repeat each pixel `side` times, average blocks of `size`.
    fine = image.repeat(side, axis=1).repeat(side, axis=2).reshape(2, side, size, side, size)
    np.testing.assert_allclose(resized, fine.mean(axis=(2, 4)), rtol=1e-5, atol=1e-6)
    assert resized.dtype == np.float32
