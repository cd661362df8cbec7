"""Networks of one study are packed, unpacked and answer in another one as they do in their own."""

import pandas as pd
import pytest
from private_content import private_content, zip_content
from repository import copy_repository, snakemake

from merflow.inference.packed import unpack_weights

pytestmark = pytest.mark.slow

MICRO = {"demo-micro": {"layout": "demo"}}
EXPERIMENTS = {
    "ststnet": {"system": "ststnet", "micro": "demo-micro", "network": {"epochs": 3}, "prep": "short"},
    "graphs": {"system": "tsdgcn", "macro": "none", "micro": "demo-micro", "graphs": ["8+2"]}
    | {"graph": {"side": 28}, "head": {"epochs": 2}},
}
THEIRS = {
    "study": "theirs",
    "demo": {"subjects": 4, "emotions": ["negative", "surprise"], "clips_per_emotion": 2},
    "datasets": MICRO,
    "preparations": {"short": {"keyframes": {"count": 3}}},
    "floors": [],
    "experiments": EXPERIMENTS,
}
MINE = THEIRS | {"study": "mine", "experiments": {"constant": {"system": "majority", "micro": "demo-micro"}}}
MINE["preparations"] = {}
PROBS = ["p_negative", "p_surprise", "p_top", "mutual_information"]


def answers(folder, study, clips, config):
    """The answers about a clip with known onset and offset, by name of who answers."""
    table = folder / "clips.csv"
    last = len(list(clips.iterdir())) - 1
    table.write_text(f"clip,frames,onset,offset\nface,{clips},0,{last}\n")
    snakemake(folder, "predict", config=config | {"clips": str(table)})
    out = folder / f"results/{study}/predict/clips.csv"
    return pd.read_csv(out / "answers.csv").set_index("experiment"), (out / "index.html").read_text()


def test_networks_answer_in_another_study_as_in_their_own(tmp_path):
    theirs, mine = copy_repository(tmp_path / "theirs"), copy_repository(tmp_path / "mine")
    snakemake(theirs, "weights", config=THEIRS)
    archives = sorted((theirs / "results/theirs/weights").iterdir())
    assert [file.name for file in archives] == ["theirs-graphs.zip", "theirs-ststnet.zip"]
    for archive in archives:
        content = {name: data for name, data in zip_content(archive).items() if not name.endswith(".safetensors")}
        assert private_content(content, [str(tmp_path)]) == []
        unpack_weights(archive, mine / "weights" / archive.stem)
    weights = [f"weights/{archive.stem}" for archive in archives]
    clips = sorted((theirs / "results/data/demo-micro/source/s01").glob("*_negative_1"))[0]
    config = MINE | {"predict": {"weights": weights}}
    elsewhere, page = answers(mine, "mine", clips, config)
    assert list(elsewhere.index) == ["theirs-graphs", "theirs-ststnet"] and (elsewhere["status"] == "ok").all()
    assert not (mine / "results/mine/predictions.csv").exists(), "nothing of the study was trained"
    assert page.count("trained elsewhere, in the study theirs: protocol loso") == 2
    own, _ = answers(theirs, "theirs", clips, THEIRS)
    pd.testing.assert_frame_equal(
        elsewhere.rename(index=lambda name: name.removeprefix("theirs-"))[PROBS].sort_index(), own[PROBS].sort_index()
    )
    assert (elsewhere["flags"].fillna("").tolist()) == own.loc[["graphs", "ststnet"], "flags"].fillna("").tolist()

    snakemake(mine, "results/mine/report.html", config=config)
    audit = pd.read_csv(mine / "results/mine/audit.csv").set_index("experiment")
    for name in elsewhere.index:
        row = audit.loc[name]
        assert (row["check"], row["size"], row["allowed"]) == ("people: trained elsewhere", 2, "yes")
        assert "people of demo may be in both studies" in row["note"]
    assert (
        "theirs-ststnet (answers new clips only): trained elsewhere" in (mine / "results/mine/report.html").read_text()
    )

    (mine / weights[1] / "models/0.safetensors").write_bytes(b"damaged")
    (mine / "results/mine/predict/clips.csv/experiments/theirs-ststnet.csv").unlink()
    done = snakemake(mine, "predict", config=config | {"clips": str(mine / "clips.csv")}, ok=False)
    assert done.returncode == 1 and "models/0.safetensors is damaged or was changed" in done.stdout + done.stderr
