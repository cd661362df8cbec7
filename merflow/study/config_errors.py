"""Messages about a configuration that does not fit its models: key, given value, what is allowed, nearest key."""

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from functools import reduce
from operator import getitem
from typing import Any

from pydantic import BaseModel, ValidationError

RENAMED = {
    "predict.spotting.whole": "max_unsearched_seconds",
    "network.reads": "input_kind",
    "experiments.*.network.reads": "input_kind",
    "network.refit": "epoch_choice",
    "experiments.*.network.refit": "epoch_choice",
}
"""Keys of earlier versions, and their present names."""

TYPES = {"integer": "a whole number", "number": "a number", "string": "a string", "boolean": "true or false"}
TYPES |= {"array": "a list", "object": "a block of keys"}
RANGES = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
NAME_RULE = "use letters, digits, `_`, `.` and `-`"

Schema = Mapping[str, Any]


def problems(model: type[BaseModel], values: Any, prefix: str = "") -> list[str]:
    """Everything that keeps ``values`` from being a ``model``, sorted; ``prefix`` is the key of ``values``."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        schema = model.model_json_schema()
        messages = {_message(dict(detail), values, schema, prefix) for detail in error.errors(include_url=False)}
        return sorted(messages)
    return []


def _message(error: Mapping[str, Any], values: Any, schema: Schema, prefix: str) -> str:
    kind, location = error["type"], list(error["loc"])
    is_name = location[-1:] == ["[key]"]
    path, described = _follow(location[:-1] if is_name else location, schema)
    where = ".".join(map(str, [prefix, *path] if prefix else path)) or "the file"
    if is_name:
        parent = where.rpartition(".")[0]
        return f"{parent}: the name {path[-1]!r} is not allowed; {NAME_RULE}"
    if kind == "extra_forbidden":
        return _unknown_key(where, location, schema)
    if kind == "missing":
        return f"{where.rpartition('.')[0] or 'the file'}: missing {path[-1]}"
    if kind == "missing_key":
        return f"{where}: missing {error['msg']}"
    value = reduce(getitem, path, values)
    shown = ("this block" if value else "an empty block") if isinstance(value, Mapping) else repr(value)
    if kind == "refused":
        return f"{where}: {shown} {error['msg']}"
    return f"{where}: {shown} is not allowed{_expected(described, value)}"


def _unknown_key(where: str, location: Sequence[Any], schema: Schema) -> str:
    _, parent = _follow(location[:-1], schema)
    allowed = sorted(parent.get("properties", ()))
    for old, new in RENAMED.items():
        if fnmatch(".".join(map(str, location)), old):
            return f"{where}: this key is now called `{new}`"
    near = difflib.get_close_matches(str(location[-1]), allowed, 1)
    hint = f" (did you mean `{near[0]}`?)" if near else ""
    return f"{where}: unknown key{hint}; allowed: {', '.join(allowed)}"


def _follow(location: Sequence[Any], schema: Schema) -> tuple[list[Any], Schema]:
    """Keys of ``location`` down to the first choice between types, and the schema of the value there."""
    definitions, path = schema.get("$defs", {}), list[Any]()
    here: Schema = schema
    for part in location:
        inner = here.get("properties", {}).get(part)
        inner = inner or next(iter(here.get("patternProperties", {}).values()), None)
        inner = inner or here.get("additionalProperties") or here.get("items")
        path.append(part)
        if not isinstance(inner, Mapping):
            return path, {}
        here = resolve(inner, definitions)
        if "anyOf" in here:
            break
    return path, here


def resolve(schema: Schema, definitions: Schema) -> Schema:
    """A schema with its reference followed; ``X or null`` as the schema of X with ``nullable``."""
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == len(schema.get("anyOf", ())):
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"} | {"nullable": True}
    return {**resolve(options[0], definitions), **rest} if len(options) == 1 else {"anyOf": options, **rest}


def _expected(schema: Schema, value: Any) -> str:
    """What is allowed, as the end of a message."""
    about = schema.get("description", "")
    about = about[:1].lower() + about[1:].rstrip(".") if schema.get("type") == "object" else about
    if "enum" in schema:
        return f"; allowed: {', '.join(map(str, schema['enum']))}"
    if "anyOf" in schema:
        return f"; expected {about}"
    if "pattern" in schema and isinstance(value, str):
        return f"; {NAME_RULE}" if not about else f": {about}"
    words = TYPES.get(schema.get("type", ""), "")
    limits = " and ".join(f"{word} {schema[key]:g}" for key, word in RANGES.items() if key in schema)
    words = " ".join(filter(None, [words, limits])) + (" or null" if schema.get("nullable") else "")
    return (f"; expected {words}" if words else "") + (f": {about}" if about else "")
