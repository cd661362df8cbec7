"""Clips of one video that overlap: one piece of footage under two names."""

from collections.abc import Sequence

from merflow.footage.clip import Clip


def shared_frames(clips: Sequence[Clip], videos: Sequence[str]) -> list[tuple[int, int, range]]:
    """Pairs of clips of one video that share frames: their places, in order, and the frame numbers.

    ``videos`` names the recording whose frame numbers each clip has; empty: it shares none.
    """
    intervals: dict[str, list[tuple[int, int, int]]] = {}
    for place, (clip, video) in enumerate(zip(clips, videos, strict=True)):
        if video and clip.onset is not None and clip.offset is not None and clip.onset < clip.offset:
            intervals.setdefault(video, []).append((clip.onset, clip.offset, place))
    pairs = []
    for ordered in map(sorted, intervals.values()):
        for i, (_, last, place) in enumerate(ordered):
            for start, end, other in ordered[i + 1 :]:
                if start > last:
                    break
                pairs.append((min(place, other), max(place, other), range(start, min(last, end) + 1)))
    return sorted(pairs, key=lambda pair: pair[:2])
