"""Published numbers: what the papers printed, what differs, what could explain it."""

import math
import re
from itertools import product

import numpy as np
import pytest
from published_values import SAMM_CLASSES, ledger_entries, published_table
from repository import REPO

from merflow.evaluation.published import CHOSEN_ON_TEST, differs, ledger, published


def test_table_ii_equals_the_paper():
    """22 methods and the paper's own, with the printed values; the best other method is the one the paper names."""
    mmew, samm = (published_table(f"tsdgcn-{d}-methods") for d in ("mmew", "samm"))
    assert len(mmew) == len(samm) == 23 and set(mmew) == set(samm)
    printed = {
        "FDM [50]": (34.6, 34.1),
        "ResNet10 [17]": (36.6, 39.3),
        "LBP+TOP [53]": (38.9, 37.0),
        "RHWP-TOP [2]": (45.9, 38.1),
        "Transfer Learning [40]": (52.4, 55.9),
        "MDMO [32]": (65.7, 50.0),
        "DTSCNN [39]": (65.9, 69.2),
        "TLCNN [42]": (69.4, 73.5),
        "TSDGCN": (72.7, 75.0),
    }
    for name, values in printed.items():
        accuracies = [100 * table[name, "", "accuracy"] for table in (mmew, samm)]
        assert accuracies == pytest.approx(values), name
    assert sum(100 * v for v in mmew.values()) == pytest.approx(1125.9), "sum of the column as printed"
    assert sum(100 * v for v in samm.values()) == pytest.approx(1102.0)
    for table in (mmew, samm):
        assert sorted(table, key=table.get)[-2:] == [("TLCNN [42]", "", "accuracy"), ("TSDGCN", "", "accuracy")]


def test_table_iii_equals_the_paper():
    mmew, samm = (published_table(f"tsdgcn-{d}-stages") for d in ("mmew", "samm"))
    order = ("accuracy_pretrain", "accuracy_finetune", "accuracy")
    for table, macro, micro, ours, theirs in (
        (mmew, "MMEW (macro)", "MMEW (micro)", (98.7, 99.3, 72.7), (92.0, 96.6, 69.4)),
        (samm, "CK+", "SAMM", (99.7, 97.5, 75.0), (99.0, 99.7, 73.5)),
    ):
        assert len(table) == 6
        for row, values in (("TSDGCN", ours), ("Ben et al. [3]", theirs)):
            for metric, value in zip(order, values, strict=True):
                source = macro if metric == "accuracy_pretrain" else micro
                assert 100 * table[row, source, metric] == pytest.approx(value)


def test_figure_7_has_three_classes_with_full_recall():
    assert published_table("tsdgcn-samm-confusion") == {(name, name, "rate"): 1.0 for name in SAMM_CLASSES}


def test_ledger_matches_the_fidelity_document():
    document = (REPO / "docs" / "fidelity.md").read_text()
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", document, re.MULTILINE)]
    assert list(ledger()) == numbers and all(ledger().values())
    named = {number for row in published().values() for number in ledger_entries(row["ledger"])}
    assert named <= set(numbers)
    for (table, row, *_), number in published().items():
        others = table.endswith(("methods", "stages")) and row not in ("TSDGCN", "MERSiamC3D")
        assert bool(number["ledger"]) != others, "what we rebuild may be explained; what others did is not compared"


def test_published_numbers_have_system_data_and_source():
    for (table, row, _, metric), number in published().items():
        assert all(number[name].strip() for name in ("system", "dataset", "protocol", "source", "caveat")), (table, row)
        assert 0 < number["value"] <= 1
        if table.endswith(("methods", "stages")):
            assert re.split(r" \[(?:UAR|MEB)", row)[0] == number["system"]
        else:
            assert number["system"] == "TSDGCN"
        pretraining = {"MMEW (macro)", "CK+"}
        assert (number["dataset"] in pretraining) == (metric == "accuracy_pretrain")
        stated = table.startswith("megc2019") and row != "MERSiamC3D"
        protocol = "cross-dataset" if table.startswith("units") else "composite-loso" if stated else "not stated"
        assert number["protocol"] == protocol


