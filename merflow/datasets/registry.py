"""The layouts of datasets: one entry each, from which the configuration, the documentation and the report follow.

To add a dataset, write one file with a function ``index`` and one entry here; docs/add-a-dataset.md shows both. This
module is read while the workflow is planned: it holds plain data and imports no layout.
"""

import re
from pathlib import Path

from merflow.datasets.further_layouts import FURTHER_LAYOUTS
from merflow.datasets.layout import ClassSetPart, Layout, keep, some


def layout_source(layout: str) -> Path:
    """File that indexes a layout; its content decides whether datasets of this layout are listed again."""
    return Path(__file__).with_name(LAYOUTS[layout].index.split(":")[0] + ".py")


def plain_database(name: str) -> str:
    """Name of a database with letters and digits only, in lower case: ``SMIC-HS`` becomes ``smichs``."""
    return re.sub(r"[\W_]", "", name).lower()


def layout_of_database(name: str) -> str | None:
    """The layout of the database that a table of flow images calls ``name``."""
    plain = plain_database(name)
    return next((layout for layout, entry in LAYOUTS.items() if plain in entry.databases), None)


def database_names(title: str) -> tuple[str, ...]:
    """The plain names of the dataset with this title; for an unknown title, the title in plain form."""
    names = (entry.databases for entry in LAYOUTS.values() if entry.title == title and entry.databases)
    return next(names, (plain_database(title),))


EMOTION = "estimated_emotion"
OBJECTIVE = "objective_classes"
TREE = "emotion"
LABEL = "label"

_MEGC = "See, Yap, Li, Hong, Wang: MEGC 2019"
_THREE = dict.fromkeys(("disgust", "repression", "anger", "contempt", "fear", "sadness"), "negative")
_THREE |= {"happiness": "positive", "surprise": "surprise"}
_THREE_NAMES = {word: word for word in ("negative", "positive", "surprise")}
_FIVE = ("happiness", "surprise", "disgust", "fear", "sadness")
"""The five classes of the TSDGCN paper on MMEW."""

_MMEW = "Ben et al., TPAMI 2021 (release of MMEW)"
_MMEW_COUNTS = {"happiness": 36, "surprise": 89, "disgust": 72, "others": 66, "fear": 16, "sadness": 13, "anger": 8}
_SAMM = "SAMM, release 2 of the annotation"
_SAMM_COUNTS = {
    "anger": 57, "happiness": 26, "other": 26, "surprise": 15, "contempt": 12, "disgust": 9, "fear": 8, "sadness": 6,
}  # fmt: skip
_SMIC_COUNTS = {"negative": 70, "positive": 51, "surprise": 43}
_CK = "Lucey et al., CVPR workshops 2010"
_CK_COUNTS = {
    "anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happiness": 69, "sadness": 28, "surprise": 83,
}  # fmt: skip

COMPOSITES = {"megc2019": "MEGC2019 composite"}
"""Class sets that join datasets, and the ``dataset`` of their rows in evaluation/published.csv."""

