"""Names and phrases of earlier versions that are replaced everywhere; the changelog may still name them."""

import re

import pytest
from repository import REPO

DEFINITIONS = [
    "_March", "Lesson", "Course", "_Pupil", "_companies", "Frame", "Stored", "Some", "StoredRows", "whole", "sweep",
    "key", "job", "in_fold", "Answers", "Learnt", "Trained", "_Trained", "settled", "varied", "steady", "claim",
    "_made_of", "look", "gather", "measure", "strangers", "headline", "LEARNED",
]  # fmt: skip
"""Classes, functions and modules."""
VARIABLES = ["chances", "held", "known", "found", "own", "one", "told", "strangers", "headline", "companies"]
"""Variables of the library and the workflow."""
PHRASES = (
    "system more is one file",
    "drawn muscles",
    "move by rule",
    "trains anew for so many",
    "so many times more",
    "keeps a processor waiting",
    "in an order of their own",
    "mend the rights",
    "what was done is kept",
    "wait for work without end",
    "the file is no scorer's",
    "march together",
    "in any company",
    "who is tested",
    "is told",
    "are told",
    "nobody asked for",
    "goes on from",
    "go on from",
    "said of",
    "strangers",
)
"""Phrases of texts that people read."""
LIBRARY = re.compile(r"(merflow|workflow)/.*\.(py|smk)$|workflow/Snakefile$")
SUFFIXES = {".py", ".smk", ".md", ".rst", ".yaml", ".j2", ".csv"}
EXEMPT = {"tests/unit/project/test_words.py", "CHANGELOG.md"}
REMAINING = {
    "found",
    "known",
    "one",
    "own",
}
"""What is still to be replaced; the set must become empty."""


@pytest.fixture(scope="module")
def texts():
    """Text of every file of the project, by its path."""
    files = [file for file in REPO.iterdir() if file.is_file()]
    for folder in ("bench", "config", "docs", "envs", "merflow", "profiles", "studies", "tests", "workflow"):
        files += (file for file in (REPO / folder).rglob("*") if file.suffix in SUFFIXES or file.name == "Snakefile")
    texts = {file.relative_to(REPO).as_posix(): file.read_text(encoding="utf-8") for file in files}
    return {name: text for name, text in texts.items() if name not in EXEMPT}


def replaced(words):
    """Parameters of a test, without those that are still to be replaced."""
    return [pytest.param(word, marks=pytest.mark.xfail(word in REMAINING, reason="to be replaced")) for word in words]


def files_with(texts, pattern, only=""):
    return [name for name, text in texts.items() if re.search(only, name) and re.search(pattern, text)]


@pytest.mark.parametrize("name", replaced(DEFINITIONS))
def test_definition_is_renamed(texts, name):
    assert not files_with(texts, rf"\b(?:class|def) {name}\b|\bimport (?:.*, )?{name}\b", LIBRARY)


@pytest.mark.parametrize("name", replaced(VARIABLES))
def test_variable_is_renamed(texts, name):
    assert not files_with(texts, rf"(?m)^\s*{name}\b[^=\n(]*=[^=]|\bfor (?:\w+, )?{name}\b", LIBRARY)


@pytest.mark.parametrize("phrase", replaced(PHRASES))
def test_phrase_is_reworded(texts, phrase):
    assert not files_with(texts, "(?i)" + r"\s+".join(map(re.escape, phrase.split())))
