"""Neutral faces drawn from a seed: no photograph is needed, and their geometry is known without detection.

Lengths are inter-ocular distances from the point between the pupils, x to the right and y down. Later strokes cover
earlier ones, from the background to the freckles.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from merflow.datasets.synthetic.expressions import Anchors

OVERSAMPLING = 2
"""Pixels of the base picture per pixel of a frame, along one side: frames are sampled with sub-pixel motion."""
MARGIN = 14
"""Border of the base picture around the frame, in pixels of the frame; a drifting head brings it into view."""
EYE_HEIGHT = 0.43
"""Height of the pupils in the frame, as a fraction of its height."""

_PERSON_STREAM = 7
_SKIN = ((150, 175, 220), (130, 160, 205), (105, 140, 190), (80, 110, 160), (60, 85, 130), (48, 68, 104))
_HAIR = ((20, 22, 26), (35, 45, 60), (50, 80, 120), (70, 110, 160), (90, 95, 100))
_IRIS = ((45, 55, 75), (70, 50, 35), (110, 95, 60), (30, 30, 35))

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class BasePicture:
    """A neutral, upright face from which frames are rendered."""

    picture: np.ndarray
    """uint8 BGR, a frame and its :data:`MARGIN` in :data:`OVERSAMPLING` pixels per pixel of the frame."""
    anchors: Anchors


def eye_midpoint(frame_size: int) -> np.ndarray:
    """Return the point between the pupils in a neutral, undrifted frame, in pixels (x, y)."""
    return np.array([(frame_size - 1) / 2, EYE_HEIGHT * frame_size])


def base_side(frame_size: int) -> int:
    """Return the side of the base picture in pixels."""
    return OVERSAMPLING * (frame_size + 2 * MARGIN)


def to_base(points: np.ndarray) -> np.ndarray:
    """Convert pixels of the neutral frame to pixels of the base picture; pixel centres are integers in both."""
    return OVERSAMPLING * (np.asarray(points) + MARGIN + 0.5) - 0.5


_PROPORTIONS = {
    "half_width": (0.98, 1.16),
    "chin": (1.55, 1.8),
    "jaw": (0.55, 0.95),  # How much the face narrows towards the chin, 0 to 1.
    "hairline": (0.28, 0.5),  # Below the top of the head.
    "brow_height": (0.29, 0.36),
    "brow_half_length": (0.27, 0.33),
    "brow_thickness": (0.045, 0.075),
    "brow_tilt": (0.0, 0.035),
    "eye_half_width": (0.19, 0.22),
    "eye_opening": (0.085, 0.12),
    "nose": (0.78, 0.9),
    "nose_half_width": (0.17, 0.22),
    "mouth": (1.12, 1.24),
    "mouth_half_width": (0.36, 0.46),
    "mouth_curve": (-0.04, 0.015),
    "lips": (0.065, 0.095),
}
"""Ranges of the proportions of a face, in inter-ocular distances from the point between the pupils."""


class Proportions(SimpleNamespace):
    """The shape of a face: ``top`` and a value for each name of :data:`_PROPORTIONS`."""

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Proportions":
        """Draw the proportions of a person."""
        top = -rng.uniform(1.15, 1.3)
        face = cls(top=top, **{name: rng.uniform(*limits) for name, limits in _PROPORTIONS.items()})
        face.hairline += top
        return face

    def anchors(self, frame_size: int, interocular_px: float) -> Anchors:
        """Return the landmarks of this face in a neutral, undrifted frame."""

        def place(x: float, y: float) -> np.ndarray:
            return eye_midpoint(frame_size) + interocular_px * np.array([x, y])

        def pair(x: float, y: float) -> np.ndarray:
            return np.stack([place(-x, y), place(x, y)])

        brow = self.brow_half_length
        return Anchors(
            paired={
                "pupil": pair(0.5, 0.0),
                "brow_inner": pair(0.5 - 0.7 * brow, 0.02 - self.brow_height),
                "brow_middle": pair(0.5, -self.brow_height),
                "brow_outer": pair(0.5 + 0.7 * brow, 0.04 - self.brow_height - self.brow_tilt),
                "upper_lid": pair(0.5, -self.eye_opening),
                "lower_lid": pair(0.5, self.eye_opening),
                "cheek": pair(0.52, 0.45),
                "nose_root": pair(0.12, -0.15),
                "nose_wing": pair(self.nose_half_width, self.nose - 0.04),
                "nasolabial": pair(0.40, self.nose + 0.05),
                "upper_lip": pair(0.45 * self.mouth_half_width, self.mouth - self.lips),
                "mouth_corner": pair(self.mouth_half_width, self.mouth + self.mouth_curve),
            },
            central={
                "philtrum": place(0.0, (self.nose + self.mouth) / 2),
                "upper_lip_centre": place(0.0, self.mouth - 0.5 * self.lips),
                "lower_lip_centre": place(0.0, self.mouth + 0.7 * self.lips),
                "chin": place(0.0, self.mouth + 0.32),
            },
        )


class Canvas:
    """A picture that is painted in inter-ocular distances."""

    def __init__(self, frame_size: int, interocular_px: float) -> None:
        """Make an empty picture for frames of ``frame_size`` with ``interocular_px`` between the pupils."""
        side = base_side(frame_size)
        self.unit = OVERSAMPLING * interocular_px
        middle = to_base(eye_midpoint(frame_size))
        self.picture = np.zeros((side, side, 3), np.float32)
        self.x = ((np.arange(side) - middle[0]) / self.unit).astype(np.float32)[None, :]
        self.y = ((np.arange(side) - middle[1]) / self.unit).astype(np.float32)[:, None]

    def view(self, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a writable view of the pixels [h, w, 3] of a box, with their x [1, w] and y [h, 1]."""
        left, right = np.searchsorted(self.x[0], [box[0], box[2]])
        top, bottom = np.searchsorted(self.y[:, 0], [box[1], box[3]])
        return self.picture[top:bottom, left:right], self.x[:, left:right], self.y[top:bottom]

    def dab(self, x: float, y: float, width: float, height: float, colour: np.ndarray, opacity: float) -> None:
        """Paint a soft spot of Gaussian radii ``width`` and ``height``."""
        pixels, right, down = self.view((x - 2.6 * width, y - 2.6 * height, x + 2.6 * width, y + 2.6 * height))
        cover = np.exp(-(((right - x) / width) ** 2)) * np.exp(-(((down - y) / height) ** 2))
        paint(pixels, cover, colour, opacity)

    def grain(self, rng: np.random.Generator, across: float, down: float) -> np.ndarray:
        """Return noise of standard deviation 1, blurred by Gaussians of these sigmas, float32 [side, side]."""
        noise = rng.standard_normal(self.picture.shape[:2], np.float32)
        blurred = cv2.GaussianBlur(noise, (0, 0), sigmaX=across, sigmaY=down)
        return np.asarray(blurred / blurred.std())


