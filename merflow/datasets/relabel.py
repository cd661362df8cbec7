"""The clips of an index under another class set."""

from collections import Counter

from merflow.datasets.index import Index
from merflow.datasets.labels import ClassSet
from merflow.errors import ConfigError


def relabel(index: Index, layout: str, labels: ClassSet, where: str) -> dict[str, str]:
    """The class of every clip of an index under another class set; empty for a clip that the set leaves out.

    Raises:
        ConfigError: the class set reads a column that the dataset does not have; ``where`` is the key that names it.
    """
    column = labels.column(layout)
    if not any(f"source_{column}" in row for row in index.source):
        names = [key for row in index.source[:1] for key in row if key.startswith("source_")]
        columns = ", ".join(key.removeprefix("source_") for key in names) or "none"
        raise ConfigError(f"{where}: the dataset has no column {column!r}; its columns: {columns}")
    classes = {}
    for clip, row in zip(index.clips, index.source, strict=True):
        corrected, word = row.get("source_corrected_label", ""), row.get(f"source_{column}", "")
        label = labels.classify(layout, corrected or word) if corrected or word else ""
        excluded = labels.excludes(layout, clip.subject, clip.clip.rpartition("/")[2])
        classes[clip.clip] = "" if excluded else label or (corrected if corrected in labels.classes else "")
    return classes


def unknown_words(index: Index, layout: str, labels: ClassSet) -> Counter[str]:
    """Label words of an index that a class set neither keeps nor leaves out, and the number of clips with each."""
    column = f"source_{labels.column(layout)}"
    words = Counter(row.get(column, "").strip() for row in index.source)
    return Counter({word: n for word, n in words.items() if word and labels.classify(layout, word) is None})
