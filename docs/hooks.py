"""The tables of the configuration's keys and of the datasets, and the help of the command; ``python docs/hooks.py``
writes them into the pages.

MkDocs loads this file as hooks of the site.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import nbformat
import numpy as np
from mkdocs.structure.files import File, Files

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO))

from merflow.command.app import main as command  # noqa: E402
from merflow.datasets.labels import class_sets  # noqa: E402
from merflow.datasets.layout import Layout  # noqa: E402
from merflow.datasets.registry import LAYOUTS  # noqa: E402
from merflow.study.config import STUDY_BLOCKS, Config  # noqa: E402
from merflow.study.config_errors import resolve  # noqa: E402
from merflow.systems.registry import NETWORKS  # noqa: E402

PAGE = "configuration.md"
END = "<!-- end of the table -->"
FILE = "../config.yaml"
"""As the pages link to it, for readers of the repository; on the site it stands whole on its page."""
TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "object": "block",
}
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Add config.yaml to the page of the configuration, and let links to it and to notebooks lead there."""
    here = page.file.src_uri == PAGE
    markdown = re.sub(r"\]\((notebooks/[\w-]+)\.ipynb\)", r"](\1.md)", markdown)
    markdown = markdown.replace(f"]({FILE})", "](#the-file)" if here else f"]({PAGE}#the-file)")
    file = (REPO / "config.yaml").read_text(encoding="utf-8")
    return f"{markdown}\n\n## The file\n\n```yaml\n{file}```\n" if here else markdown


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each notebook: its texts, code and stored outputs."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(file)
        page = notebook_markdown(Path(file.abs_src_path))
        files.append(File.generated(config, file.src_uri.replace(".ipynb", ".md"), content=page))
    return files


