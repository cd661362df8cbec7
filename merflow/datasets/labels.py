"""Class sets: which labels of a dataset take part in a study, what they are called there, and how many there should be.

A set names, for each layout, the column its labels stand in and the class of each label. Where a publication states the
number of clips of each class, the set holds it, and the report shows expected beside found.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from merflow.errors import ConfigError

EMOTION = "estimated_emotion"
OBJECTIVE = "objective_classes"
TREE = "emotion"
LABEL = "label"

VOCABULARY: dict[str, dict[str, tuple[str, ...]]] = {
    "mmew-micro": {EMOTION: ("happiness", "surprise", "disgust", "others", "fear", "sadness", "anger")},
    "mmew-macro": {TREE: ("happiness", "surprise", "disgust", "fear", "sadness", "anger")},
    "samm": {
        EMOTION: ("anger", "happiness", "other", "surprise", "contempt", "disgust", "fear", "sadness"),
        OBJECTIVE: ("1", "2", "3", "4", "5", "6", "7"),
    },
    "casme2": {EMOTION: ("happiness", "disgust", "repression", "surprise", "others", "sadness", "fear")},
    "smic-hs": {TREE: ("negative", "positive", "surprise")},
    "ck-plus": {TREE: ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")},
}
"""The words that a layout's label columns hold; the first column is the one that is used where none is named. Layouts
that are not here (manifest, flow images) hold the user's own words, in the column ``label``."""

SPELLINGS = {"mmew-micro": {"repression": "others", "other": "others"}, "casme2": {"other": "others"}}
SPELLINGS |= {"samm": {"others": "other"}, "ck-plus": {"happy": "happiness"}}
"""Other spellings of a word that occur in copies of a dataset."""


@dataclass(frozen=True)
class Counts:
    """Published numbers of clips, by class, and of subjects where they are stated."""

    clips: Mapping[str, int]
    subjects: int | None
    source: str


@dataclass(frozen=True)
class ClassSet:
    """Which labels take part, and under which class.

    Attributes:
        name: as in the configuration; ``own`` for a user's map, empty where every label of the dataset takes part.
        classes: the classes, in order; empty: those that are found.
        maps: for each layout the column of the label and the class of each of its words. A layout that is not named
            keeps the words of its own that are among ``classes``.
        counts: for each layout what was published.
        excluded: for each layout the (subject number, file name) of clips that the set's rule leaves out.
    """

    name: str
    classes: tuple[str, ...]
    maps: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    counts: Mapping[str, Counts] = field(default_factory=dict)
    excluded: Mapping[str, frozenset[tuple[int, str]]] = field(default_factory=dict)

    def column(self, layout: str) -> str:
        """Column of the label, as in ``source_{column}``."""
        if layout in self.maps:
            return self.maps[layout][0]
        if "" in self.maps:
            return self.maps[""][0]
        return next(iter(VOCABULARY.get(layout, {LABEL: ()})))

    def words(self, layout: str) -> list[str]:
        """The words that :meth:`classify` knows: those of the column, else of the set's map, else the classes."""
        known = VOCABULARY.get(layout, {}).get(self.column(layout))
        mapping = self.maps.get(layout, self.maps.get(""))
        return list(known or (mapping[1] if mapping else self.classes))

    def classify(self, layout: str, word: str) -> str | None:
        """The class of a label word: empty where the set leaves it out, None where the layout has no such word."""
        known = VOCABULARY.get(layout, {}).get(self.column(layout))
        mapping = self.maps.get(layout, self.maps.get(""))
        plain = plain_word(layout, word)
        if mapping is not None:
            if plain in mapping[1]:
                return mapping[1][plain]
            return "" if (plain in known if known else self.name == "own") else None
        if known is None:  # The user's own words, as they are written.
            return word if not self.classes or word in self.classes else None
        if plain not in known:
            return None
        return plain if not self.classes or plain in self.classes else ""


