"""Names and phrases of earlier versions that are replaced everywhere; the changelog may still name them."""

import ast
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


@pytest.fixture(scope="module")
def texts():
    """Text of every file of the project, by its path."""
    files = [file for file in REPO.iterdir() if file.is_file()]
    for folder in ("bench", "config", "docs", "envs", "merflow", "profiles", "studies", "tests", "workflow"):
        files += (file for file in (REPO / folder).rglob("*") if file.suffix in SUFFIXES or file.name == "Snakefile")
    texts = {file.relative_to(REPO).as_posix(): file.read_text(encoding="utf-8") for file in files}
    return {name: text for name, text in texts.items() if name not in EXEMPT}


@pytest.fixture(scope="module")
def assigned(texts):
    """Parameters and assigned names, in comprehensions too, of each module of the library and the workflow."""
    names = {}
    for file in (file for file in texts if LIBRARY.match(file) and file.endswith(".py")):
        tree = list(ast.walk(ast.parse(texts[file])))
        fields = {node.target for node in tree if isinstance(node, ast.AnnAssign) and node.value is None}
        stored = (n for n in tree if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n not in fields)
        names[file] = {node.id for node in stored} | {node.arg for node in tree if isinstance(node, ast.arg)}
    return names


def files_with(texts, pattern, only=""):
    return [name for name, text in texts.items() if re.search(only, name) and re.search(pattern, text)]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_definition_is_renamed(texts, name):
    assert not files_with(texts, rf"(?m)\b(?:class|def) {name}\b|\bimport (?:.*, )?{name}\b|^{name}\s*[:=]", LIBRARY)


@pytest.mark.parametrize("name", VARIABLES)
def test_variable_is_renamed(texts, assigned, name):
    assert not [file for file, names in assigned.items() if name in names]
    rules = r"workflow/.*(\.smk|Snakefile)$"
    assert not files_with(texts, rf"(?m)^\s*{name}\b[^=\n(]*=[^=]|\bfor (?:\w+, )*{name}\b", rules)


@pytest.mark.parametrize("phrase", PHRASES)
def test_phrase_is_reworded(texts, phrase):
    assert not files_with(texts, "(?i)" + r"\s+".join(map(re.escape, phrase.split())))
