"""Settings from sources: read, laid over each other, checked, all or nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from hitless.change import digest
from hitless.config.complaints import complaints
from hitless.config.content import content_hash
from hitless.config.document import Data
from hitless.config.keys import dotted, scalars
from hitless.config.plain import leaves, plain
from hitless.config.problems import ConfigError, Problem
from hitless.config.provenance import Provenance
from hitless.config.sources import Layer, Origin, Source

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


def load(model: type[M], *sources: Source) -> Loaded[M]:
    """The settings that the sources together give; later sources win, table by table and key by key.

    Nothing is guessed: an unknown key, a wrong type (text for a number in a file), a missing key is an error.

    Raises:
        ConfigError: with every problem there is. Values are looked at only when every source could be read.
    """
    layers = _read(model, sources)
    provenance = Provenance(layers)
    merged: Data = {}
    for layer in layers:
        merged = _laid_over(merged, layer.data)
    _refuse_not_finite(merged, provenance)
    try:
        settings = model.model_validate_json(json.dumps(merged, default=_iso), strict=True)
    except ValidationError as error:
        raise ConfigError(complaints(error, model, merged, provenance.where)) from None
    return Loaded(
        settings,
        {dotted(leaf.path): provenance.origin(leaf.path) for leaf in leaves(settings)},
        digest(plain(settings)),
        content_hash(content for layer in layers for _, content in layer.files),
        tuple(path for layer in layers for path, _ in layer.files),
    )


def _read(model: type[BaseModel], sources: Sequence[Source]) -> list[Layer]:
    layers: list[Layer] = []
    problems: list[Problem] = []
    for source in sources:
        try:
            layers.append(source.layer(model))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return layers


def _laid_over(below: Data, above: Data) -> Data:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = (
            _laid_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
        )
    return merged


def _refuse_not_finite(merged: Data, provenance: Provenance) -> None:
    """TOML has nan and inf; settings have no use for them, and JSON has no word for them."""
    problems = [
        Problem(provenance.where(path), dotted(path), f"expected a finite number, got {value}")
        for path, value in scalars(merged)
        if isinstance(value, float) and not math.isfinite(value)
    ]
    if problems:
        raise ConfigError(problems)


def _iso(value: Any) -> str:
    """TOML's dates and times, which JSON writes as text."""
    return str(value.isoformat())
