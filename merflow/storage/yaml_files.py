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
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; name a configuration file that exists") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8; save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(
            f"{path}{line}: {problem}; indent with spaces, close every bracket and quote, and write a blank after `:`"
        ) from error
    if not isinstance(values, dict | None):
        raise ConfigError(f"{path}: expected keys such as `study: mine`, found {str(values)[:50]!r}")
    return values or {}