LAYOUTS: dict[str, Layout] = {
    "mmew-micro": Layout(
        index="mmew:index_micro",
        title="MMEW",
        looks_for="`Micro_Expression/{emotion}/S01-01-001/1.jpg` or `Micro_Expression/S01/{emotion}/S01-01-001/1.jpg`; "
        "workbook `MMEW_Micro_Exp`",
        clip_names="`S01-01-001`, `S01`",
        fps=90,
        licence="MMEW (licence agreement)",
        makers="its authors at Shandong University (Ben et al., TPAMI 2021), by signed agreement",
        people="mmew",
        labels={EMOTION: tuple(_MMEW_COUNTS)},
        spellings={"repression": "others", "other": "others"},
        class_sets={
            "mmew-5": keep(EMOTION, some(_MMEW_COUNTS, *_FIVE), _MMEW, published_as="MMEW"),
            "mmew-6": keep(EMOTION, some(_MMEW_COUNTS, *_FIVE, "anger"), _MMEW),
            "mmew-4": keep(EMOTION, some(_MMEW_COUNTS, "happiness", "surprise", "disgust", "others"), _MMEW),
        },
        absolute_numbers=True,
    ),
    "mmew-macro": Layout(
        index="mmew:index_macro",
        title="MMEW (macro)",
        looks_for="`Macro_Expression/S01/{emotion}/S01-01-001.jpg`, single images",
        clip_names="`S01-01-001`, `S01`",
        kind="macro",
        licence="MMEW (licence agreement)",
        people="mmew",
        labels={TREE: ("happiness", "surprise", "disgust", "fear", "sadness", "anger")},
        class_sets={"mmew-macro-5": ClassSetPart(TREE, {word: word for word in _FIVE})},
        bounds_optional=True,
    ),
    "samm": Layout(
        index="samm:index",
        title="SAMM",
        looks_for="`006/006_1_2/006_05562.jpg`; workbook `SAMM_Micro_FACS_Codes`",
        clip_names="`006_1_2`, `006`",
        fps=200,
        licence="SAMM (licence agreement)",
        makers="Manchester Metropolitan University (Davison et al., IEEE TAC 2018), by signed agreement",
        databases=("samm",),
        labels={EMOTION: tuple(_SAMM_COUNTS), OBJECTIVE: ("1", "2", "3", "4", "5", "6", "7")},
        spellings={"others": "other"},
        class_sets={
            "samm-5-objective": ClassSetPart(
                OBJECTIVE,
                {"1": "happiness", "2": "surprise", "3": "anger", "4": "disgust", "6": "fear"},
                {"happiness": 24, "surprise": 13, "anger": 20, "disgust": 8, "fear": 7},
                21,
                "Tang, Chai, Lu, arXiv 2203.05208; Objective Classes 1, 2, 3, 4, 6",
                published_as="SAMM",
            ),
            # The emotions with ten clips or more: what most papers since 2017 call SAMM with five classes.
            "samm-5-estimated": keep(EMOTION, some(_SAMM_COUNTS, *tuple(_SAMM_COUNTS)[:5]), _SAMM),
            "samm-estimated": keep(EMOTION, _SAMM_COUNTS, _SAMM, 29),
            "megc2019": ClassSetPart(
                EMOTION,
                {word: name for word, name in _THREE.items() if word != "repression"},
                {"negative": 92, "positive": 26, "surprise": 15},
                28,
                _MEGC,
                published_as="SAMM, three classes",
            ),
        },
    ),
    "casme2": Layout(
        index="casme2:index",
        title="CASME II",
        looks_for="`CASME2-RAW/sub01/EP02_01f/img46.jpg`, or the selected or cropped frames; workbook `CASME2-coding`",
        clip_names="`sub01/EP02_01f`, `sub01`",
        fps=200,
        licence="CASME II (licence agreement)",
        makers="Institute of Psychology, Chinese Academy of Sciences (Yan et al., PLoS ONE 2014), by signed agreement",
        databases=("casme2", "casmeii"),
        labels={EMOTION: ("happiness", "disgust", "repression", "surprise", "others", "sadness", "fear")},
        spellings={"other": "others"},
        class_sets={
            "casme2-5": keep(
                EMOTION,
                {"happiness": 32, "disgust": 63, "repression": 27, "surprise": 25, "others": 99},
                "Yan et al., PLoS ONE 2014 (CASME II, coding of 2014-05-08)",
            ),
            "megc2019": ClassSetPart(
                EMOTION,
                {word: _THREE[word] for word in ("happiness", "surprise", "disgust", "repression")},
                {"negative": 88, "positive": 32, "surprise": 25},
                24,
                _MEGC,
                frozenset({(4, "EP12_01f"), (5, "EP09_05f")}),
            ),
        },
        subject_in_path=True,
    ),
    "smic-hs": Layout(
        index="smic:index",
        title="SMIC-HS",
        looks_for="`HS/s1/micro/negative/s1_ne_01/image090823.jpg`, or `reg_image090823.bmp`; no workbook",
        clip_names="`s1_ne_01`, `s01`",
        fps=100,
        licence="SMIC (licence agreement)",
        makers="University of Oulu, CMVS (Li et al., FG 2013), by signed agreement",
        databases=("smic", "smichs"),
        labels={TREE: tuple(_SMIC_COUNTS)},
        class_sets={
            "smic-3": keep(TREE, _SMIC_COUNTS, "Li et al., FG 2013 (SMIC-HS)", 16),
            "megc2019": keep(TREE, _SMIC_COUNTS, _MEGC, 16),
        },
        bounds_optional=True,
    ),
    "ck-plus": Layout(
        index="ck_plus:index",
        title="CK+",
        looks_for="`cohn-kanade-images/S005/001/*.png` and `Emotion/S005/001/*_emotion.txt`",
        clip_names="`S005_001`, `S005`",
        kind="macro",
        licence="CK+ (agreement with its makers)",
        makers="University of Pittsburgh (Lucey et al., 2010), by signed agreement",
        labels={TREE: ("neutral", *_CK_COUNTS)},
        spellings={"happy": "happiness"},
        class_sets={
            # The TSDGCN paper pre-trains on CK+ for SAMM and does not name the classes: these are its SAMM classes.
            "ck-plus-5": keep(TREE, some(_CK_COUNTS, "happiness", "surprise", "anger", "disgust", "fear"), _CK),
            "ck-plus-7": keep(TREE, _CK_COUNTS, _CK),
        },
        bounds_optional=True,
        labels_optional=True,
    ),
    "flow-images": Layout(
        index="flow_images:index",
        title="ready-made flow images",
        looks_for="`flows.csv`: `dataset, subject, clip, label, image`, optional `index, apex, face`; see "
        "[flow images](#flow-images)",
        clip_names="`samm/006/006_1_2`, `samm/006`",
        table="flows.csv",
        guide="docs/datasets.md",
        class_sets={
            "megc2019": ClassSetPart(
                LABEL,
                _THREE | _THREE_NAMES | dict(zip("012", _THREE_NAMES, strict=True)) | {"others": "", "other": ""},
                {"negative": 250, "positive": 109, "surprise": 83},
                68,
                _MEGC,
                published_as=COMPOSITES["megc2019"],
            )
        },
        has_frames=False,
        bounds_optional=True,
    ),
    "manifest": Layout(
        index="manifest:index",
        title="your own clips",
        looks_for="`manifest.csv`: `clip, subject, label, frames`; see [your own clips](own-clips.md)",
        clip_names="as you name them",
        kind="",
        table="manifest.csv",
        guide="docs/own-clips.md",
        bounds_optional=True,
        labels_optional=True,
        user_annotated=True,
    ),
    "long-manifest": Layout(
        index="long_manifest:index",
        title="your own long videos",
        looks_for="`intervals.csv`: `video, subject, onset, offset`, optional `apex, label, kind, fps`; see "
        "[spotting](spotting.md)",
        clip_names="`videos/01.mp4#355` (video and onset), as you name them",
        kind="",
        table="intervals.csv",
        guide="docs/spotting.md",
        labels_optional=True,
        user_annotated=True,
    ),
    "demo": Layout(
        index="demo:index",
        title="synthetic people",
        looks_for="nothing: the workflow renders the clips of the block `demo`",
        clip_names="`s01_happiness_1`, `s01`",
        kind="",
        synthetic=True,
    ),
    "long-demo": Layout(
        index="long_demo:index",
        title="synthetic people in long videos",
        looks_for="nothing: the workflow draws the videos of the block `long_people` of the dataset",
        clip_names="`p01#355` (video and onset), `p01`",
        kind="",
        synthetic=True,
    ),
    **FURTHER_LAYOUTS,
}
