"""From declarations to specs: what each annotation means, given the settings model and the other declarations.

Everything that can be wrong with a declaration by itself is found here; cycles are found in `graph`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from string import Formatter
from typing import Any, Final

from pydantic import BaseModel

from hitless.config.schema import item_of, strip
from hitless.live.declaration import Declaration, Role
from hitless.live.inputs import Each, EachKey, Needs, Setting
from hitless.live.paths import NoSuchSetting, annotation_at, is_mapping, item_model, reader, tables
from hitless.live.signature import Parameter
from hitless.live.spec import Link, Spec, Value, Which

EACH: Final = "each"


class Unresolved(Exception):
    """A sentence that says what cannot be found."""


class Providers:
    """Who provides which type."""

    def __init__(self, declarations: Sequence[Declaration]) -> None:
        self._all: Final = [(each, each.provides()) for each in declarations]

    def find(self, wanted: Any) -> Declaration | None:
        """The one declaration of exactly this type, or else of a type below it; None if there is none.

        Raises:
            Unresolved: there are several.
        """
        found = [each for each, provided in self._all if provided is not None and provided == wanted]
        if not found and inspect.isclass(wanted) and wanted is not object:
            found = [
                each
                for each, provided in self._all
                if inspect.isclass(provided) and issubclass(provided, wanted)
            ]
        if len(found) > 1:
            choices = " or ".join(f'Needs("{each.name}")' for each in found)
            who = ", ".join(str(each) for each in found)
            raise Unresolved(f"{_shown(wanted)} is provided by {who}; say which with {choices}")
        return found[0] if found else None


class Resolver:
    """Understands the parameters of declarations. Problems are collected, so that all of them are told at once."""

    def __init__(self, model: type[BaseModel], declarations: Mapping[str, Declaration]) -> None:
        self._model: Final = model
        self._declarations: Final = declarations
        self._providers: Final = Providers(list(declarations.values()))
        self.problems: Final[list[str]] = []

    def spec(self, declaration: Declaration) -> Spec:
        values: list[Value] = []
        keys: list[str] = []
        links: list[Link] = []
        for parameter in declaration.parameters():
            try:
                match self._input(declaration, parameter):
                    case Value() as value:
                        values.append(value)
                    case Link() as link:
                        links.append(link)
                    case str() as key:
                        keys.append(key)
            except (Unresolved, NoSuchSetting) as error:
                self.problems.append(f"{declaration.place}: {declaration.name}: {parameter.name}: {error}")
        spec = Spec(declaration, tuple(values), tuple(keys), tuple(links), self._table(declaration))
        self._check_options(spec)
        return spec

    def _table(self, declaration: Declaration) -> Any:
        if declaration.per is None:
            return None
        try:
            if not is_mapping(annotation_at(self._model, declaration.per)):
                raise NoSuchSetting(f"{declaration.per} is no mapping; per= names one")
        except NoSuchSetting as error:
            self.problems.append(f"{declaration.place}: {declaration.name}: per: {error}")
        return reader(declaration.per)

    def _check_options(self, spec: Spec) -> None:
        declaration = spec.declaration
        known = {
            *spec.key_parameters,
            *(each.parameter for each in spec.values),
            *(each.parameter for each in spec.links),
        }
        unknown = sorted(declaration.updatable - known)
        if unknown:
            self.problems.append(
                f"{declaration.place}: {declaration.name}: update takes {', '.join(unknown)}, which it is not built from"
            )
        stated = {
            field for _, field, _, _ in Formatter().parse(declaration.exclusive or "") if field is not None
        }
        for field in sorted(
            stated - {each.parameter for each in spec.values} - {"key", *spec.key_parameters}
        ):
            self.problems.append(
                f"{declaration.place}: {declaration.name}: exclusive names {{{field}}}, which it does not read from settings"
            )

    def _input(self, declaration: Declaration, parameter: Parameter) -> Value | Link | str | None:
        """What the parameter is; None if it is left to its default or, in a cache, to the caller."""
        match parameter.marker:
            case Setting(path):
                annotation_at(self._model, path)
                return Value(parameter.name, path, reader(path))
            case Each():
                self._needs_per(declaration)
                return Value(parameter.name, EACH, reader(""), of_each=True)
            case EachKey():
                self._needs_per(declaration)
                return parameter.name
            case Needs() as needs:
                return self._link(declaration, parameter, self._named(needs, parameter), needs)
        return self._by_type(declaration, parameter)

    def _needs_per(self, declaration: Declaration) -> None:
        if declaration.per is None:
            raise Unresolved('Each and EachKey need per="…", the mapping that has one instance for each key')

    def _named(self, needs: Needs, parameter: Parameter) -> Declaration:
        if needs.name is None:
            found = self._provider(parameter.annotation)
            if found is None:
                raise Unresolved(f"no resource provides {_shown(parameter.annotation)}")
            return found
        if needs.name not in self._declarations:
            close = get_close_matches(needs.name, self._declarations, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise Unresolved(f"there is no resource named {needs.name}{hint}")
        return self._declarations[needs.name]

    def _provider(self, annotation: Any) -> Declaration | None:
        """Who provides this type, or the type of the values of this mapping."""
        bare, _ = strip(annotation)
        found = self._providers.find(bare)
        if found is None and is_mapping(bare):
            inner = self._providers.find(item_of(bare))
            return inner if inner is not None and inner.per is not None else None
        return found

    def _by_type(self, declaration: Declaration, parameter: Parameter) -> Value | Link | None:
        bare, _ = strip(parameter.annotation)
        if inspect.isclass(bare) and issubclass(bare, BaseModel):
            paths = [path for path, table in tables(self._model) if table is bare]
            if len(paths) > 1:
                choices = " or ".join(f'Setting("{path}")' for path in paths)
                raise Unresolved(f"{bare.__name__} is at {' and '.join(paths)}; say which with {choices}")
            if paths:
                return Value(parameter.name, paths[0], reader(paths[0]))
        found = None if bare is inspect.Parameter.empty else self._provider(parameter.annotation)
        if found is not None:
            return self._link(declaration, parameter, found, Needs())
        if parameter.has_default or declaration.role is Role.CACHE:
            return None
        raise Unresolved(_missing(bare))

    def _link(self, declaration: Declaration, parameter: Parameter, to: Declaration, needs: Needs) -> Link:
        if needs.key is not None or needs.key_from is not None:
            if to.per is None:
                raise Unresolved(f"{to} has no per=, and so no keys")
            if needs.key is not None:
                return Link(parameter.name, to.name, Which.KEY, key=needs.key)
            chosen = self._chosen(declaration, parameter, str(needs.key_from))
            return Link(parameter.name, to.name, Which.CHOSEN, chosen=chosen)
        if to.per is None:
            return Link(parameter.name, to.name)
        if is_mapping(parameter.annotation):
            return Link(parameter.name, to.name, Which.ALL)
        if to.per != declaration.per:
            raise Unresolved(
                f"{to} has one instance per key of {to.per}; ask for a Mapping, or say the key in Needs"
            )
        return Link(parameter.name, to.name, Which.SAME)

    def _chosen(self, declaration: Declaration, parameter: Parameter, path: str) -> Value:
        first, _, rest = path.partition(".")
        if first != EACH:
            annotation_at(self._model, path)
            return Value(parameter.name, path, reader(path))
        self._needs_per(declaration)
        item = item_model(annotation_at(self._model, str(declaration.per)))
        if item is None or not rest:
            raise NoSuchSetting(f"{path} must name a setting of a table in {declaration.per}")
        annotation_at(item, rest)
        return Value(parameter.name, path, reader(rest), of_each=True)


def _missing(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return 'has no annotation; say what it is, as in Annotated[str, Setting("database.url")]'
    return (
        f"no resource and no table of settings is a {_shown(annotation)};"
        ' declare one, or annotate it with Setting("…") or Needs("…")'
    )


def _shown(annotation: Any) -> str:
    return annotation.__name__ if inspect.isclass(annotation) else str(annotation)
