"""Class sets: which labels of a dataset take part in a study, their classes there, and how many clips are expected."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from merflow.datasets.folders import subject_number
from merflow.datasets.layout import ClassSetPart
from merflow.datasets.registry import COMPOSITES, LABEL, LAYOUTS
from merflow.errors import ConfigError


@dataclass(frozen=True)
class ClassSet:
    """Which labels take part, and in which class."""

    name: str  # as in the configuration; ``own`` for a user's map, empty if every label or a list of labels takes part
    classes: tuple[str, ...]  # the classes, in order; empty: those of the dataset
    parts: Mapping[str, ClassSetPart] = field(default_factory=dict)
    user_map: ClassSetPart | None = None

    def part(self, layout: str) -> ClassSetPart | None:
        """Column and map for a layout; None if it keeps its own words."""
        return self.parts.get(layout, self.user_map)

    def published(self, layout: str) -> ClassSetPart | None:
        """The part of a layout, if counts were published for it."""
        part = self.parts.get(layout)
        return part if part and part.counts else None

    def excludes(self, layout: str, subject: str, name: str) -> bool:
        """Whether the set leaves a clip out by name."""
        part = self.part(layout)
        return part is not None and (subject_number(subject), name) in part.excluded

    def column(self, layout: str) -> str:
        """Column of the label, as in ``source_{column}``."""
        part = self.part(layout)
        return part.column if part else default_column(layout)

    def words(self, layout: str) -> list[str]:
        """The label words that :meth:`classify` accepts."""
        part = self.part(layout)
        return list(LAYOUTS[layout].labels.get(self.column(layout)) or (part.classes if part else self.classes))

    def classify(self, layout: str, word: str) -> str | None:
        """The class of a label word: empty if the set leaves it out, None if the layout has no such word."""
        words = LAYOUTS[layout].labels.get(self.column(layout))
        part = self.part(layout)
        plain = plain_word(layout, word)
        if part is not None:
            if plain in part.classes:
                return part.classes[plain]
            return "" if (plain in words if words else part is self.user_map) else None
        if words is None:  # The user's own words, as they are written.
            return word if not self.classes or word in self.classes else None
        if plain not in words:
            return None
        return plain if not self.classes or plain in self.classes else ""


def class_sets() -> dict[str, ClassSet]:
    """Every class set that a configuration may name, from the layouts of the registry."""
    sets: dict[str, ClassSet] = {}
    for layout, entry in LAYOUTS.items():
        for name, part in entry.class_sets.items():
            classes = tuple(part.counts or filter(None, dict.fromkeys(part.classes.values())))
            first = sets.setdefault(name, ClassSet(name, classes))
            sets[name] = replace(first, parts={**first.parts, layout: part})
    return sets


def published_as(layouts: Collection[str], classes: Collection[str]) -> str | None:
    """``dataset`` in evaluation/published.csv of the clips of these layouts and classes; None if there is none."""
    for labels in class_sets().values():
        if set(labels.classes) != set(classes) or not set(layouts) <= set(labels.parts):
            continue
        if len(layouts) == 1:
            name = labels.parts[next(iter(layouts))].published_as
        else:
            name = COMPOSITES.get(labels.name, "")
            joined = {layout for layout, part in labels.parts.items() if part.published_as != name}
            name = name if set(layouts) == joined else ""
        if name:
            return name
    return None


def default_column(layout: str) -> str:
    """The column of the labels if a class set names none."""
    return next(iter(LAYOUTS[layout].labels), LABEL)


def plain_word(layout: str, word: str) -> str:
    """A label word in lower case, in the layout's spelling; whole numbers without decimals."""
    word = re.sub(r"\s+", " ", word.strip()).lower()
    if re.fullmatch(r"\d+\.0+", word):
        word = word.split(".")[0]
    return LAYOUTS[layout].spellings.get(word, word)


def class_set(classes: Any, where: str, layout: str, *, alone: bool = True) -> ClassSet:
    """The class set that a configuration names: by name, a list of labels, or ``{column, map}``; None: every label.

    If the dataset is ``alone``, it must have every label that is named.

    Raises:
        ConfigError: there is no such set, or it does not include this layout; ``where`` is the key that names it.
    """
    if not classes:
        return ClassSet("", ())
    labels = LAYOUTS[layout].labels
    if isinstance(classes, str):
        named = class_sets()
        if classes not in named:
            raise ConfigError(f"{where}: no class set {classes!r}; there are: {', '.join(named)}")
        if labels and layout not in named[classes].parts:
            fitting = ", ".join(LAYOUTS[layout].class_sets)
            raise ConfigError(f"{where}: {classes} does not include layout {layout}; sets that do: {fitting}")
        return named[classes]
    if isinstance(classes, Mapping):
        mapping = {plain_word(layout, str(word)): str(name) for word, name in classes["map"].items()}
        column = plain_name(classes.get("column") or default_column(layout))
        if alone:
            _check_words(list(mapping), labels.get(column), where)
        return ClassSet("own", tuple(dict.fromkeys(mapping.values())), user_map=ClassSetPart(column, mapping))
    if not labels:
        return ClassSet("", tuple(classes))
    words = tuple(plain_word(layout, str(word)) for word in classes)
    if alone:
        _check_words(words, labels[default_column(layout)], where)
    return ClassSet("", words)


def _check_words(words: Sequence[str], allowed: Sequence[str] | None, where: str) -> None:
    """Raise if a configuration names a label that the dataset does not have."""
    if allowed is not None and (unknown := [word for word in words if word not in allowed]):
        raise ConfigError(f"{where}: no label {', '.join(unknown)} in the dataset; there are: {', '.join(allowed)}")


def similar_word(word: str, words: Collection[str]) -> str:
    """The word among ``words`` that differs from ``word`` in a few letters or in case; empty if there is none."""
    others = {other.casefold(): other for other in words if other != word}
    return next((others[near] for near in difflib.get_close_matches(word.casefold(), others, 1, 0.8)), "")


def plain_name(column: str) -> str:
    """A column's name as the end of ``source_*``: ``OnsetFrame`` and ``Onset Frame`` become ``onset_frame``."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column.strip())
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")
