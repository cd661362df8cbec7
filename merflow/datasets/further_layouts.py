"""Entries of :data:`merflow.datasets.registry.LAYOUTS`: long videos, CASME, 4DME and DFME."""

from merflow.datasets.layout import ClassSetPart, Layout, keep

_EMOTION = "emotion"
_CASME3 = "Li, Dong, Lu, Wang, Yan, Huang, Liu, Huang, Liu, Fu: CAS(ME)³, TPAMI 2023 (JpgIndex_v2)"
_CASME3_MAKERS = "Institute of Psychology, Chinese Academy of Sciences (Li et al., TPAMI 2023), by signed agreement"
_CASME3_COUNTS = {"disgust": 250, "surprise": 187, "others": 161, "fear": 86, "anger": 64, "sad": 57, "happy": 55}
_CASME3_FOUR = dict.fromkeys(("anger", "disgust", "fear", "sad"), "negative")
_CASME3_FOUR |= {"happy": "positive", "surprise": "surprise"}
_SQUARED = "Qu, Wang, Yan, Li, Wu, Fu: CAS(ME)², IEEE TAC 2018"
_SAMM_THREE = dict.fromkeys(("anger", "contempt", "disgust", "fear", "sadness"), "negative")
_SAMM_THREE |= {"happiness": "positive", "surprise": "surprise"}
_CASME_COUNTS = {"disgust": 44, "surprise": 20, "repression": 38, "tense": 69}
_SMIC = ("negative", "positive", "surprise")
_DFME = ("happiness", "surprise", "disgust", "sadness", "anger", "fear", "contempt")