def paint(pixels: np.ndarray, cover: Any, colour: Any, opacity: float = 1.0) -> None:
    """Blend a colour, [3] or [h, w, 3], into pixels [h, w, 3] with the weights ``cover`` [h, w]."""
    weight = (opacity * cover).astype(np.float32)[..., None]
    pixels += weight * (np.asarray(colour, np.float32) - pixels)


def inside(distance: np.ndarray, edge: float) -> np.ndarray:
    """Return 1 where ``distance`` is below zero and 0 where it is above, with a soft edge of width ``edge``."""
    return 1 / (1 + np.exp(np.clip(distance / edge, -30, 30)))


def draw_face(seed: int, person: int, frame_size: int = 480, interocular_px: float = 120) -> BasePicture:
    """Draw one person of the demo with this seed; neighbours differ in the colours of skin and hair."""
    rng = np.random.default_rng((seed, _PERSON_STREAM, person))
    canvas = Canvas(frame_size, interocular_px)
    face = Proportions.random(rng)
    skin = np.array(_SKIN[(person + seed) % len(_SKIN)], np.float32) * rng.uniform(0.92, 1.08)
    # The detector misses dark faces under light hair, which are rare.
    hairs = _HAIR[:2] if skin.mean() < 110 else _HAIR
    hair = np.array(hairs[rng.integers(len(hairs))], np.float32) * rng.uniform(0.8, 1.2)

    _background(canvas, face, rng)
    strands = 1 + 0.10 * canvas.grain(rng, 1.2, 14)[..., None]
    _back_of_head(canvas, face, skin, hair * strands, rng)
    _head(canvas, face, skin, rng)
    _fringe(canvas, face, hair * strands, rng)
    iris = np.array(_IRIS[rng.integers(len(_IRIS))], np.float32)
    for side in (-1, 1):
        _eye(canvas, face, side, skin, iris)
        _brow(canvas, face, side, 0.75 * hair + 0.06 * skin)
        _half_nose_and_fold(canvas, face, side, skin)
    _nose(canvas, face, skin)
    _mouth(canvas, face, skin)
    if rng.random() < 0.25:
        _beard(canvas, face, 0.7 * hair)
    _skin_texture(canvas, face, rng)
    picture = cv2.GaussianBlur(np.clip(canvas.picture, 0, 255), (0, 0), 0.5 * OVERSAMPLING)
    return BasePicture(np.round(picture).astype(np.uint8), face.anchors(frame_size, interocular_px))


