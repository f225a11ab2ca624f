"""A directory of configuration files (`conf.d`): all of one kind, in the order of their names, later ones win."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from hitless.config.document import Document
from hitless.config.file import read_text
from hitless.config.overlay import laid_over
from hitless.config.problems import ConfigError, Problem
from hitless.config.provenance import Provenance
from hitless.config.sources import Layer, file_layer
from hitless.config.toml import parse_toml

Parse = Callable[[str, str], Document]


def _yaml(text: str, name: str) -> Document:
    from hitless.config.yaml import parse_yaml  # PyYAML is needed only where there is YAML

    return parse_yaml(text, name)


PARSERS: Final[dict[str, Parse]] = {".toml": parse_toml, ".yaml": _yaml, ".yml": _yaml}


@dataclass(frozen=True, slots=True)
class ConfDirectory:
    """Every `*.toml`, `*.yaml` and `*.yml` in `directory`; hidden files and those of editors (`name~`) are passed over.

    A directory that does not exist is an empty one, unless `required`.
    """

    directory: str | os.PathLike[str]
    required: bool = False
    allow_writable: bool = False

    def files(self) -> list[Path]:
        """Those that would be read now, in order."""
        folder = Path(self.directory)
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(path for path in found if path.suffix in PARSERS and not path.name.startswith("."))

    def layer(self, model: type[BaseModel]) -> Layer:  # noqa: ARG002
        folder = Path(self.directory)
        if self.required and not folder.is_dir():
            raise ConfigError([Problem(os.fspath(folder), "", "there is no such directory")])
        layers: list[Layer] = []
        problems: list[Problem] = []
        for path in self.files():
            try:
                text = read_text(path, allow_writable=self.allow_writable)
                layers.append(file_layer(path, text, PARSERS[path.suffix](text, os.fspath(path))))
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        data = laid_over(layer.data for layer in layers)
        files = tuple(each for layer in layers for each in layer.files)
        return Layer(data, Provenance(layers).origin, os.fspath(folder), files)