def test_composite_numbers_equal_the_challenge():
    """UF1 and UAR of all clips and of CASME II; of STSTNet the mean recall of its released predictions."""
    printed = {
        "LBP-TOP": (0.5882, 0.5785, 0.7026, 0.7429),
        "Bi-WOOF": (0.6296, 0.6227, 0.7805, 0.8026),
        "OFF-ApexNet": (0.7196, 0.7096, 0.8764, 0.8681),
        "CapsuleNet": (0.6520, 0.6506, 0.7068, 0.7018),
        "Dual-Inception": (0.7322, 0.7278, 0.8621, 0.8560),
        "STSTNet": (0.7353, 0.7186, 0.8382, 0.8190),
        "EMR": (0.7885, 0.7824, 0.8293, 0.8209),
    }
    full, casme2 = published_table("megc2019-methods"), published_table("megc2019-casme2-methods")
    for name, values in printed.items():
        scores = [t[name, c, m] for t, c in ((full, ""), (casme2, "CASME II")) for m in ("uf1", "uar")]
        assert scores == pytest.approx(values), name
    assert len(casme2) == 2 * len(printed) + 1
    assert {column for _, column, _ in published_table("megc2019-smic-methods")} == {"SMIC-HS"}
    assert {column for _, column, _ in published_table("megc2019-samm-methods")} == {"SAMM"}


def test_later_composite_numbers_have_what_is_known_of_their_epoch():
    later = {
        ("HTNet", "uf1"): 0.860,
        ("HTNet", "uar"): 0.848,
        ("CausalNet", "uf1"): 0.898,
        ("CausalNet", "uar"): 0.902,
        ("RCN-A", "uf1"): 0.743,
        ("RCN-A", "uar"): 0.719,
        ("SSSNet", "uf1"): 0.739,
        ("FeatRef", "uf1"): 0.784,
        ("FeatRef", "uar"): 0.783,
        ("STSTNet [MEB, fixed epochs]", "uf1"): 0.713,
        ("STSTNet [MEB, epoch chosen on test]", "uf1"): 0.774,
        ("OFF-ApexNet [MEB, fixed epochs]", "uf1"): 0.703,
        ("OFF-ApexNet [MEB, epoch chosen on test]", "uf1"): 0.839,
    }
    numbers = {(key[1], key[3]): row for key, row in published().items() if key[0] == "megc2019-methods"}
    assert {key: round(numbers[key]["value"], 3) for key in later} == later
    on_test = {name for (name, _), row in numbers.items() if row["caveat"].startswith(CHOSEN_ON_TEST)}
    reruns = {f"{name} [MEB, epoch chosen on test]" for name in ("STSTNet", "OFF-ApexNet")}
    assert on_test == {"CapsuleNet", "HTNet", "CausalNet"} | reruns


def test_uar_that_is_macro_precision_is_not_compared():
    printed = {"": 0.7605, "SMIC-HS": 0.7013, "CASME II": 0.8686, "SAMM": 0.6810}
    printed_rows = {key: row for key, row in published().items() if key[1] == "STSTNet [UAR as printed]"}
    assert {key[2]: row["value"] for key, row in printed_rows.items()} == pytest.approx(printed)
    assert all("macro precision" in row["caveat"] and key[3] == "uar" for key, row in printed_rows.items())
    compared = [row for key, row in published().items() if key[0].startswith("megc2019") and key[1] == "STSTNet"]
    assert len(compared) == 8 and not {row["value"] for row in compared} & set(printed.values())