def plain_word(layout: str, word: str) -> str:
    """A label word in lower case, in the spelling of the vocabulary; whole numbers without decimals."""
    word = re.sub(r"\s+", " ", word.strip()).lower()
    if re.fullmatch(r"\d+\.0+", word):
        word = word.split(".")[0]
    return SPELLINGS.get(layout, {}).get(word, word)


def _same(*words: str) -> dict[str, str]:
    return {word: word for word in words}


_MMEW = "Ben et al., TPAMI 2021 (release of MMEW)"
_SAMM = "SAMM, release 2 of the annotation"
_CK = "Lucey et al., CVPR workshops 2010"
_MEGC = "See, Yap, Li, Hong, Wang: MEGC 2019"
_NEGATIVE = ("disgust", "repression", "anger", "contempt", "fear", "sadness")
_THREE = {word: "negative" for word in _NEGATIVE} | {"happiness": "positive", "surprise": "surprise"}
_TSDGCN_FIVE = ("happiness", "surprise", "disgust", "fear", "sadness")
_MMEW_COUNTS = {"happiness": 36, "surprise": 89, "disgust": 72, "others": 66, "fear": 16, "sadness": 13, "anger": 8}
_CK_COUNTS = {
    "anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happiness": 69, "sadness": 28, "surprise": 83,
}  # fmt: skip


def _simple(
    name: str, layout: str, classes: Sequence[str], counts: Mapping[str, int] | None, subjects: int | None, source: str
) -> ClassSet:
    """A set that keeps some words of a layout's first column."""
    published = {} if counts is None else {layout: Counts({c: counts[c] for c in classes}, subjects, source)}
    return ClassSet(name, tuple(classes), {layout: (next(iter(VOCABULARY[layout])), _same(*classes))}, published)


_SETS = [
    _simple("mmew-5", "mmew-micro", _TSDGCN_FIVE, _MMEW_COUNTS, None, _MMEW),
    _simple("mmew-6", "mmew-micro", (*_TSDGCN_FIVE, "anger"), _MMEW_COUNTS, None, _MMEW),
    _simple("mmew-4", "mmew-micro", ("happiness", "surprise", "disgust", "others"), _MMEW_COUNTS, None, _MMEW),
    _simple("mmew-macro-5", "mmew-macro", _TSDGCN_FIVE, None, None, _MMEW),
    ClassSet(
        "samm-5-objective",
        ("happiness", "surprise", "anger", "disgust", "fear"),
        {"samm": (OBJECTIVE, {"1": "happiness", "2": "surprise", "3": "anger", "4": "disgust", "6": "fear"})},
        {
            "samm": Counts(
                {"happiness": 24, "surprise": 13, "anger": 20, "disgust": 8, "fear": 7},
                21,
                "Tang, Chai, Lu, arXiv 2203.05208; Objective Classes 1, 2, 3, 4, 6",
            )
        },
    ),
    _simple(
        "samm-estimated",
        "samm",
        VOCABULARY["samm"][EMOTION],
        dict(zip(VOCABULARY["samm"][EMOTION], (57, 26, 26, 15, 12, 9, 8, 6), strict=True)),
        29,
        _SAMM,
    ),
    _simple(  # The emotions with ten clips or more: what most papers since 2017 call SAMM with five classes.
        "samm-5-estimated",
        "samm",
        VOCABULARY["samm"][EMOTION][:5],
        dict(zip(VOCABULARY["samm"][EMOTION], (57, 26, 26, 15, 12), strict=False)),
        None,
        _SAMM,
    ),
    _simple(
        "casme2-5",
        "casme2",
        ("happiness", "disgust", "repression", "surprise", "others"),
        {"happiness": 32, "disgust": 63, "repression": 27, "surprise": 25, "others": 99},
        None,
        "Yan et al., PLoS ONE 2014 (CASME II, coding of 2014-05-08)",
    ),
    _simple(
        "smic-3",
        "smic-hs",
        ("negative", "positive", "surprise"),
        {"negative": 70, "positive": 51, "surprise": 43},
        16,
        "Li et al., FG 2013 (SMIC-HS)",
    ),
    # The TSDGCN paper pre-trains on CK+ for SAMM and does not name the classes: these are the ones of its SAMM set.
    _simple("ck-plus-5", "ck-plus", ("happiness", "surprise", "anger", "disgust", "fear"), _CK_COUNTS, None, _CK),
    _simple("ck-plus-7", "ck-plus", tuple(_CK_COUNTS), _CK_COUNTS, None, _CK),
    ClassSet(
        "megc2019",
        ("negative", "positive", "surprise"),
        {
            "casme2": (EMOTION, {word: _THREE[word] for word in ("happiness", "surprise", "disgust", "repression")}),
            "samm": (EMOTION, {word: name for word, name in _THREE.items() if word != "repression"}),
            "smic-hs": (TREE, _same("negative", "positive", "surprise")),
            "flow-images": (
                LABEL,
                _THREE
                | _same("negative", "positive", "surprise")
                | {"0": "negative", "1": "positive", "2": "surprise", "others": "", "other": ""},
            ),
        },
        {
            "casme2": Counts({"negative": 88, "positive": 32, "surprise": 25}, 24, _MEGC),
            "samm": Counts({"negative": 92, "positive": 26, "surprise": 15}, 28, _MEGC),
            "smic-hs": Counts({"negative": 70, "positive": 51, "surprise": 43}, 16, _MEGC),
            "flow-images": Counts({"negative": 250, "positive": 109, "surprise": 83}, 68, _MEGC),
        },
        {"casme2": frozenset({(4, "EP12_01f"), (5, "EP09_05f")})},
    ),
]
CLASS_SETS: dict[str, ClassSet] = {one.name: one for one in _SETS}
"""Every class set that a configuration may name."""


