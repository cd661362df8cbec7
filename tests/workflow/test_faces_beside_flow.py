"""Ready-made flow images, several a clip and with faces, through the workflow: every system, table to report."""

import h5py
import pandas as pd
import people
import pytest
from repository import copy_repository, snakemake

pytestmark = pytest.mark.slow
SHARED = {"micro": "flows", "protocol": "subject-kfold", "folds": 3}
SHORT = {"side": 28, "width": 4, "epochs": 2, "patience": 2, "epoch_choice": "validation"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One clip has two of the three images, another one lacks a face."""
    folder = copy_repository(tmp_path_factory.mktemp("sequences"))
    tree = people.flow_sequences(folder / "flows", {"casme2": (1, 2), "samm": (6,)})
    cells = pd.read_csv(tree.table, dtype=str).drop(index=2)
    cells.loc[4, "face"] = ""
    cells["apex"] = (cells["index"] == "2").astype(int)
    cells.to_csv(tree.table, index=False)
    config = {
        "study": "sequences",
        "datasets": {"flows": tree.settings | {"classes": "megc2019"}},
        "experiments": {
            "siamese": {"system": "mersiamc3d", "network": SHORT | {"prior_epochs": 1}, **SHARED},
            "frames": {
                "system": "mersiamc3d",
                "network": SHORT | {"prior": False, "input_kind": "key-frames"},
                **SHARED,
            },
            "msjfn": {"system": "msjfn", "network": SHORT, **SHARED},
            "tsdgcn": {"system": "tsdgcn", "macro": "none", "graphs": ["4+0"], **SHARED},
        },
        **people.SMALL,
        "graph": {"side": 20},
        "preparations": {"default": {"align": {"size": 64}}},
    }
    return folder, snakemake(folder, config=config), config


def test_every_system_answers_all_usable_clips(study):
    folder, _, config = study
    predictions = pd.read_csv(folder / "results/sequences/predictions.csv")
    assert set(predictions["experiment"]) == {*config["experiments"], *people.SMALL["floors"]}
    assert predictions.groupby("experiment")["clip"].nunique().unique().tolist() == [8]
    with h5py.File(folder / "results/data/flows/default/cache.h5") as file:
        assert file["flow"].shape == (8, 3, 3, 28, 28) and file["spatial"].shape == (8, 3, 64, 64)
        assert (file["spatial"][:].std((2, 3)) > 5).all(), "no face is empty"
        assert sorted(file["apex_index"][:].tolist()) == [1] * 7 + [2], "of two images, the second is at 2 and 3"


def test_lacking_images_and_faces_are_shown(study):
    folder, done, _ = study
    problems = pd.read_csv(folder / "results/data/flows/problems.csv", keep_default_na=False)
    told = {row.field: (row.row, row.effect, row.problem) for row in problems.itertuples()}
    assert told["index"][1:] == (
        "noted",
        "clips with fewer than 3 images, which are repeated to make 3: casme2/s 1/clip 11 (2)",
    )
    assert told["face"][1:] == ("left out", "row 5: empty; give the file of the face")
    page = (folder / "results/sequences/report.html").read_text()
    for _, _, problem in (told["index"], told["face"]):
        assert problem in done.stderr and problem in page
    assert page.count("Ready-made image of clip") == 8 * 4, "face, u, v and strain"


def test_changed_face_gathers_the_cache_again(study):
    folder, _, config = study
    assert "Nothing to be done" in snakemake(folder, "-n", config=config).stdout
    face = next((folder / "flows").glob("*samm* 1 face.png"))
    data = face.read_bytes()
    face.write_bytes(next((folder / "flows").glob("*casme2* 1 face.png")).read_bytes())
    done = snakemake(folder, "-n", config=config)
    face.write_bytes(data)
    assert "Gather the flow images of flows" in done.stdout + done.stderr


def test_exported_system_reads_faces_of_their_own_size(study):
    folder, _, config = study
    snakemake(folder, "export", config=config | {"export": {"experiments": ["tsdgcn", "frames"]}})
    for name in ("tsdgcn", "frames"):
        check = pd.read_csv(next((folder / "results/sequences").rglob(f"*{name}*/check.csv")))
        assert (check["greatest_difference"] < check["limit"]).all()
        assert "64, 64]" in next((folder / "results/sequences").rglob(f"*{name}*/model_card.md")).read_text()
