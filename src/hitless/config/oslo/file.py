"""A service's own configuration files, read with its own option definitions.

As oslo.config does: sections in any case, deprecated names, `$` references (in defaults too), several values of a MultiOpt, the
last of several files. Unlike it: what is wrong, and what nobody declared, is an error, and is told before anything moves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from hitless.config.file import read_text
from hitless.config.ini_lines import read_lines
from hitless.config.oslo.options import OsloOptions
from hitless.config.oslo.reading import Reading
from hitless.config.sources import Layer


@dataclass(frozen=True, slots=True)
class OsloFile:
    options: OsloOptions
    paths: tuple[str | os.PathLike[str], ...]
    directory: str | os.PathLike[str] | None = None
    allow_writable: bool = False

    def files(self) -> list[Path]:
        """Those that would be read now, in order."""
        more = sorted(Path(self.directory).glob("*.conf")) if self.directory is not None else []
        return [*(Path(path) for path in self.paths), *more]

    def layer(self, model: type[BaseModel]) -> Layer:  # noqa: ARG002
        texts = [(path, read_text(path, allow_writable=self.allow_writable)) for path in self.files()]
        reading = Reading(self.options, [read_lines(text, os.fspath(path)) for path, text in texts])
        data = reading.data()
        files = tuple((path, text.encode()) for path, text in texts)
        return Layer(data, reading.origin, ", ".join(str(path) for path, _ in texts), files)
