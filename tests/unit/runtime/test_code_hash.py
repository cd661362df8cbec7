import json
import os
import subprocess
import sys

import pytest
from repository import REPO

from merflow.runtime import code_hash as codehash

SCRIPTS = sorted((REPO / "workflow" / "scripts").glob("*.py"))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a small package with every way to need a module."""
    root = tmp_path / "merflow"
    files = {
        "__init__.py": "",
        "a.py": "from . import b\n",
        "b.py": "def f():\n    from merflow.sub.c import x\n",
        "sub/__init__.py": "",
        "sub/c.py": "from .. import d\nx = 1\n",
        "d.py": 'REGISTRY = {"net": "merflow.sub.net:Net"}\nPAGE = "page.html.j2"\n',
        "sub/net.py": "",
        "page.html.j2": '<p>{% import "parts/one.html.j2" as one %}{%- include "parts/gone.html.j2" %}',
        "parts/one.html.j2": "{% include 'parts/two.html.j2' %}",
        "parts/two.html.j2": "two",
        "parts/three.html.j2": "not included",
        "lonely.py": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "script.py").write_text("import json\nfrom merflow import a\n")
    monkeypatch.setattr(codehash, "PACKAGE", root)
    codehash._module.cache_clear()
    codehash._directly_needed.cache_clear()
    yield tmp_path
    codehash._module.cache_clear()
    codehash._directly_needed.cache_clear()


def test_needed_covers_every_kind_of_reference(package):
    files = {str(f.relative_to(package / "merflow")) for f in codehash.needed(package / "script.py")}
    assert files == {"__init__.py", "a.py", "b.py", "sub/__init__.py", "sub/c.py", "d.py", "sub/net.py", "page.html.j2",
                     "parts/one.html.j2", "parts/two.html.j2"}  # fmt: skip


def fresh_hash(script):
    codehash._module.cache_clear()
    codehash._directly_needed.cache_clear()
    return codehash.code_hash(script)


@pytest.mark.parametrize(
    "name",
    ["script.py", "merflow/__init__.py", "merflow/sub/net.py", "merflow/page.html.j2", "merflow/parts/two.html.j2"],
)
def test_hash_depends_on_contents_not_on_times(package, name):
    before = fresh_hash(package / "script.py")
    os.utime(package / name, (1, 1))
    assert fresh_hash(package / "script.py") == before
    (package / name).write_text((package / name).read_text() + "\n# changed\n")
    assert fresh_hash(package / "script.py") != before


def test_hash_ignores_modules_that_are_not_needed(package):
    before = fresh_hash(package / "script.py")
    (package / "merflow" / "lonely.py").write_text("x = 2\n")
    assert fresh_hash(package / "script.py") == before


LOADED = """
import json, os, sys
import cv2, h5py, jinja2, matplotlib.pyplot, pandas, scipy.stats, sklearn.svm, torch

def loaded():
    return [m.__file__ for name, m in sys.modules.items() if name.split(".")[0] == "merflow"]

assert not loaded()
for script, imports in json.load(sys.stdin).items():
    if not os.fork():
        exec(imports, {})
        print(json.dumps([script, loaded()]), flush=True)
        os._exit(0)
    os.wait()
"""
"""Imports the large packages once, then the imports of each script in a forked child."""


@pytest.fixture(scope="module")
def loaded():
    """Return the modules of merflow that Python loads for each script, and the errors."""
    imports = {
        script.stem: "\n".join(
            line for line in script.read_text().splitlines() if line.startswith(("from merflow", "import merflow"))
        )
        for script in SCRIPTS
    }
    command = [sys.executable, "-c", LOADED]
    done = subprocess.run(command, input=json.dumps(imports), capture_output=True, text=True, cwd=REPO)
    return dict(map(json.loads, done.stdout.splitlines())), done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_hash_covers_modules_that_a_script_loads(script, loaded):
    """Compares with the modules that Python itself loads for the imports of a script."""
    modules, errors = loaded
    assert modules.get(script.stem), errors
    assert set(modules[script.stem]) <= {str(f) for f in codehash.needed(script)}
