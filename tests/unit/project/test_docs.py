"""The pages of docs/: as a site that needs no network, and as files on a code host."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from repository import REPO

from merflow.study.config import STUDY_BLOCKS
from merflow.study.load import load_config
from merflow.systems.registry import NETWORKS

DOCS = REPO / "docs"
PAGES = [
    *(REPO / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md", "profiles/README.md")),
    *sorted(DOCS.glob("*.md")),
]
LOADS = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "object": ("data",),
    "embed": ("src",),
    "link": ("href",),
    "use": ("href", "xlink:href"),
    "image": ("href", "xlink:href"),
}
"""Attributes that a browser follows by itself."""
NAMED = {"datasets", "preparations", "experiments", "tables", "figures"}
"""Blocks whose keys are below names that the user chooses."""
INVENTED = {"merflow/systems/two_layers.py", "merflow/datasets/casme3.py"}
"""Files that a page tells the reader to write."""


class Page(HTMLParser):
    """Anchors, links, loaded files and table cells of a page of the site."""

    def __init__(self, file: Path):
        super().__init__()
        self.ids, self.links, self.loads, self.rows, self.classes = set(), [], [], [], set()
        self._heading, self._in_heading = "", False
        self._into, self._css = None, False
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        self.classes |= set(values.get("class", "").split())
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        self.loads += [values[name] for name in LOADS.get(tag, ()) if name in values]
        self.loads += re.findall(r"url\(['\"]?([^'\")]+)", values.get("style", ""))
        self._css = tag == "style"
        if tag in ("h2", "h3"):
            self._heading, self._in_heading = "", True
        self._in_heading &= tag != "a"  # The sign of a permanent link.
        if tag == "tr":
            self.rows.append((self._heading, []))
        if tag in ("td", "th"):
            self._into = self.rows[-1][1]
            self._into.append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._into = None

        self._in_heading &= tag not in ("h2", "h3")

    def handle_data(self, data):
        if self._in_heading:
            self._heading += data
        if self._into is not None:
            self._into[-1] += data
        if self._css:
            self.loads += css_loads(data)


def css_loads(text: str) -> list[str]:
    return re.findall(r"url\(['\"]?([^'\")]+)", text) + re.findall(r"@import\s+['\"]([^'\"]+)", text)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    proxies = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}  # No network.
    environment = os.environ | proxies | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="module")
def pages(site):
    pages = {file.relative_to(site).as_posix(): Page(file) for file in site.rglob("*.html")}
    assert {f"{file.stem}.html" for file in DOCS.glob("*.md")} <= set(pages)
    return pages


def test_site_loads_nothing_from_elsewhere(site, pages):
    loads = {name: page.loads for name, page in pages.items()}
    for file in site.rglob("*.css"):
        loads[file.relative_to(site).as_posix()] = css_loads(file.read_text(encoding="utf-8"))
    assert sum(map(len, loads.values())) > 3 * len(pages)
    for name, urls in loads.items():
        for url in urls:
            parts = urlsplit(url)
            assert not parts.netloc and parts.scheme in ("", "data"), f"{name} loads {url}"
            if not parts.scheme and parts.path:
                start = site if name == "404.html" else (site / name).parent  # 404.html is shown for any address.
                assert (start / unquote(parts.path).lstrip("/")).exists(), f"{name}: {url} is not there"
        # The theme's script fetches these two by itself: a library for diagrams, and figures of a repository.
        if name in pages:
            assert not pages[name].classes & {"mermaid", "md-source"}, name


def test_links_of_the_site_resolve(site, pages):
    count = 0
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto"):
                continue
            start = site if name == "404.html" else (site / name).parent
            target = (start / unquote(parts.path).lstrip("/") if parts.path else site / name).resolve()
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{name}: {link} leads nowhere"
            if parts.fragment and target.suffix == ".html":
                anchors = pages[target.relative_to(site.resolve()).as_posix()].ids
                assert unquote(parts.fragment) in anchors, f"{name}: {link} has no such heading"
            count += 1
    assert count > 20 * len(pages)


def test_site_search_works_from_a_file(site):
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert '"title":"Leakage audit"' in index and '"location":"quick-start.html"' in index
    assert '<script src="iframe-worker.js">' in (site / "index.html").read_text(encoding="utf-8")


def reference_keys(page: Page) -> dict[str, tuple[str, str]]:
    """Return values and default of every key of the reference, by its dotted path."""
    keys = {}
    for heading, row in page.rows:
        if len(row) == 4 and row[0] != "key":
            path = [] if heading == "The study" else [heading, *["NAME"] * (heading in NAMED)]
            keys[".".join([*path, row[0]])] = (row[1], row[2])
    return keys


def leaves(settings, path=()):
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


def test_reference_has_every_key_with_its_default(pages):
    """The defaults are those of a configuration that sets nothing."""
    study = {"study": "x", "datasets": {"NAME": {"layout": "demo"}}}
    study["experiments"] = {"NAME": {"system": "tsdgcn", "macro": "none", "micro": "NAME"}}
    settled = load_config(REPO / "config.yaml", study).model_dump(by_alias=True)
    settled["preparations"]["NAME"] = settled["preparations"].pop("default")
    settled["experiments"]["NAME"] = {k: v for k, v in settled["experiments"]["NAME"].items() if k not in STUDY_BLOCKS}
    reference, defaults = reference_keys(pages["configuration.html"]), dict(leaves(settled))
    for block in ("people", "long_people"):
        assert defaults.pop(f"datasets.NAME.{block}") is None, "a block, which has a table of its own"
    depends = {
        "datasets.NAME.kind",
        "experiments.NAME.transfer",
        "experiments.NAME.fusion",
        "experiments.NAME.macro",
        "experiments.NAME.micro",
    }
    assert len(defaults) > 90
    for path, value in defaults.items():
        if path.startswith("network.") and path not in reference:  # A key that only some networks have.
            assert [name for name in NETWORKS if f"{name}.{path.split('.')[1]}" in reference], path
            continue
        default = reference[path][1]
        if default != "required" and path not in depends:
            assert yaml.safe_load(default) == value, f"{path}: {default} is written, {value} is used"
    for name, system in NETWORKS.items():
        for key, value in system.settings.items():
            assert float(reference[f"{name}.{key}"][1]) == value


@pytest.mark.parametrize("page", ["configuration.md", "datasets.md", "command.md"])
def test_committed_tables_are_those_of_the_registries(page):
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    text = (DOCS / page).read_text(encoding="utf-8")
    assert hooks.with_tables(text) == text, "run python docs/hooks.py"


def test_reference_names_the_values_of_a_key(pages):
    reference = reference_keys(pages["configuration.html"])
    assert reference["device"][0] == "auto, cpu, cuda"
    assert reference["demo.subjects"][0] == "whole number at least 4"
    assert reference["experiments.NAME.test_clips"][0] == "whole number at least 1 or null"
    assert {*NETWORKS, "tsdgcn", "majority"} <= set(reference["experiments.NAME.system"][0].split(", "))


def slug(heading: str) -> str:
    """A heading's anchor, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-")


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_links_between_files_resolve(file):
    text = re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = file.parent / parts.path if parts.path else file
        assert target.exists(), f"{file.name}: {link}"
        if parts.fragment and target.suffix == ".md" and target.name != "configuration.md":
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert parts.fragment in set(map(slug, headings)), f"{file.name}: {link}"


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_files_modules_and_targets_on_pages_exist(file):
    text = file.read_text(encoding="utf-8")
    roots = "bench|docs|envs|merflow|profiles|studies|tests|workflow"
    for name in re.findall(rf"(?<![\w/.])((?:{roots})/[\w./-]+\.(?:py|ya?ml|md|csv|txt))", text):
        assert (REPO / name).exists() or name in INVENTED, f"{file.name} names {name}"
    for module in re.findall(r"python -m (merflow[\w.]*)", text):
        path = REPO / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{file.name} runs {module}"
    targets = re.findall(r"^([\w-]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE):
        assert target in targets, f"{file.name} calls make {target}"


def config_blocks():
    blocks = [pytest.param(yaml.safe_load((REPO / "config" / "config.yaml").read_text()), id="config.yaml")]
    for file in PAGES:
        for n, block in enumerate(re.findall(r"```yaml\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL)):
            settings = yaml.safe_load(block)
            if {"datasets", "experiments"} <= set(settings):
                blocks.append(pytest.param(settings, id=f"{file.name}-{n}"))
    return blocks


@pytest.mark.parametrize("settings", config_blocks())
def test_configurations_on_pages_are_accepted(settings, tmp_path):
    """With folders that exist in place of the user's."""
    for dataset in settings["datasets"].values():
        dataset["root"] = str(tmp_path)
        dataset.pop("table", None)
    settings.pop("corrections", None)
    for table in ("manifest.csv", "flows.csv"):
        (tmp_path / table).write_text("clip\n")
    config = load_config(REPO / "config.yaml", settings)
    assert config.experiments or config.spotting
