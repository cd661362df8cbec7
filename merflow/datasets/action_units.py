"""Action units as annotators write them, read into one notation: ``L12B+R14``, ``4``.

The number is the unit of FACS (Ekman, Friesen, Hager 2002): 43 and 45 are of the eyes, from 50 on of head and gaze.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

COLUMNS = ("action_units", "au", "aus")
"""Columns of annotations that hold them, as :func:`merflow.datasets.labels.plain_name` writes their names."""
NOT_CODED = ("", "nan", "null")
NONE = "none"
"""Notation of a clip that was coded and shows no unit for certain."""
TOKEN = re.compile(
    r"(?:AU)?(?P<side>L/A|[LRTBA])?(?P<number>[1-9]\d?)(?:\.0)?"
    r"(?P<intensity>[A-E](?:/[A-E])?|\([A-E](?:/[A-E])?\))?(?P<held>\(K\))?"
)
DOUBT = re.compile(r"(?:\d|OR|REF|LOSES|AU|[LRTBAC-EK/()?+\s])+")
"""What is left of a token with a number that is no unit for certain: ``12A or 14A``, ``23/24``, ``13?``, ``ref(7)``."""


@dataclass(frozen=True)
class Unit:
    """One action unit. ``side``: L, R, T(op), B(ottom), A (symmetric) or ``L/A``; ``intensity``: A to E or ``B/C``."""

    number: int
    side: str = ""
    intensity: str = ""

    def __str__(self) -> str:
        """Return the notation, such as ``L12B``."""
        return f"{self.side}{self.number}{self.intensity}"


@dataclass(frozen=True)
class Coding:
    """The units of a clip for certain, and what else the annotator wrote: alternatives and doubts, and plain words."""

    units: tuple[Unit, ...]
    uncertain: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the notation of the units, :data:`NONE` if there is none."""
        return "+".join(map(str, self.units)) or NONE

    @property
    def numbers(self) -> frozenset[int]:
        """Numbers of the units."""
        return frozenset(unit.number for unit in self.units)


def parse(text: str) -> Coding | None:
    """Read the cell of an annotation; None if the clip was not coded, which is not the same as no unit.

    Units are separated by ``+``, comma or semicolon. A unit that is held from before, ``12(k)``, is not shown.
    """
    text = unicodedata.normalize("NFKC", text).strip()
    if text.casefold() in NOT_CODED:
        return None
    units: dict[Unit, None] = {}
    uncertain, words = [], []
    for token in _tokens("" if text.casefold() == NONE else text):
        if match := TOKEN.fullmatch(re.sub(r"\s", "", token).upper()):
            if not match["held"]:
                units[Unit(int(match["number"]), match["side"] or "", (match["intensity"] or "").strip("()"))] = None
        elif re.search(r"\d", token) and DOUBT.fullmatch(token.upper()):
            uncertain.append(token)
        else:
            words.append(token)
    return Coding(tuple(units), tuple(uncertain), tuple(words))


def _tokens(text: str) -> Iterator[str]:
    """Yield the parts between separators that stand outside parentheses."""
    depth, token = 0, ""
    for letter in text + "+":
        depth = max(0, depth + (letter == "(") - (letter == ")"))
        if letter in "+,;" and (not depth or letter == ";"):
            if token.strip():
                yield token.strip()
            token = ""
        else:
            token += letter
    if token.strip("+ "):
        yield token.strip("+ ")  # A parenthesis is not closed.


def unit_column(source: Mapping[str, str]) -> str | None:
    """The column of an annotation that holds action units; None if it has none."""
    return next((name for name in COLUMNS if name in source), None)


def unit_cells(source: Mapping[str, str]) -> dict[str, str]:
    """The columns ``action_units`` and ``action_units_uncertain`` of an annotation; none if it has no units.

    Both are empty if the clip was not coded; ``action_units`` is :data:`NONE` if it was and shows no unit for certain.
    """
    name = unit_column(source)
    coding = parse(source[name]) if name else None
    cells = (str(coding), "; ".join(coding.uncertain)) if coding else ("", "")
    return dict(zip(("action_units", "action_units_uncertain"), cells, strict=True)) if name else {}


def unit_name(number: int) -> str:
    """The name of a unit as a class of a system: ``AU4``."""
    return f"AU{number}"


def as_label(names: Iterable[str]) -> str:
    """Names of units as the label of a clip: ``AU1+AU4``, or :data:`NONE`."""
    return "+".join(names) or NONE


def unit_labels(cells: Sequence[str], units: Sequence[int]) -> list[str]:
    """The label of each clip, from its cell ``action_units``: those of ``units`` that it shows; empty if not coded."""
    codings = map(parse, cells)
    return [as_label(unit_name(n) for n in units if n in coding.numbers) if coding else "" for coding in codings]


def unit_doubts(source: Mapping[str, str]) -> str:
    """What of the action units of an annotation names no unit for certain, as a sentence; empty if nothing does."""
    name = unit_column(source)
    coding = parse(source[name]) if name else None
    if coding is None:
        return ""
    parts = {"uncertain, counted as no unit": coding.uncertain, "no unit": coding.words}
    return "; ".join(f"{', '.join(map(repr, tokens))}: {text}" for text, tokens in parts.items() if tokens)
