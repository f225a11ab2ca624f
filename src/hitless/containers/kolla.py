"""Kolla's own timeouts: `docker_graceful_timeout` for all, `NAME_graceful_timeout` for one service.

Kolla-Ansible has the first; a service's own is how its operators write an override, and `graceful_timeout` is what its
container modules call either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hitless.config import ConfigError, Problem, parse_seconds
from hitless.config.file import read_text
from hitless.containers.container import Container
from hitless.containers.said import Layer, Said

SUFFIX: Final = "_graceful_timeout"
FOR_ALL: Final = ("graceful_timeout", "docker_graceful_timeout", "podman_graceful_timeout")


@dataclass(frozen=True, slots=True)
class KollaTimeouts:
    """Seconds, by the variable's name, from one globals.yml."""

    path: Path
    seconds: Mapping[str, float]

    def layer(self, container: Container) -> Layer:
        """The timeout of this container, its own before the global one."""
        for name in (f"{container.name}{SUFFIX}", *reversed(FOR_ALL)):
            if name in self.seconds:
                return {"wait": Said(self.seconds[name], f"{self.path}: {name}")}
        return {}


def read_kolla(path: Path) -> KollaTimeouts:
    """The timeouts of a globals.yml; everything else in it is Kolla's business.

    Raises:
        ConfigError: it cannot be read, is no YAML, or a timeout is no time.
    """
    try:
        import yaml
    except ModuleNotFoundError:
        raise ConfigError(
            [Problem(str(path), "", "reading it needs PyYAML; run: pip install 'hitless[containers]'")]
        ) from None
    try:
        data: Any = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise ConfigError([Problem(str(path), "", f"is not YAML: {error}")]) from None
    found, problems = {}, []
    for key, value in (data if isinstance(data, dict) else {}).items():
        if not str(key).endswith(SUFFIX) and key not in FOR_ALL:
            continue
        try:
            found[str(key)] = parse_seconds(value)
        except ValueError as error:
            problems.append(Problem(str(path), str(key), str(error)))
    if problems:
        raise ConfigError(problems)
    return KollaTimeouts(path, found)
