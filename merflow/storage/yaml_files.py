"""YAML files, with errors of one line."""

from pathlib import Path
from typing import Any

import yaml

from merflow.errors import ConfigError


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the keys of a configuration file; none if it is empty.

    Raises:
        ConfigError: it cannot be read, or holds no keys; the message names the line.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "it is not text in UTF-8")
        raise ConfigError(f"{path} cannot be read: {reason}; name a configuration file that exists") from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", str(error).splitlines()[0])
        where = f"{path}, line {mark.line + 1}" if mark else path
        advice = "indent with spaces, close every bracket and quote, and write a blank after `:`"
        raise ConfigError(f"{where}: {problem}; {advice}") from error
    if not isinstance(values, dict | None):
        raise ConfigError(f"{path}: expected keys such as `study: mine`, found {str(values)[:50]!r}")
    return values or {}
