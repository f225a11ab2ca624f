"""From the lines of a service's files to the tables of its settings model."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from oslo_config import cfg

from hitless.config.document import Data
from hitless.config.ini_lines import DEFAULT_SECTION, Entry, Lines
from hitless.config.interpolation import ALL, REFERENCE, Budget, Chain, check_depth
from hitless.config.keys import KeyPath
from hitless.config.oslo.options import Backends, Options, OsloOptions, section_name
from hitless.config.oslo.values import has_reference
from hitless.config.oslo.written import Files, Written, names_of
from hitless.config.problems import ConfigError, Problem
from hitless.config.sources import DEFAULT, Origin


class Reading:
    """One look at the files. Every problem is collected, and told at the end."""

    def __init__(self, options: OsloOptions, files: Sequence[Lines]) -> None:
        self._options: Final = options
        self._files: Final = Files(files)
        self._each: Final = options.of_each_backend()
        self._shared: Final = options.backends.options if options.backends is not None else None
        self._enabled_sections: Final[set[str]] = set()
        self._origins: Final[dict[KeyPath, Written]] = {}
        self._filled_in: Final[set[KeyPath]] = set()
        """Defaults whose references were replaced."""
        self._problems: Final[list[Problem]] = []
        self._budget: Final = Budget(times=ALL)

    def data(self) -> Data:
        """Raises ConfigError."""
        data: Data = {}
        for section, inside in self._options.sections.items():
            field = () if section == DEFAULT_SECTION else (self._options.fields[section],)
            table: Data = data if not field else {}
            for dest, option in inside.items():
                self._put(table, (*field, dest), option, section)
            if field and section in self._files.sections:
                self._origins[field] = Written((), self._files.sections[section])
            # Where something is required, a section that is not there is none, and not one with defaults.
            is_there = section in self._files.sections or any(path[:1] == field for path in self._origins)
            if (
                field
                and (table or is_there)
                and (is_there or not any(each.required for each in inside.values()))
            ):
                data[field[0]] = table
        backends = self._options.backends
        if backends is not None and (names := self._enabled(backends)):
            data[backends.field] = {name: self._backend(backends, name) for name in names}
        self._refuse_others()
        if self._problems:
            raise ConfigError(self._problems)
        return data

    def origin(self, path: KeyPath) -> Origin:
        if path in self._filled_in:
            return DEFAULT
        while path:
            if (found := self._origins.get(path)) is not None:
                return Origin("file", found.where, "\n".join(found.texts))
            path = path[:-1]
        return DEFAULT

    def _put(self, table: Data, path: KeyPath, option: cfg.Opt, section: str) -> None:
        """What is written for the option; or a default that refers to others; or nothing: then the model knows it."""
        written = self._written(section, option)
        if written is not None:
            self._origins[path] = written
            texts = [self._text(text, section, written.where, option) for text in written.texts]
            table[str(path[-1])] = texts if option.multi else texts[-1]
        elif has_reference(option.default):
            self._filled_in.add(path)
            table[str(path[-1])] = self._filled(option.default, section, option)

    def _written(self, section: str, option: cfg.Opt) -> Written | None:
        found = self._files.find(section, option)
        if found is None and section not in self._options.sections and isinstance(self._shared, str):
            return self._files.find(section_name(self._shared), option)
        return found

    def _backend(self, backends: Backends, name: str) -> Data:
        table: Data = {}
        section = section_name(name)
        path = (backends.field, name)
        self._origins[path] = Written((), self._files.sections.get(section, ""))
        for dest, option in self._each.items():
            self._put(table, (*path, dest), option, section)
        return table

    def _enabled(self, backends: Backends) -> list[str]:
        """The backends that are to be used; a section must be there for each."""
        listed_in = backends.listed_in
        option = self._options.sections[DEFAULT_SECTION].get(listed_in) or cfg.ListOpt(listed_in)
        written = self._files.find(DEFAULT_SECTION, option)
        where, text = (
            (written.where, written.texts[-1]) if written is not None else ("", option.default or "")
        )
        named = (
            self._text(text, DEFAULT_SECTION, where, option).split(",")
            if isinstance(text, str)
            else list(text)
        )
        names = [name for each in named if (name := str(each).partition(":")[0].strip())]
        missing = [name for name in names if section_name(name) not in self._files.sections]
        self._problems.extend(Problem(where, listed_in, f"there is no section [{name}]") for name in missing)
        self._enabled_sections.update(section_name(name) for name in names)
        return [name for name in dict.fromkeys(names) if name not in missing]

    def _refuse_others(self) -> None:
        """What stands in the files and nobody declared."""
        others: dict[str, dict[str, Entry]] = {}
        for section, key, entry in self._files.others():
            others.setdefault(section, {})[key] = entry
        for section, entries in others.items():
            known = self._known(section)
            if known is not None:
                self._problems.extend(
                    Problem(entry.where, _dotted(section, key), f"unknown option{_hint(key, known)}")
                    for key, entry in entries.items()
                )
            elif section not in self._options.ignore and not self._is_disabled(section, entries):
                hint = _hint(section, self._options.sections) or IGNORED
                where = self._files.sections[section]
                self._problems.append(Problem(where, f"[{section}]", f"unknown section{hint}"))

    def _known(self, section: str) -> Options | None:
        if section in self._options.sections:
            return self._options.sections[section]
        return self._each if section in self._enabled_sections else None

    def _is_disabled(self, section: str, keys: Collection[str]) -> bool:
        """Whether it is the section of a backend that is not enabled: it holds options of backends, and nothing else."""
        names = {key for option in self._each.values() for _, key in names_of(option, section)}
        return bool(names) and names.issuperset(keys)

    # References

    def _filled(self, default: Any, section: str, option: cfg.Opt) -> Any:
        match default:
            case str():
                return self._text(default, section, "", option)
            case dict():
                return {
                    str(self._filled(k, section, option)): self._filled(v, section, option)
                    for k, v in default.items()
                }
            case list() | tuple():
                return [self._filled(each, section, option) for each in default]
            case _:
                return default

    def _text(self, text: str, section: str, where: str, option: cfg.Opt) -> str:
        try:
            return self._interpolated(text, section, (), Budget(self._budget))
        except _Elsewhere:
            return ""  # the option that is referred to tells it
        except LookupError as error:
            self._problems.append(Problem(where, _dotted(section, option.dest), str(error.args[0])))
            return ""

    def _interpolated(self, text: str, section: str, above: Chain, budget: Budget) -> str:
        """Raises LookupError: a reference leads nowhere, or in a circle, or they grow without measure."""
        if "$" not in text:
            return text
        check_depth(above)

        def found(match: re.Match[str]) -> str:
            if match["dollar"]:
                return "$"
            return budget.take(self._lookup(match["bare"] or match["braced"], section, above, budget))

        return REFERENCE.sub(found, text.replace(r"\$", "$$"))

    def _lookup(self, name: str, section: str, above: Chain, budget: Budget) -> str:
        group, _, key = name.rpartition(".")
        for place in [section_name(group)] if group else [section, DEFAULT_SECTION]:
            option = (self._options.sections.get(place) or self._each).get(key)
            if option is not None:
                written = self._written(place, option)
                value = option.default if written is None else written.texts[-1]
                chain = (*above, (place, option.dest))
                return self._interpolated("" if value is None else str(value), place, chain, budget)
        kind = _Elsewhere if above else LookupError
        raise kind(f"${name} stands for nothing; there is no such option")


class _Elsewhere(LookupError):
    """A reference that leads nowhere stands in the value of another option."""


IGNORED: Final = "; say ignore= if another program reads it"


def _dotted(section: str, key: str) -> str:
    return key if section == DEFAULT_SECTION else f"{section}.{key}"


def _hint(name: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
