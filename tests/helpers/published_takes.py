"""Takes of the complete datasets, with the numbers of clips and subjects of the publications."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dataset_trees
from dataset_files import Take
from dataset_trees import FlowImage, Tree


def dealt(counts: Mapping[str, int]) -> list[str]:
    """Every word as often as ``counts`` says."""
    return [word for word, count in counts.items() for _ in range(count)]


def timing(i: int, start: int = 1) -> dict[str, int]:
    """Onset, apex and offset of the i-th clip, three to five frames from a number that differs from clip to clip."""
    onset = start + 7 * (i % 5)
    return {"onset": onset, "apex": onset + 1 + i % 2, "offset": onset + 2 + i % 3 if i % 2 == 0 else onset + 3}


def numbered_names(subjects: Sequence[int], pattern: Callable[[int, int], str]) -> list[str]:
    """A name per clip, counted within its subject."""
    seen: Counter[int] = Counter()
    names = []
    for subject in subjects:
        seen[subject] += 1
        names.append(pattern(subject, seen[subject]))
    return names


MMEW_PUBLISHED = {"happiness": 36, "surprise": 89, "disgust": 72, "others": 66, "fear": 16, "sadness": 13, "anger": 8}


def mmew_takes() -> list[Take]:
    """300 clips of 30 subjects."""
    takes, seen = [], Counter()
    for i, emotion in enumerate(dealt(MMEW_PUBLISHED)):
        subject = 1 + i % 30
        seen[subject, emotion] += 1
        takes.append(
            Take(subject, dataset_trees.mmew_name(subject, emotion, seen[subject, emotion]), emotion, **timing(i))
        )
    return takes


def mmew_macro_takes() -> list[Take]:
    """900 images of 30 subjects: five of each of six emotions."""
    words = [emotion for emotion in dataset_trees.MMEW_CODES if emotion != "others"]
    return [
        Take(subject, dataset_trees.mmew_name(subject, emotion, number), emotion)
        for subject in range(1, 31)
        for emotion in words
        for number in range(1, 6)
    ]


SAMM_OBJECTIVE = {1: 24, 2: 13, 3: 20, 4: 8, 5: 3, 6: 7, 7: 84}
SAMM_ESTIMATED = {
    "anger": 57, "happiness": 26, "other": 26, "surprise": 15, "contempt": 12, "disgust": 9, "fear": 8, "sadness": 6,
}  # fmt: skip
_SAMM_OF_OBJECTIVE = {1: "happiness", 2: "surprise", 3: "anger", 4: "disgust", 5: "sadness", 6: "fear"}


def samm_takes() -> list[Take]:
    """159 clips of 29 subjects: 72 of 21 in the objective classes 1, 2, 3, 4, 6, and 133 of 28 that are not Other."""
    five = [(_SAMM_OF_OBJECTIVE[o], o) for o in (1, 2, 3, 4, 6) for _ in range(SAMM_OBJECTIVE[o])]
    rest = Counter(SAMM_ESTIMATED) - Counter(word for word, _ in five) - Counter({"other": 26})
    sad = ("sadness", 5)
    named = [sad] * SAMM_OBJECTIVE[5] + [(w, 7) for w in dealt(rest - Counter({"sadness": SAMM_OBJECTIVE[5]}))]
    people = [6 + i % 21 for i in range(len(five))] + [6 + i % 28 for i in range(len(named), 0, -1)]
    words = five + named + [("other", 7)] * 26
    people += [34 if i < 3 else 6 + i for i in range(26)]
    names = numbered_names(people, lambda subject, n: f"{subject:03d}_{1 + n % 7}_{n}")
    return [
        Take(subject, name, emotion, objective=objective, **timing(i, 5000 if subject % 4 else 90))
        for i, (subject, name, (emotion, objective)) in enumerate(zip(people, names, words, strict=True))
    ]


CASME2_PUBLISHED = {
    "others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25, "sadness": 7, "fear": 2,
}  # fmt: skip
CASME2_LEFT_OUT = {(4, "EP12_01f"): "repression", (5, "EP09_05f"): "disgust"}
"""The clips that MEGC 2019 leaves out."""


def casme2_takes(context: int = 0) -> list[Take]:
    """255 clips of 26 subjects; 145 of 24 in the selection of MEGC 2019. 04/EP12_01f has the apex ``/``.

    ``context``: files before onset and after offset, as the raw variant has them.
    """
    four = Counter({word: CASME2_PUBLISHED[word] for word in ("happiness", "surprise", "disgust", "repression")})
    clips = [(1 + i % 24, emotion) for i, emotion in enumerate(dealt(four - Counter(CASME2_LEFT_OUT.values())))]
    clips += [(1 + i % 26, emotion) for i, emotion in enumerate(dealt(Counter(CASME2_PUBLISHED) - four))]
    names = numbered_names([subject for subject, _ in clips], lambda subject, n: f"EP{2 + n % 7:02d}_{n:02d}")
    takes = []
    for i, ((subject, emotion), name) in enumerate(zip(clips, names, strict=True)):
        times = timing(i, 46)
        files = {"first": times["onset"] - context, "last": times["offset"] + context}
        takes.append(Take(subject, name, emotion, **times, **files))
    for (subject, name), emotion in CASME2_LEFT_OUT.items():
        apex = "/" if name == "EP12_01f" else 61
        takes.append(Take(subject, name, emotion, 60, apex, 63, 60 - context, 63 + context))
    return sorted(takes, key=lambda take: take.subject)


SMIC_PUBLISHED = {"negative": 70, "positive": 51, "surprise": 43}


def smic_takes() -> list[Take]:
    """164 clips of 16 subjects."""
    people = [n for n in range(1, 19) if n not in (7, 10)]
    takes, seen = [], Counter()
    for i, emotion in enumerate(dealt(SMIC_PUBLISHED)):
        subject = people[i % 16]
        seen[subject, emotion] += 1
        name = f"s{subject}_{dataset_trees.SMIC_CODES[emotion]}_{seen[subject, emotion]:02d}"
        takes.append(Take(subject, name, emotion, None, None, None, 90823 + i, 90826 + i))
    return takes


CK_PUBLISHED = {"anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happy": 69, "sadness": 28, "surprise": 83}


def ck_takes() -> list[Take]:
    """593 sequences of 123 subjects, 327 of them labelled."""
    words = dealt(CK_PUBLISHED) + [""] * 266
    people = [5 + 2 * (i % 123) for i in range(593)]
    names = numbered_names(people, lambda subject, n: f"{n:03d}")
    return [
        Take(subject, name, emotion, None, None, None, 1, 2 + i % 3)
        for i, (subject, name, emotion) in enumerate(zip(people, names, words, strict=True))
    ]


MEGC_OF = {"happiness": "positive", "positive": "positive", "surprise": "surprise"}


def megc2019_flows(casme2: Sequence[Take], samm: Sequence[Take], smic: Sequence[Take]) -> list[FlowImage]:
    """The composite's clips of the three sets as flow images, with the subjects as each database spells them."""
    four = ("happiness", "surprise", "disgust", "repression")
    chosen = [t for t in casme2 if t.emotion in four and (t.subject, t.name) not in CASME2_LEFT_OUT]
    rows = [FlowImage("casme2", f"sub{t.subject:02d}", t.name, MEGC_OF.get(t.emotion, "negative"), t) for t in chosen]
    named = [t for t in samm if t.emotion != "other"]
    rows += [FlowImage("samm", f"{t.subject:03d}", t.name, MEGC_OF.get(t.emotion, "negative"), t) for t in named]
    return rows + [FlowImage("smic", f"s{t.subject:02d}", t.name, MEGC_OF.get(t.emotion, "negative"), t) for t in smic]


def megc2019(root: Path, **options: Any) -> dict[str, Tree]:
    """The three databases of the composite, complete, in folders of their own."""
    return {
        "casme2": dataset_trees.casme2(root / "CASME II", casme2_takes(), **options),
        "samm": dataset_trees.samm(root / "SAMM", samm_takes(), **options),
        "smic": dataset_trees.smic_hs(root / "SMIC", smic_takes(), **options),
    }
