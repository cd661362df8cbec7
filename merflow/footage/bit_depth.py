"""Images of more than 8 bits: how many of their bits hold values, because cameras of 10 to 14 bits write 16."""

from collections.abc import Iterable, Mapping

import numpy as np

from merflow.errors import ClipError
from merflow.footage.clip import Clip
from merflow.footage.frames import FrameList, is_video
from merflow.footage.images import read_grey

BIT_DEPTHS = (8, 10, 12, 14, 16)


def largest_values(clips: Iterable[Clip]) -> dict[str, int]:
    """Return the largest grey value of each clip of images of more than 8 bits, by the clip's name.

    The first image tells whether a clip has more than 8 bits; images that cannot be read are skipped.
    """
    largest: dict[str, int] = {}
    for clip in clips:
        if clip.problem or is_video(clip.frames):
            continue
        for number, (file, page) in FrameList(clip.frames).images.items():
            if (clip.onset is None or clip.onset <= number) and (clip.offset is None or number <= clip.offset):
                try:
                    image = read_grey(file, page)
                except ClipError:
                    continue
                if image.dtype == np.uint8:
                    break
                largest[clip.clip] = max(int(image.max()), largest.get(clip.clip, 0))
    return largest


def bits_in_use(largest: Mapping[str, int]) -> int:
    """Return the least of :data:`BIT_DEPTHS` that holds all of :func:`largest_values`; 16 if there are none."""
    return next(bits for bits in BIT_DEPTHS if max(largest.values(), default=65535) < 2**bits)
