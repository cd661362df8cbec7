"""Settings classes from the plain values of ``snakemake.params``."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def from_params(cls: type[T], params: Mapping[str, Any]) -> T:
    """Return the settings class whose :func:`dataclasses.asdict` is ``params``; the inverse of ``asdict``.

    Raises:
        TypeError: a field is missing, or ``params`` has a key that is not a field.
    """
    types = get_type_hints(cls)
    names = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: _value(types[name], value) if name in names else value for name, value in params.items()})


def _value(annotation: Any, value: Any) -> Any:
    """Make the settings classes inside a field: one, an optional one, or a sequence or mapping of them."""
    if is_dataclass(annotation) and isinstance(annotation, type):
        return from_params(annotation, value)
    arguments = [argument for argument in get_args(annotation) if argument is not NoneType]
    if not arguments or value is None:
        return value
    if get_origin(annotation) is UnionType:
        return _value(arguments[0], value) if len(arguments) == 1 else value
    if isinstance(value, Mapping):
        return {key: _value(arguments[-1], inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_value(arguments[0], inner) for inner in value)
    return value
