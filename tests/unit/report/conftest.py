"""A made-up study and its page, made once for each file of tests."""

import pytest
from report_study import make_study, written


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    return written(study, tmp_path_factory.mktemp("page"))