def class_set(classes: Any, where: str, layout: str, *, alone: bool = True) -> ClassSet:
    """The class set that a configuration asks for.

    Args:
        classes: name of a set, list of labels, ``{column, map}`` of the user's own, or None: every label takes part.
        where: key of the configuration, for the message.
        layout: layout of the dataset.
        alone: whether this dataset must have every label that is named; of several, one of them must.

    Raises:
        ConfigError: no such set, or one that is made for other datasets.
    """
    if not classes:
        return ClassSet("", ())
    if isinstance(classes, str):
        if classes not in CLASS_SETS:
            raise ConfigError(f"{where}: no class set {classes!r}; there are: {', '.join(CLASS_SETS)}")
        chosen = CLASS_SETS[classes]
        if layout in VOCABULARY and layout not in chosen.maps:
            fitting = [name for name, one in CLASS_SETS.items() if layout in one.maps]
            raise ConfigError(f"{where}: {classes} is not made for layout {layout}; made for it: {', '.join(fitting)}")
        return chosen
    words = [plain_word(layout, str(word)) for word in (classes["map"] if isinstance(classes, Mapping) else classes)]
    if isinstance(classes, Mapping):
        mapping = {plain_word(layout, str(word)): str(name) for word, name in classes["map"].items()}
        first = next(iter(VOCABULARY.get(layout, {LABEL: ()})))
        column = plain_name(classes.get("column") or first)
        if alone:
            _check_words(words, VOCABULARY.get(layout, {}).get(column), where)
        return ClassSet("own", tuple(dict.fromkeys(mapping.values())), {"": (column, mapping)})
    if layout not in VOCABULARY:
        return ClassSet("", tuple(classes))
    if alone:
        _check_words(words, next(iter(VOCABULARY[layout].values())), where)
    return ClassSet("", tuple(words))


def _check_words(words: Sequence[str], known: Sequence[str] | None, where: str) -> None:
    """Raise where a configuration names a label that the dataset does not have."""
    unknown = [word for word in words if known is not None and word not in known]
    if unknown:
        raise ConfigError(f"{where}: no label {', '.join(unknown)} in the dataset; there are: {', '.join(known)}")


def plain_name(column: str) -> str:
    """A column's name as the end of ``source_*``: ``OnsetFrame`` and ``Onset Frame`` as ``onset_frame``."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column.strip())
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")
