"""INI as OpenStack services read it (oslo.config): sections, several values per key, continuation lines, `$` interpolation.

    [DEFAULT]                       the top of the settings
    enabled_backends = lvm-1,
        nfs-1                       an indented line goes on with the value
    my_ip = 10.0.0.1

    [database]                      the table `database`
    connection = mysql://$my_ip/    $name, ${name}, ${section.name}; $$ is a dollar sign

    [lvm-1]                         with tables={"backends": "enabled_backends"}: backends.lvm-1

A value is text; what it stands for is decided by the setting's type, as with environment variables. Unlike oslo.config, a
value of the wrong type and an unknown key are errors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hitless.config.document import Data
from hitless.config.file import read_text
from hitless.config.ini_lines import DEFAULT_SECTION, Entry, read_lines
from hitless.config.interpolation import Interpolation
from hitless.config.keys import KeyPath
from hitless.config.problems import ConfigError, Problem
from hitless.config.schema import item_of, section_of, settings_of
from hitless.config.sources import Layer, Origin
from hitless.config.text import value_of, values_of


@dataclass(frozen=True, slots=True)
class Multi:
    """On a list, `Annotated[list[str], Multi()]`: each value that the key has is one item (oslo.config's MultiOpt).
    Without it a list is one value with commas, and the last one counts (ListOpt).
    """


@dataclass(frozen=True, slots=True)
class IniFile:
    """An INI file, and after it the `*.conf` files of `directory`, as with `--config-file` and `--config-dir`.

    `tables` maps a setting that is a mapping of tables to the option of [DEFAULT] that lists the sections in it. With it,
    sections that nobody names are passed over: they are backends that are not enabled.
    """

    path: str | os.PathLike[str]
    tables: Mapping[str, str] = field(default_factory=dict)
    directory: str | os.PathLike[str] | None = None
    allow_writable: bool = False

    def files(self) -> list[Path]:
        """Those that would be read now, in order."""
        more = sorted(Path(self.directory).glob("*.conf")) if self.directory is not None else []
        return [Path(self.path), *more]

    def layer(self, model: type[BaseModel]) -> Layer:
        texts = [(path, read_text(path, allow_writable=self.allow_writable)) for path in self.files()]
        entries: dict[tuple[str, str], Entry] = {}
        sections: dict[str, str] = {}
        for path, text in texts:
            lines = read_lines(text, os.fspath(path))
            entries.update(lines.entries)
            sections.update(lines.sections)
        reading = _Reading(model, entries, sections, self.tables)
        data = reading.data()
        return Layer(
            data,
            reading.origin,
            os.fspath(self.path),
            tuple((path, text.encode()) for path, text in texts),
        )


class _Reading:
    """From text by section and key to the model's tables."""

    def __init__(
        self,
        model: type[BaseModel],
        entries: Mapping[tuple[str, str], Entry],
        sections: Mapping[str, str],
        tables: Mapping[str, str],
    ) -> None:
        self._model: Final = model
        self._entries: Final = entries
        self._sections: Final = sections
        self._tables: Final = tables
        self._settings: Final = settings_of(model)
        self._interpolation: Final = Interpolation(entries, self._settings)
        self._origins: Final[dict[KeyPath, Entry]] = {}
        self._problems: Final[list[Problem]] = []

    def data(self) -> Data:
        data: Data = {}
        backends = self._backends()
        for (section, key), entry in self._entries.items():
            for path in self._paths(section, key, backends):
                self._origins[path] = entry
                _put(data, path, self._value(path, entry))
        for name, (table, where) in backends.items():
            self._origins.setdefault((table, name), Entry((), where))
            data.setdefault(table, {}).setdefault(name, {})
        if self._problems:
            raise ConfigError(self._problems)
        return data

    def origin(self, path: KeyPath) -> Origin:
        while path:
            entry = self._origins.get(path)
            if entry is None and len(path) == 1 and str(path[0]) in self._sections:
                return Origin("file", self._sections[str(path[0])])
            if entry is not None:
                return Origin("file", entry.where, "\n".join(entry.texts))
            path = path[:-1]
        return Origin("file")

    def _backends(self) -> dict[str, tuple[str, str]]:
        """The sections that are named by an option: the table that each goes to, and where it is named."""
        named: dict[str, tuple[str, str]] = {}
        for table, option in self._tables.items():
            entry = self._entries.get((DEFAULT_SECTION, option))
            text = self._interpolated(entry) if entry is not None else ""
            for name in (part.strip() for part in text.split(",")):
                if name and entry is not None:
                    named[name] = (table, self._sections.get(name, entry.where))
                    if name not in self._sections:
                        self._problems.append(Problem(entry.where, option, f"there is no section [{name}]"))
        return named

    def _paths(self, section: str, key: str, backends: Mapping[str, tuple[str, str]]) -> list[KeyPath]:
        """Where in the settings the value goes; nowhere for a backend that is not enabled."""
        if section == DEFAULT_SECTION:
            is_list_of_sections = key in self._tables.values() and (key,) not in self._settings
            return [] if is_list_of_sections else [(key,)]
        if section in backends:
            return [(backends[section][0], section, key)]
        is_known = section in self._model.model_fields
        return [(section, key)] if is_known or not self._tables else []

    def _value(self, path: KeyPath, entry: Entry) -> Any:
        info = self._info(path)
        if info is None:
            return self._interpolated(entry)
        if any(isinstance(each, Multi) for each in info.metadata):
            return values_of([self._interpolated(entry, index) for index in range(len(entry.texts))], info)
        return value_of(self._interpolated(entry), info)

    def _info(self, path: KeyPath) -> FieldInfo | None:
        known = self._settings.get(tuple(str(part) for part in path))
        if known is not None or len(path) < 3 or str(path[0]) not in self._model.model_fields:
            return known
        table = section_of(item_of(self._model.model_fields[str(path[0])].annotation))
        return table.model_fields.get(str(path[-1])) if table is not None else None

    def _interpolated(self, entry: Entry, index: int = -1) -> str:
        try:
            return self._interpolation.value(entry.texts[index], entry.section)
        except LookupError as error:
            self._problems.append(Problem(entry.where, entry.key, str(error.args[0])))
            return ""


def _put(data: Data, path: KeyPath, value: Any) -> None:
    *above, last = path
    for part in above:
        data = data.setdefault(str(part), {})
    data[str(last)] = value
