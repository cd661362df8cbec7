"""A few broken inputs for every parser; `python tests/helpers/fuzz.py 20000` tries many."""

import random

import fuzz
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merflow.errors import MerflowError

NAMES = [
    "manifest", "corrections", "workbook csv", "workbook xlsx", "flow images", "mmew names",
    "mmew macro names", "smic names", "ck-plus names", "samm names", "casme2 names", "configuration", "picture headers",
    "pictures", "videos", "scores", "splits", "tables", "weights", "outcome", "scorer", "checkpoint",
    "table of clips", "models",
]  # fmt: skip


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return fuzz.targets(tmp_path_factory.mktemp("fuzz"))


def test_targets_are_all_parsers(targets):
    assert list(targets) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_parsers_read_valid_input(targets, name):
    seeds, parse = targets[name]
    for data in seeds:
        parse(data)


@pytest.mark.parametrize("name", NAMES)
def test_parsers_refuse_some_broken_input(targets, name):
    """A target that does not read its input (a generator that is never started) refuses nothing."""
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
def test_parsers_read_or_refuse_broken_input(targets, name, seed):
    seeds, parse = targets[name]
    try:
        parse(fuzz.broken(seeds, random.Random(seed)))
    except MerflowError as error:
        assert str(error)


@pytest.mark.parametrize(("name", "seed"), [("ck-plus names", 1295), ("samm names", 790), ("samm names", 1027)])
def test_input_that_once_crashed_is_refused(targets, name, seed):
    """A folder in place of a label file; a digit that is not decimal in a subject number."""
    seeds, parse = targets[name]
    try:
        parse(fuzz.broken(seeds, random.Random(f"{name} {seed}")))
    except MerflowError as error:
        assert str(error)
