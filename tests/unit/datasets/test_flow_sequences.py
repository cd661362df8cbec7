"""Several flow images of a clip in a table, and the face beside each: columns `index`, `face` and `apex`."""

import dataset_trees
import pandas as pd
import pytest
from dataset_trees import FlowImage, by_name, reported, usable

from merflow.errors import InputError

CLIPS = [
    FlowImage("casme2", "sub01", "EP02_01f", "positive"),
    FlowImage("casme2", "sub02", "EP02_01f", "negative"),
    FlowImage("samm", "006", "006_1_2", "positive"),
    FlowImage("samm", "007", "007_1_2", "negative"),
]
NAMES = ["/".join(clip[:3]) for clip in CLIPS]
FIRST = NAMES[0]


@pytest.fixture
def tree(tmp_path):
    return dataset_trees.flow_sequences(tmp_path, CLIPS, 3)


def change(tree, function):
    """Change the table: `function` maps its cells to new ones; rows 2 to 4 of the file are those of the first clip."""
    cells = pd.read_csv(tree.table, dtype=str, keep_default_na=False)
    cells.index += 2
    function(cells).to_csv(tree.table, index=False)
    return tree


def set_cells(column, values):
    """A change that sets cells of a column by the number of their row."""

    def function(cells):
        cells = cells.copy()
        if column not in cells:
            cells[column] = ""
        for row, value in values.items():
            cells.loc[row, column] = value
        return cells

    return function


def names(files):
    return [file.rpartition("/")[2] for file in files]


def test_images_of_clip_are_ordered_by_index(tree):
    change(tree, lambda cells: cells.iloc[::-1])
    index = tree.index()
    assert [clip.clip for clip in index.clips] == NAMES[::-1] and not index.problems
    images = index.images[FIRST]
    assert names(images.flows) == [f"casme2 sub01 EP02_01f {number} image.png" for number in (1, 2, 3)]
    assert names(images.faces) == [f"casme2 sub01 EP02_01f {number} face.png" for number in (1, 2, 3)]
    assert images.apex == 2 and by_name(index)[FIRST].frames == images.flows[2]


def test_index_is_a_number_and_counts_from_0_or_1(tmp_path):
    tree = dataset_trees.flow_sequences(tmp_path, CLIPS, 11)
    before = tree.index().images
    assert names(before[FIRST].flows)[1:11:8] == [f"casme2 sub01 EP02_01f {number} image.png" for number in (2, 10)]
    change(tree, lambda cells: cells.assign(index=[str(int(number) - 1) for number in cells["index"]]))
    assert tree.index().images == before and not tree.index().problems


@pytest.mark.parametrize(
    ("changed", "field", "says"),
    [
        (("index", {2: "2"}), "index", "row 2, 3, 4: 2, 2, 3; expected 1, 2, 3"),
        (("index", {3: "4"}), "index", "row 2, 3, 4: 1, 4, 3; expected 1, 2, 3"),
        (("index", {4: ""}), "index", "row 2, 3, 4: 1, 2, empty; expected 1, 2, 3"),
        (("index", {4: "last"}), "index", "row 2, 3, 4: 1, 2, last; expected 1, 2, 3"),
        (("index", {2: "2", 3: "3", 4: "4"}), "index", "row 2, 3, 4: 2, 3, 4; expected 1, 2, 3"),
        (("label", {4: "surprise"}), "label", "row 2, 3, 4: positive, surprise; expected one label for the clip"),
        (("apex", {2: "x", 3: "x"}), "apex", "row 2, 3, 4: 2 are marked; mark one"),
        (("apex", {3: "31"}), "apex", "row 2, 3, 4: 31; expected 1 in the row of the image at the apex and 0 in the"),
        (("face", {3: ""}), "face", "row 3: empty; give the file of the face"),
        (("face", {3: "gone.png"}), "face", "gone.png does not exist"),
        (("image", {2: "gone.png"}), "image", "row 2: "),
        (
            ("face", {3: "samm 006 006_1_2 1 face.png"}),
            "frames",
            "is used for several subjects: casme2/sub01, samm/006",
        ),
    ],
)
def test_clip_with_wrong_rows_is_left_out(tree, changed, field, says):
    index = change(tree, set_cells(*changed)).index()
    problems = reported(index, effect="left out", clip=FIRST)
    assert [problem.field for problem in problems] == [field] and says in problems[0].problem
    assert problems[0].file == str(tree.table) and problems[0].row in (2, 3, 4)
    others = {NAMES[2]} if field == "frames" else set()
    assert usable(index) == set(NAMES[1:]) - others
    with pytest.raises(InputError, match=r"(?s)flows\.csv, row [234] .*left out"):
        tree.index(on_problem="stop")


@pytest.mark.parametrize(("mark", "other"), [("1", "0"), ("x", "no"), ("TRUE", "FALSE"), ("1.0", "0.0")])
def test_apex_is_the_marked_image(tree, mark, other):
    index = change(tree, set_cells("apex", {2: other, 3: mark, 4: ""})).index()
    assert index.images[FIRST].apex == 1 and index.images[NAMES[1]].apex == 2 and not index.problems
    assert by_name(index)[FIRST].frames.endswith("EP02_01f 2 image.png")
    assert [source["source_index"] for source in index.source] == ["2", "3", "3", "3"]


def test_clip_with_fewer_images_is_noted_and_used(tree):
    index = change(tree, lambda cells: cells.drop([3, 4])).index(on_problem="stop")
    (note,) = index.problems
    assert (note.field, note.effect) == ("index", "noted") and usable(index) == set(NAMES)
    assert note.problem == f"clips with fewer than 3 images, which are repeated to make 3: {FIRST} (1)"


def test_several_images_of_clip_need_an_index(tree):
    change(tree, lambda cells: cells.drop(columns="index"))
    (problem, *_) = reported(tree.index(), effect="left out")
    assert (problem.row, problem.field) == (3, "clip")
    assert "is used in row 2 too; names must be unique, unless a column `index` numbers the images" in problem.problem


def test_faces_may_be_left_out_for_all(tree):
    change(tree, lambda cells: cells.assign(face=""))
    assert all(not images.faces and len(images.flows) == 3 for images in tree.index().images.values())


def test_row_numbers_in_index_of_single_images_are_ignored(tmp_path):
    tree = dataset_trees.flow_images(tmp_path, CLIPS)
    before = tree.index()
    change(tree, lambda cells: cells.assign(index=range(7, 11), apex="31"))
    after = tree.index()
    assert after.clips == before.clips and after.images == before.images and not after.problems


def test_single_images_may_have_faces(tree):
    change(tree, lambda cells: cells[cells["index"] == "2"].drop(columns="index"))
    assert names(tree.index().images[FIRST].faces) == ["casme2 sub01 EP02_01f 2 face.png"]
    (problem,) = reported(change(tree, set_cells("face", {2: ""})).index(), effect="left out")
    assert (problem.row, problem.field, problem.problem) == (2, "face", "empty; give the file of the face")
