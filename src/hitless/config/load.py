"""Settings from sources: read, laid over each other, checked, all or nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from hitless.change import digest
from hitless.config.checked import checked
from hitless.config.content import content_hash
from hitless.config.document import Data
from hitless.config.keys import KeyPath, dotted, scalars
from hitless.config.overlay import laid_over
from hitless.config.plain import read
from hitless.config.problems import ConfigError, Problem, SourceUnreachable
from hitless.config.provenance import Provenance
from hitless.config.sources import Layer, Origin, Source, Version

INT_BITS: Final = 63

M = TypeVar("M", bound=BaseModel)
M_co = TypeVar("M_co", bound=BaseModel, covariant=True)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[M_co]):
    """Settings that may be used, and where every one of them came from."""

    settings: M_co
    origins: Mapping[str, Origin]
    """By dotted key."""
    hash: str
    """SHA-256 of the settings: the same for two files that differ in comments, order or units."""
    content_hash: str
    """SHA-256 of what the files held; what a `Watcher` of the same files compares."""
    files: tuple[Path, ...] = ()
    versions: tuple[Version, ...] = ()
    """What sources held that are no files."""
    secrets: tuple[Path, ...] = ()
    """Files that single values were read from (`file:`)."""
    watched_hash: str = ""
    """As `content_hash`, of the secrets' files as well."""


def load(model: type[M], *sources: Source) -> Loaded[M]:
    """The settings that the sources together give; later sources win, table by table and key by key.

    Nothing is guessed: an unknown key, a wrong type (text for a number in a file), a missing key is an error.

    Raises:
        ConfigError: with every problem there is. Values are looked at only when every source could be read.
        SourceUnreachable: nothing else is known to be wrong.
    """
    layers = _read(model, sources)
    provenance = Provenance(layers)
    merged = laid_over(layer.data for layer in layers)
    _check_values(merged, provenance)
    settings, secrets = checked(model, merged, provenance.where)
    contents = [content for layer in layers for _, content in layer.files]
    data, leaves = read(settings)
    return Loaded(
        settings,
        {dotted(leaf.path): provenance.origin(leaf.path) for leaf in leaves},
        digest(data),
        content_hash(contents),
        tuple(path for layer in layers for path, _ in layer.files),
        tuple(layer.version for layer in layers if layer.version is not None),
        tuple(path for path, _ in secrets),
        content_hash([*contents, *(content for _, content in secrets)]),
    )


def _read(model: type[BaseModel], sources: Sequence[Source]) -> list[Layer]:
    layers: list[Layer] = []
    problems: list[Problem] = []
    unreachable: list[Problem] = []
    for source in sources:
        try:
            layers.append(source.layer(model))
        except SourceUnreachable as error:
            unreachable += error.problems
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError([*problems, *unreachable])
    if unreachable:
        raise SourceUnreachable(unreachable)
    return layers


def _check_values(merged: Data, provenance: Provenance) -> None:
    """Refuse what TOML, or the environment, can hold and JSON cannot; no setting has a use for it."""
    found = [(path, complaint) for path, value in scalars(merged) if (complaint := _complaint(path, value))]
    if found:
        raise ConfigError(
            Problem(provenance.where(path), dotted(path), complaint) for path, complaint in found
        )


def _complaint(path: KeyPath, value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"expected a finite number, got {value}"
    if isinstance(value, int) and value.bit_length() > INT_BITS:
        return f"expected a number of at most {INT_BITS} bits"
    if any(isinstance(each, str) and not _is_unicode(each) for each in (value, *path)):
        return "expected UTF-8"
    return ""


def _is_unicode(text: str) -> bool:
    """Whether it has no lone surrogates, which is how Python holds bytes of the environment that are no UTF-8."""
    return not any("\ud800" <= char <= "\udfff" for char in text)
