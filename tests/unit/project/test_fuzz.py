"""A few of the broken inputs of tests/fuzz.py for every parser; `python tests/fuzz.py 20000` tries many."""

import random

import fuzz
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merflow.errors import MerflowError

NAMES = [
    "manifest", "corrections", "workbook csv", "workbook xlsx", "flow images", "mmew names",
    "mmew macro names", "smic names", "ck-plus names", "samm names", "casme2 names", "configuration", "picture headers",
    "pictures", "video containers", "scores", "splits", "tables", "weights", "outcome", "scorer", "checkpoint",
    "table of clips", "ensemble", "heads",
]  # fmt: skip


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return fuzz.targets(tmp_path_factory.mktemp("fuzz"))


def test_every_parser_is_tried(targets):
    assert list(targets) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_good_input_is_read(targets, name):
    seeds, parse = targets[name]
    for data in seeds:
        parse(data)


@pytest.mark.parametrize("name", NAMES)
def test_some_broken_input_is_refused(targets, name):
    """A target that never looks at its input, say a generator that nobody asks for its first item, refuses nothing."""
    seeds, parse = targets[name]

    def refused(seed: int) -> bool:
        try:
            parse(fuzz.broken(seeds, random.Random(f"{name} {seed}")))
        except MerflowError:
            return True
        return False

    assert any(refused(seed) for seed in range(60))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_broken_input_is_read_or_refused_in_words(targets, name, seed):
    seeds, parse = targets[name]
    try:
        parse(fuzz.broken(seeds, random.Random(seed)))
    except MerflowError as error:
        assert str(error)


@pytest.mark.parametrize(("name", "seed"), [("ck-plus names", 1295), ("samm names", 790), ("samm names", 1027)])
def test_what_once_crashed_is_read_or_refused(targets, name, seed):
    """A folder in the place of a label file; a digit that is no decimal one in a person's number."""
    seeds, parse = targets[name]
    try:
        parse(fuzz.broken(seeds, random.Random(f"{name} {seed}")))
    except MerflowError as error:
        assert str(error)