FURTHER_LAYOUTS: dict[str, Layout] = {
    "casme3-a": Layout(
        index="casme3_parts:index_a",
        title="CAS(ME)³ part A",
        looks_for="`part_A/spNO.1/a/color/355.jpg` or the extracts `ME_A/spNO.1/a/color`, `a2`, `a3`; workbook "
        "`cas(me)3_part_A_ME_label_JpgIndex`, for `kind: macro` `CAS(ME)3_part_A_v2.xls`",
        clip_names="`spNO.1/a#355` (video and onset), `spNO.1`",
        kind="",
        fps=30,
        licence="CAS(ME)³ (licence agreement)",
        makers=_CASME3_MAKERS,
        labels={_EMOTION: tuple(_CASME3_COUNTS), "objective_class": ("i", "ii", "iii", "iv", "v", "vi", "vii")},
        spellings={"other": "others", "happiness": "happy", "sadness": "sad"},
        class_sets={
            "casme3a-7": keep(_EMOTION, _CASME3_COUNTS, _CASME3, 94),
            "casme3a-4": ClassSetPart(
                _EMOTION,
                _CASME3_FOUR | {"others": "others"},
                {"negative": 457, "positive": 55, "surprise": 187, "others": 161},
                94,
                _CASME3,
            ),
            "casme3a-3": ClassSetPart(
                _EMOTION, _CASME3_FOUR, {"negative": 457, "positive": 55, "surprise": 187}, 88, _CASME3
            ),
        },
        labels_optional=True,
        subject_in_path=True,
        next_frame=True,
    ),
    "casme3-c": Layout(
        index="casme3_parts:index_c",
        title="CAS(ME)³ part C",
        looks_for="`ME_C/01/1/color/90.jpg`, or a folder of the person; workbook `CAS(ME)3_part_C_ME`",
        clip_names="`01/1`, `01`",
        fps=30,
        licence="CAS(ME)³ (licence agreement)",
        makers=_CASME3_MAKERS,
        labels={_EMOTION: ("negative", "surprise", "others", "positive")},
        spellings={"other": "others"},
        class_sets={
            "casme3c-3": keep(_EMOTION, {"negative": 99, "surprise": 30, "positive": 16}, f"{_CASME3}, part_C_ME")
        },
        subject_in_path=True,
        next_frame=True,
        unverified="the tree of the release (that of MEB is known)",
    ),
    "casme-squared": Layout(
        index="casme_squared:index",
        title="CAS(ME)²",
        looks_for="`rawpic/s15/15_0401girlcrashing/img001.jpg`, or the selected or cropped frames; workbook "
        "`CAS(ME)^2code_final`, which has no header",
        clip_names="`s15/anger1_1`, `s15`",
        kind="",
        fps=30,
        licence="CAS(ME)² (licence agreement)",
        makers="Institute of Psychology, Chinese Academy of Sciences (Qu et al., IEEE TAC 2018), by signed agreement",
        labels={_EMOTION: ("positive", "negative", "surprise", "others")},
        spellings={"other": "others"},
        class_sets={
            "casme-squared-3": keep(
                _EMOTION, {"negative": 21, "surprise": 9, "positive": 8}, f"{_SQUARED}, micro-expressions"
            ),
            "casme-squared-macro-3": keep(
                _EMOTION, {"negative": 105, "surprise": 16, "positive": 116}, f"{_SQUARED}, macro-expressions"
            ),
        },
        subject_in_path=True,
        next_frame=True,
    ),
    "samm-long": Layout(
        index="samm_long:index",
        title="SAMM Long Videos",
        looks_for="`SAMM_longvideos/006_1/006_1_0001.jpg`; workbook `SAMM_LongVideos_V2_Release`, and that of SAMM for "
        "the emotions",
        clip_names="`006_1_2`, `006`",
        kind="",
        fps=200,
        licence="SAMM (licence agreement)",
        makers="Manchester Metropolitan University (Yap, Kendrick, Yap, FG 2020), by signed agreement",
        people="samm",
        labels={"estimated_emotion": (*_SAMM_THREE, "other")},
        spellings={"others": "other"},
        class_sets={
            "samm-long-3": ClassSetPart(
                "estimated_emotion",
                _SAMM_THREE,
                {"negative": 92, "positive": 26, "surprise": 15},
                28,
                "SAMM, release 2 of the annotation, joined by file name",
            )
        },
        labels_optional=True,
        next_frame=True,
    ),
    "smic-e": Layout(
        index="smic_e:index",
        title="SMIC-E",
        looks_for="`HS_long/SMIC-HS-E/HS/s01/s1_ne_01/image000001.jpg` (also VIS, NIR) and workbook "
        "`SMIC-HS-E_annotation`, or short clips `VIS/s1/micro/negative/s1_ne_01`",
        clip_names="`s1_ne_01`, `s01`",
        licence="SMIC (licence agreement)",
        makers="University of Oulu, CMVS (Li et al., IEEE TAC 2018), by signed agreement",
        people="smic-hs",
        labels={_EMOTION: _SMIC},
        class_sets={"smic-e-3": ClassSetPart(_EMOTION, {word: word for word in _SMIC})},
        next_frame=True,
        unverified="the columns of a second onset and offset; clips of each class",
    ),
    "casme": Layout(
        index="casme:index",
        title="CASME",
        looks_for="`CASME_raw_selected/sub01/EP01_12/EP01_12-73.jpg`, or the cropped frames; workbook `CASME-coded`",
        clip_names="`sub01/EP01_12`, `sub01`",
        fps=60,
        licence="CASME (licence agreement)",
        makers="Institute of Psychology, Chinese Academy of Sciences (Yan et al., FG 2013), by signed agreement",
        labels={_EMOTION: (*_CASME_COUNTS, "happiness", "sadness", "fear", "contempt")},
        spellings={"amusement": "happiness", "happy": "happiness", "sad": "sadness"},
        class_sets={"casme-4": keep(_EMOTION, _CASME_COUNTS, "Yan et al., FG 2013 (not checked on a copy)")},
        subject_in_path=True,
        unverified="labels other than tense, happiness and repression; clips of each class",
    ),
    "4dme": Layout(
        index="fourdme:index",
        title="4DME",
        looks_for="`gray_micro/{person}/{clip}`, or one level such as `S13_1st_001_01_1`; workbook "
        "`4DME_Labelling_Micro`",
        clip_names="`S13/S13_1st_001_01_1`, `S13`",
        licence="4DME (licence agreement)",
        makers="University of Oulu, CMVS (Li et al., IEEE TAC 2022), by signed agreement",
        fps=60,
        labels_optional=True,
        absolute_numbers=True,
        subject_in_path=True,
        unverified="frames per second, file names, clips of each emotion (a clip may have several, so there is no set)",
    ),
    "dfme": Layout(
        index="dfme:index",
        title="DFME",
        looks_for="`train_data/sub0003_01/00000.png`, or `USTC_MEv4_part.../micro/{emotion}/sub0003_01`; workbook "
        "`training_full_with_AU`",
        clip_names="`sub0003_01`, `sub0003`",
        licence="DFME (licence agreement)",
        makers="University of Science and Technology of China (Zhao et al., 2023), by signed agreement",
        labels={_EMOTION: (*_DFME, "others")},
        spellings={"other": "others", "happy": "happiness", "sad": "sadness"},
        class_sets={"dfme-7": ClassSetPart(_EMOTION, {word: word for word in _DFME})},
        bounds_optional=True,
        absolute_numbers=True,
        subject_in_path=True,
        unverified="the column of the offset, the frames per second of each clip, clips of each class",
    ),
}