def _background(canvas: Canvas, face: Proportions, rng: np.random.Generator) -> None:
    """A plain wall, a little darker at the top, and the shoulders in a shirt."""
    wall = np.full(3, rng.uniform(90, 215)) + rng.normal(0, 8, 3)
    canvas.picture[:] = (wall * (1 + 0.04 * canvas.y[..., None])).astype(np.float32)
    shirt = rng.uniform(40, 220, 3)
    pixels, x, y = canvas.view((-9, face.chin, 9, 9))
    paint(pixels, inside(face.chin + 0.22 + 0.16 * x**2 - y, 0.01), shirt)


def _outline(face: Proportions, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distance from the contour of the face, relative to its size (below 0: inside), and relative (x, y)."""
    middle, half_height = (face.top + face.chin) / 2, (face.chin - face.top) / 2
    down = np.clip((y - middle) / half_height, -1.2, 1.2)
    width = face.half_width * (1 - 0.42 * face.jaw * np.clip(down, 0, 1) ** 2.2)
    across = x / width
    return np.abs(across) ** 2.3 + np.abs(down) ** 2.6 - 1, across, down


def _skull(canvas: Canvas, face: Proportions, width: float, height: float) -> np.ndarray:
    """Return the ellipse of the hair; ``width`` and ``height`` are relative to the face."""
    middle, half_height = (face.top + face.chin) / 2, (face.chin - face.top) / 2
    across, down, centre = width * face.half_width, height * half_height, middle - 0.12 * half_height
    return inside((canvas.x / across) ** 2 + ((canvas.y - centre) / down) ** 2 - 1, 0.04)


def _back_of_head(
    canvas: Canvas, face: Proportions, skin: np.ndarray, hair: np.ndarray, rng: np.random.Generator
) -> None:
    """Long or short hair behind the face, neck, ears."""
    long = rng.random() < 0.45
    paint(canvas.picture, _skull(canvas, face, rng.uniform(1.12, 1.3), 1.3 if long else 1.12), 0.9 * hair)
    pixels, x, y = canvas.view((-1.2, 0.5, 1.2, face.chin + 1.2))
    collar = face.chin + 0.42 - 0.5 * (x / face.half_width) ** 2
    paint(pixels, inside(np.abs(x) - 0.56 * face.half_width, 0.02) * inside(y - collar, 0.012), 0.72 * skin)
    for middle in (-face.half_width, face.half_width):
        pixels, x, y = canvas.view((middle - 0.3, -0.3, middle + 0.3, 0.7))
        paint(pixels, inside(((x - middle) / 0.1) ** 2 + ((y - 0.18) / 0.26) ** 2 - 1, 0.1), 0.82 * skin)


def _head(canvas: Canvas, face: Proportions, skin: np.ndarray, rng: np.random.Generator) -> None:
    """The face, shaded so that it looks round, with one side lighter than the other."""
    lean = rng.uniform(-0.16, 0.16)
    pixels, x, y = canvas.view((-1.1 * face.half_width, face.top - 0.1, 1.1 * face.half_width, face.chin + 0.1))
    distance, across, down = _outline(face, x, y)
    shade = 1.04 - 0.30 * np.clip(np.abs(across), 0, 1.2) ** 3 - 0.08 * np.clip(down, -1, 1) + lean * across
    paint(pixels, inside(distance, 0.05), skin * shade[..., None])


def _fringe(canvas: Canvas, face: Proportions, hair: np.ndarray, rng: np.random.Generator) -> None:
    """Hair above the hairline; some have none."""
    slant, bow = rng.uniform(-0.1, 0.1), rng.uniform(-0.07, 0.22)
    if rng.random() < 0.88:
        across = canvas.x / face.half_width
        above = canvas.y - face.hairline - slant * canvas.x / face.half_width - bow * across**2
        paint(canvas.picture, inside(above, 0.035) * _skull(canvas, face, 1.1, 1.08), hair)


def _eye(canvas: Canvas, face: Proportions, side: int, skin: np.ndarray, iris: np.ndarray) -> None:
    """Socket, eyeball, iris with its highlight, and lids."""
    centre, radius, half_width = 0.5 * side, face.eye_opening, face.eye_half_width
    canvas.dab(centre, -0.04, 0.34, 0.17, 0.62 * skin, 0.55)
    canvas.dab(centre, 0.17, 0.25, 0.06, 0.70 * skin, 0.35)
    pixels, x, y = canvas.view((centre - 0.3, -0.3, centre + 0.3, 0.3))
    lid = np.maximum(radius * (1 - 0.85 * ((x - centre) / half_width) ** 2), 0)
    between_lids = inside(np.abs(y) - lid, 0.008) * inside(np.abs(x - centre) - half_width, 0.008)

    def disc(size: float, right: float = 0.0, up: float = 0.0, edge: float = 0.008) -> Any:
        return inside(np.hypot(x - centre - right, y + up) - size, edge) * between_lids

    def line(height: Any, thickness: float, reach: float) -> Any:
        return np.exp(-(((y - height) / thickness) ** 2)) * inside(np.abs(x - centre) - reach * half_width, 0.014)

    paint(pixels, between_lids, (225, 228, 232), 0.95)
    paint(pixels, disc(radius), iris)
    paint(pixels, disc(0.45 * radius, edge=0.007), (12, 12, 12))
    paint(pixels, disc(0.14 * radius, 0.25 * radius, 0.25 * radius, 0.005), (245, 245, 245), 0.9)
    paint(pixels, line(-lid, 0.022, 1.06), (22, 24, 28), 0.95)
    paint(pixels, line(lid, 0.014, 1.0), 0.4 * skin, 0.45)
    paint(pixels, line(-1.7 * lid - 0.02, 0.016, 1.0), 0.5 * skin, 0.5)


def _brow(canvas: Canvas, face: Proportions, side: int, colour: np.ndarray) -> None:
    """An arch that thins outwards."""
    centre = 0.5 * side
    pixels, x, y = canvas.view((centre - 0.55, -0.6, centre + 0.55, -0.05))
    along = (x - centre) / face.brow_half_length
    height = -face.brow_height + 0.06 * along**2 - face.brow_tilt * side * along
    thickness = face.brow_thickness * (1 - 0.35 * np.clip(side * along, -1, 1))
    paint(pixels, np.exp(-(((y - height) / thickness) ** 4)) * inside(np.abs(along) - 1, 0.1), colour, 0.93)


def _half_nose_and_fold(canvas: Canvas, face: Proportions, side: int, skin: np.ndarray) -> None:
    """Side of the nose, wing, nostril, nasolabial fold, cheek."""
    canvas.dab(0.13 * side, 0.35, 0.06, 0.34, 0.72 * skin, 0.42)
    canvas.dab(face.nose_half_width * side, face.nose - 0.03, 0.045, 0.09, 0.62 * skin, 0.5)
    canvas.dab(0.105 * side, face.nose, 0.055, 0.030, 0.28 * skin, 0.9)
    pixels, x, y = canvas.view((-0.8, face.nose - 0.35, 0.8, face.nose + 0.6))
    line = 0.27 + 0.45 * (y - face.nose)
    fold = np.exp(-(((side * x - line) / 0.035) ** 2)) * inside(np.abs(y - face.nose - 0.13) - 0.2, 0.05)
    paint(pixels, fold, 0.6 * skin, 0.28)
    canvas.dab(0.55 * side, 0.5, 0.22, 0.16, skin * np.array([0.98, 1.02, 1.10], np.float32), 0.3)


def _nose(canvas: Canvas, face: Proportions, skin: np.ndarray) -> None:
    """Light bridge and tip, dark base and philtrum."""
    canvas.dab(0, 0.3, 0.045, 0.34, np.minimum(1.18 * skin, 250), 0.5)
    canvas.dab(0, face.nose - 0.06, 0.11, 0.07, np.minimum(1.15 * skin, 250), 0.45)
    canvas.dab(0, face.nose + 0.055, 0.19, 0.04, 0.58 * skin, 0.45)
    canvas.dab(0, face.nose + 0.16, 0.04, 0.08, 0.7 * skin, 0.25)


def _mouth(canvas: Canvas, face: Proportions, skin: np.ndarray) -> None:
    """Upper lip with its bow, lower lip, the line between them, the shadow below."""
    lip = skin * np.array([0.80, 0.70, 0.95], np.float32)
    pixels, x, y = canvas.view((-0.75, face.mouth - 0.35, 0.75, face.mouth + 0.35))
    along = x / face.mouth_half_width
    line = face.mouth + face.mouth_curve * along**2
    height = face.lips * (1 - along**2) * (1 - 0.25 * np.exp(-((along / 0.18) ** 2)))
    upper = inside(np.maximum(line - height - y, y - line), 0.012) * inside(np.abs(along) - 1, 0.08)
    paint(pixels, upper, 0.86 * lip, 0.85)
    height = 1.35 * face.lips * (1 - along**2)
    lower = inside(np.maximum(line - y, y - line - height), 0.012) * inside(np.abs(along) - 0.96, 0.08)
    paint(pixels, lower, 1.05 * lip, 0.85)
    gap = np.exp(-(((y - line) / 0.016) ** 2)) * inside(np.abs(along) - 1.04, 0.07)
    paint(pixels, gap, 0.22 * skin, 0.95)
    canvas.dab(0, face.mouth + 0.21, 0.26, 0.045, 0.6 * skin, 0.4)


def _beard(canvas: Canvas, face: Proportions, colour: np.ndarray) -> None:
    """Stubble below the nose, thin around the lips."""
    pixels, x, y = canvas.view((-1.3, face.nose - 0.4, 1.3, face.chin + 0.2))
    distance, _, _ = _outline(face, x, y)
    lips = np.exp(-((x / face.mouth_half_width) ** 4)) * np.exp(-(((y - face.mouth) / (1.6 * face.lips)) ** 4))
    stubble = inside(distance, 0.08) * inside(face.nose + 0.1 - y, 0.07) * (1 - 0.6 * lips)
    paint(pixels, stubble, colour, 0.28)


def _skin_texture(canvas: Canvas, face: Proportions, rng: np.random.Generator) -> None:
    """Pores, blotches, moles and light from one side: the texture that optical flow needs."""
    texture = sum(
        strength * canvas.grain(rng, width * OVERSAMPLING / 2, width * OVERSAMPLING / 2)
        for strength, width in ((0.030, 1.5), (0.022, 4.0), (0.012, 12.0))
    )
    towards = rng.uniform(0, 2 * np.pi)
    span = canvas.x[0, -1] - canvas.x[0, 0]
    ramp = rng.uniform(0, 0.2) * (canvas.x * np.cos(towards) + canvas.y * np.sin(towards)) / span
    body = np.maximum(_skull(canvas, face, 1.2, 1.2), inside(face.chin - canvas.y, 0.1))
    canvas.picture *= ((1 + (0.3 + 0.7 * body) * texture) * (1 + ramp))[..., None].astype(np.float32)
    for _ in range(rng.integers(3, 9)):
        x, y, size = rng.uniform(-0.7, 0.7), rng.uniform(-0.5, 1.3), rng.uniform(0.012, 0.025)
        canvas.dab(x, y, size, size, np.zeros(3, np.float32), rng.uniform(0.15, 0.35))