def notebook_markdown(path: Path) -> str:
    """Return a notebook with its outputs as Markdown; pictures are data URIs."""
    parts = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"data:image/png;base64,{data['image/png'].strip()}"
                parts.append(f'<p><img alt="Figure that the code above draws" src="{picture}"></p>')
            elif "text/html" in data:
                table = re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.DOTALL)
                table = table.replace('<table border="1" class="dataframe">', "<table>")  # Styled like other tables.
                parts.append(re.sub(r"\n\s*", "", table))
            else:
                parts.append(f"```text\n{(output.get('text') or data['text/plain']).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def on_page_content(html: str, **_: Any) -> str:
    """Show names in docstrings without their roles of Sphinx, such as ``:func:``."""
    return re.sub(r":(?:func|class|meth|mod|data|attr):<code>~?", "<code>", html)


def with_tables(markdown: str) -> str:
    """Return a page with its tables as the models and registries have them now, each from its mark to ``END``."""
    tables = dataset_tables() | {"<!-- every key -->": reference(), "<!-- every subcommand -->": command_help()}
    for mark, table in tables.items():
        if mark in markdown:
            start, _, rest = markdown.partition(mark)
            markdown = f"{start}{mark}\n\n{table}\n\n{END}{rest.partition(END)[2]}"
    return markdown


def command_help(group: click.Group = command, parent: click.Context | None = None) -> str:
    """Return the help of every subcommand of ``merflow``, each below a heading."""
    context = click.Context(group, parent, info_name="merflow" if parent is None else group.name, max_content_width=100)
    parts = []
    for name, subcommand in group.commands.items():
        if isinstance(subcommand, click.Group):
            parts.append(command_help(subcommand, context))
            continue
        inner = click.Context(subcommand, context, info_name=name, max_content_width=100, terminal_width=100)
        parts.append(f"### {inner.command_path}\n\n```text\n{subcommand.get_help(inner)}\n```")
    return "\n\n".join(parts)


def dataset_tables() -> dict[str, str]:
    """Return the tables of datasets.md by their marks: layouts, class sets, and where to get the datasets."""
    layouts = [
        [_code(name), entry.title, ", ".join([_kind(entry), *map(str, filter(None, [entry.fps]))])]
        + [entry.looks_for, entry.clip_names, entry.unverified]
        for name, entry in LAYOUTS.items()
    ]
    sets = []
    for name, labels in class_sets().items():
        parts = [part for layout, part in labels.parts.items() if LAYOUTS[layout].has_frames]
        counts = {label: sum(part.counts.get(label, 0) for part in parts) for label in labels.classes}
        text = ", ".join(f"{label} {count or ''}".strip() for label, count in counts.items())
        text += f" = {sum(counts.values())}" if any(counts.values()) else " (not published)"
        if all(part.subjects for part in parts):
            text += f", of {sum(part.subjects for part in parts)} subjects"
        columns = dict.fromkeys(part.column for part in parts)
        sets.append([_code(name), ", ".join(labels.parts), ", ".join(columns), text])
    makers = [[entry.title, entry.makers] for entry in LAYOUTS.values() if entry.makers]
    return {
        "<!-- layouts -->": _rows(
            layouts, ("layout", "dataset", "kind, fps", "looks for", "clip, subject", "not checked on a real copy")
        ),
        "<!-- class sets -->": _rows(sets, ("set", "for", "column", "classes (clips published)")),
        "<!-- makers -->": _rows(makers, ("dataset", "from")),
    }


def _kind(layout: Layout) -> str:
    """What the clips of a layout show; of a distributed dataset with both kinds, the user chooses."""
    return layout.kind or ("micro or macro" if layout.licence else "yours")


def reference() -> str:
    """Every key of the configuration with its values, default and meaning, as Markdown."""
    schema = Config.model_json_schema()
    keys = _inline(schema["properties"], schema["$defs"])
    top = {name: key for name, key in keys.items() if not _block(key)}
    parts = ["## The study", _table(top, schema["required"])]
    for name, key in keys.items():
        if _block(key):
            parts += _sections(name, key)
    parts += list(_networks())
    return "\n\n".join(parts)


def _inline(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A JSON schema with its references replaced; ``X or null`` as X with ``nullable``."""
    if isinstance(schema, list):
        return [_inline(item, definitions) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {key: _inline(value, definitions) for key, value in resolve(schema, definitions).items()}


def _sections(path: str, block: Mapping[str, Any]) -> Iterator[str]:
    """A heading, a sentence and a table of one block, then the same of the blocks in it."""
    yield f"{'#' * (2 if '.' not in path else 3)} `{path}`"
    text = block.get("description", "").rstrip(".")
    yield f"{text[:1].upper()}{text[1:]}."
    if "properties" not in block:
        path, block = f"{path}.NAME", _entries(block)
        yield f"Each `{path}`:"
    shared = STUDY_BLOCKS if path == "experiments.NAME" else ()
    inner = {key: value for key, value in block["properties"].items() if _block(value) and key not in shared}
    rest = {key: value for key, value in block["properties"].items() if key not in inner}
    if rest:
        yield _table(rest, block.get("required", ()), shared)
    for key, value in inner.items():
        yield from _sections(f"{path}.{key}", value)


def _networks() -> Iterator[str]:
    """Return the default of each key of the block ``network``, for each network of the registry."""
    yield "## The networks' own values"
    yield "The values of keys of the block `network` that are `null` or left out, and the keys that a network adds."
    for name, system in NETWORKS.items():
        yield f"### `{name}`"
        loss = ", ".join(f"{key} {value}" for key, value in system.loss.items())
        rows = [[f"`{key}`", "", _code(value), ""] for key, value in system.settings.items()]
        rows += [_row(key, option) for key, option in system.options.items()]
        yield _rows([*rows, ["`loss`", "", loss, "a block of the experiment"]])


def _table(properties: Mapping[str, Any], required: Sequence[str] = (), shared: Sequence[str] = ()) -> str:
    rows = []
    for key, value in properties.items():
        if key in shared:
            rows.append([f"`{key}`", "block", "the study's", f"keys of [`{key}`](#{key}) with values of its own"])
        else:
            rows.append(_row(key, value, key in required))
    return _rows(rows)


def _rows(rows: list[list[str]], header: Sequence[str] = ("key", "values", "default", "meaning")) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows])


def _row(key: str, schema: Mapping[str, Any], required: bool = False) -> list[str]:
    default = "required" if required else _code(schema["default"])
    return [f"`{key}`", _values(schema), default, schema.get("description", "")]


def _values(schema: Mapping[str, Any]) -> str:
    """What a key may be, in words."""
    if "anyOf" in schema:
        words = list(map(_values, schema["anyOf"]))
    elif "enum" in schema:
        words = [", ".join(_code(value) for value in schema["enum"] if value is not None)]
    else:
        kinds = schema.get("type", "any value")
        words = [_type(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    return " or ".join(words + ["null"] * bool(schema.get("nullable")))


def _type(kind: str, schema: Mapping[str, Any]) -> str:
    if kind == "array":
        return f"list of {_values(schema['items'])}" if schema.get("items") else "list"
    bounds = " and ".join(f"{word} {schema[bound]:g}" for bound, word in BOUNDS.items() if bound in schema)
    return " ".join(filter(None, [TYPES.get(kind, kind), bounds]))


def _entries(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of each entry of a block whose keys the user names."""
    named = next(iter(schema.get("patternProperties", {}).values()), schema.get("additionalProperties"))
    return named if isinstance(named, Mapping) else {}


def _block(schema: Mapping[str, Any]) -> bool:
    """Whether a key holds keys of its own."""
    return "properties" in schema or "properties" in _entries(schema)


def _code(value: Any) -> str:
    if isinstance(value, float):  # 0.00001, not 1e-05, which YAML takes for a word.
        return f"`{np.format_float_positional(value, trim='0')}`"
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


if __name__ == "__main__":
    for name in (PAGE, "datasets.md", "command.md"):
        path = Path(__file__).with_name(name)
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
