"""What each source says of a container, flattened: `{"drain.timeout": Said(30.0, "containers.toml:12")}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from hitless.config import Loaded
from hitless.containers.container import Container
from hitless.containers.dialect import Dialect
from hitless.containers.errors import InvalidParameters
from hitless.containers.rules import ContainersFile, Rule, Service
from hitless.containers.sequence import NEVER_S
from hitless.containers.signals import parse_signal

PREFIX: Final = "hitless.stop."


@dataclass(frozen=True, slots=True)
class Said:
    """One value, and where it was said."""

    value: Any
    where: str


Layer = Mapping[str, Said]


def by_file(container: Container, loaded: Loaded[ContainersFile]) -> Iterator[Layer]:
    """The file's layers for this container, those that win last: defaults, globs in their order, its own name."""
    file = loaded.settings
    yield _layer(file.defaults, ("defaults",), loaded)
    names = [name for name, service in file.service.items() if _matches(name, service, container)]
    for name in sorted(names, key=lambda name: name == container.name):
        yield _layer(file.service[name], ("service", name), loaded)


def by_labels(container: Container) -> Layer:
    """What its labels `hitless.stop.*` say.

    Raises:
        InvalidParameters: one of them makes no sense.
    """
    found = {name: text for name, text in container.labels.items() if name.startswith(PREFIX)}
    data: dict[str, Any] = {}
    for name, text in sorted(found.items()):
        key = name.removeprefix(PREFIX).replace("-", "_")
        table, _, leaf = key.rpartition(".")
        place = data.setdefault(table, {}) if table else data
        if not isinstance(place, dict):
            raise InvalidParameters(
                f"the labels of {container.name} make no sense: {PREFIX}{table} holds other keys and has no value of its own"
            )
        place[leaf] = text
    try:
        rule = Rule.model_validate(data)
    except ValidationError as error:
        raise InvalidParameters(f"the labels of {container.name} make no sense: {_first(error)}") from None
    return {key: Said(value, f"label {PREFIX}{key}") for key, value in flat(rule)}


def by_image(container: Container, dialect: Dialect) -> Layer:
    """The stop signal and timeout that the image, or whoever created the container, set.

    Raises:
        InvalidParameters: the engine would not understand the signal either.
    """
    layer: dict[str, Said] = {}
    if container.stop_signal:
        try:
            layer["signal"] = Said(parse_signal(container.stop_signal), "STOPSIGNAL of the container")
        except ValueError as error:
            raise InvalidParameters(f"the stop signal of {container.name}: {error}") from None
    timeout = container.stop_timeout_s
    # Podman reports its default as if somebody had asked for it.
    if timeout is not None and timeout < 0:  # so engines write "without end"
        layer["wait"] = Said(NEVER_S, "StopTimeout of the container")
    elif timeout is not None and not (dialect.kind == "podman" and timeout == dialect.default_stop_timeout_s):
        layer["wait"] = Said(timeout, "StopTimeout of the container")
    return layer


def flat(rule: Rule) -> Iterator[tuple[str, Any]]:
    """Every value that the rule gives, by dotted key."""
    for key in Rule.model_fields:
        value = getattr(rule, key)
        if isinstance(value, BaseModel):
            for leaf in type(value).model_fields:
                if (inner := getattr(value, leaf)) is not None:
                    yield f"{key}.{leaf}", inner
        elif value is not None:
            yield key, value


def _layer(rule: Rule, path: tuple[str, ...], loaded: Loaded[ContainersFile]) -> Layer:
    def where(key: str) -> str:
        origin = loaded.origins.get(".".join((*path, key)))
        return str(origin) if origin is not None else ".".join(path)

    return {key: Said(value, where(key)) for key, value in flat(rule)}


def _matches(name: str, service: Service, container: Container) -> bool:
    if service.labels:
        return all(fnmatchcase(container.labels.get(key, ""), want) for key, want in service.labels.items())
    return fnmatchcase(container.name, name)


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    return f"{PREFIX}{key}: {problem['msg'].removeprefix('Value error, ')}"
