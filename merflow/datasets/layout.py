"""What a layout of a dataset is, and its part in a class set: plain data, read while the workflow is planned."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ClassSetPart:
    """How one layout takes part in a named class set."""

    column: str  # column of the labels, as in ``source_{column}``
    classes: Mapping[str, str]  # class of each label word; an empty class leaves the clip out
    counts: Mapping[str, int] = field(default_factory=dict)  # published, by class in order; empty if none was
    subjects: int | None = None  # published number of subjects
    source: str = ""  # publication of the counts
    excluded: frozenset[tuple[int, str]] = frozenset()  # (subject number, file name) that the publication leaves out
    published_as: str = ""  # ``dataset`` of the rows of evaluation/published.csv that report results on these clips


@dataclass(frozen=True)
class Layout:
    """A dataset as it is distributed.

    Attributes:
        labels: words of each label column, the default column first; empty: the user's own words in ``label``.
        user_annotated: the table is the user's own. An apex before onset or after offset then leaves the clip out
            (otherwise the apex is spotted), and a label outside the classes is noted (otherwise the clip is left out).
    """

    index: str  # ``file:function`` in this folder; the function maps (name, settings) to an ``Index``
    title: str  # name of the dataset in papers
    looks_for: str  # files and folders that it expects, for the documentation
    clip_names: str  # examples of clip and subject ids, for the documentation
    kind: str = "micro"  # ``micro`` or ``macro``; empty: the user says it
    fps: int | None = None  # frames per second, if all clips have the same
    table: str = ""  # file name of the table if the configuration names none; empty: the layout finds its own
    guide: str = ""  # page of the documentation that shows such a table
    licence: str = ""  # the makers' condition, for model cards; empty: the data are the user's own or synthetic
    makers: str = ""  # from whom the dataset is obtained, for the documentation
    people: str = ""  # layouts with the same value use the same subject names; empty: the name of the layout
    databases: tuple[str, ...] = ()  # its names in tables of flow images, as of :func:`plain_database`
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spellings: Mapping[str, str] = field(default_factory=dict)  # further spellings of label words
    class_sets: Mapping[str, ClassSetPart] = field(default_factory=dict)  # its part in each named class set
    has_frames: bool = True  # False for ready-made flow images, which start at the cache
    synthetic: bool = False  # the workflow renders the clips, so that the user has no folder of them
    bounds_optional: bool = False  # onset and offset may be missing; the first and last frame are used
    absolute_numbers: bool = False  # annotated frame numbers may be absolute and are then moved to those of the files
    labels_optional: bool = False  # clips without a label are not reported as problems
    user_annotated: bool = False
    subject_in_path: bool = False  # the subject is part of a clip's name and folder, so that it cannot be corrected
    next_frame: bool = False  # frames may be missing; in place of a missing onset, apex or offset the next one is used
    unverified: str = ""  # what of this layout was not checked on a real copy, for the documentation


def keep(
    column: str, counts: Mapping[str, int], source: str, subjects: int | None = None, published_as: str = ""
) -> ClassSetPart:
    """The part of a class set whose classes are label words of the column."""
    classes = {word: word for word in counts}
    return ClassSetPart(column, classes, counts, subjects, source, published_as=published_as)


def some(counts: Mapping[str, int], *words: str) -> dict[str, int]:
    """The counts of some of the words."""
    return {word: counts[word] for word in words}