def both_fit(uf1: float, uar: float, clips: tuple[int, int, int]) -> bool:
    """Whether three classes of so many clips have a confusion with this UF1 and this UAR, as printed (four digits)."""
    for right in product(*(range(n + 1) for n in clips)):
        if abs(np.mean([r / n for r, n in zip(right, clips, strict=True)]) - uar) > 5e-5:
            continue
        missed = [n - r for r, n in zip(right, clips, strict=True)]
        wrong = sum(missed)
        for first, second in product(*(range(wrong - m + 1) for m in missed[:2])):
            false = (first, second, wrong - first - second)
            if not 0 <= false[2] <= wrong - missed[2]:
                continue
            scores = [2 * r / (2 * r + f + m) for r, f, m in zip(right, false, missed, strict=True)]
            if abs(np.mean(scores) - uf1) <= 5e-5:
                return True
    return False


def test_mersiamc3d_numbers_do_not_fit_composite_clips():
    """So neither number is listed as one of the composite; STSTNet's pair does fit, so the check can succeed."""
    samm, part = (92, 26, 15), published_table("megc2019-samm-methods")
    quoted = published_table("mersiamc3d-samm-methods")
    assert quoted == pytest.approx({("MERSiamC3D", "", "accuracy"): 0.7280, ("MERSiamC3D", "", "uf1"): 0.7475})
    assert part["MERSiamC3D", "SAMM", "uf1"] == quoted["MERSiamC3D", "", "uf1"]
    assert ("MERSiamC3D", "SAMM", "uar") not in part, "what is quoted is called accuracy, and may be neither"
    assert both_fit(part["STSTNet", "SAMM", "uf1"], part["STSTNet", "SAMM", "uar"], samm)
    assert not both_fit(quoted["MERSiamC3D", "", "uf1"], quoted["MERSiamC3D", "", "accuracy"], samm)
    assert not any(abs(n / sum(samm) - 0.7280) < 0.0005 for n in range(sum(samm))), "nor is it an accuracy of them"


@pytest.mark.parametrize(
    ("table", "row", "column", "metric", "named", "not_named"),
    [
        ("focal", "alpha 1", "gamma 1", "accuracy", {10, 11, 18, 5}, {19}),
        ("graphs", "8+2", "temporal", "accuracy", {13, 14, 15, 16, 44, 1, 3}, {10, 12, 48}),
        ("graphs", "8+2", "spatial", "accuracy", {1, 2, 3, 4, 6, 9, 12, 17, 18, 48}, {13, 14, 16, 44}),
        ("graphs", "8+2", "spatial", "accuracy_pretrain", {11, 12}, {13, 18}),
        ("ablation", "spatial and temporal, cross-entropy, 8+2 and 4+0", "", "accuracy", {9, 13, 48}, {10}),
    ],
)
def test_ledger_entries_fit_their_number(table, row, column, metric, named, not_named):
    for data in ("mmew", "samm"):
        entries = set(ledger_entries(published()[f"tsdgcn-{data}-{table}", row, column, metric]["ledger"]))
        assert named <= entries and not entries & not_named
    people = {d: published()[f"tsdgcn-{d}-methods", "TSDGCN", "", "accuracy"]["ledger"] for d in ("mmew", "samm")}
    assert 19 in ledger_entries(people["mmew"]) and 19 not in ledger_entries(people["samm"]), (
        "only MMEW's people are in both"
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "printed", "expected"),
    [
        (0.70, 0.60, 0.80, 0.727, False),
        (0.70, 0.60, 0.72, 0.727, True),
        (0.70, 0.60, 0.80, 0.591, True),
        (0.70, 0.60, 0.72668, 0.727, False),  # printed with one decimal
        (0.75, 0.72732, 0.80, 0.727, False),
        (0.75, 0.7280, 0.80, 0.727, True),
        (0.6875, math.nan, math.nan, 0.688, False),
        (0.6875, math.nan, math.nan, 0.689, True),
        (0.70, 0.60, 0.80, math.nan, None),
        (math.nan, math.nan, math.nan, 0.7, None),
    ],
)
def test_differs_outside_interval_or_beyond_rounding(value, low, high, printed, expected):
    assert differs(value, low, high, printed) is expected
