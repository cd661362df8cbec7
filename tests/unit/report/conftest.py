"""A made-up study and its page, made once for each file of tests."""

import pytest
from matplotlib import rc_context
from report_study import make_study, written

from merflow.report.svg import STYLE


@pytest.fixture(autouse=True)
def style():
    """The style of the page, for tests that call a section's functions."""
    with rc_context(STYLE):
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    return written(study, tmp_path_factory.mktemp("page"))
