"""One field of a definition: paths, and perhaps a plug-in, into the values of a notification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hitless.agent.notifications.definitions import FieldRow, FieldValue
from hitless.agent.notifications.path import Path
from hitless.agent.notifications.traits import TraitPlugin
from hitless.agent.plugins import TRAIT, PluginError, Plugins


class Field:
    """Immutable. A number stands for itself."""

    def __init__(self, value: FieldValue, plugins: Plugins) -> None:
        """Raises PathError, PluginError, ValueError: it cannot be used; the message says why."""
        row = value if isinstance(value, FieldRow) else FieldRow(fields=value)
        fields = row.fields
        self._constant: Final = fields if isinstance(fields, int | float) else None
        texts = (fields,) if isinstance(fields, str) else fields if isinstance(fields, tuple) else ()
        self._paths: Final = tuple(map(Path, texts))
        self._plugin: Final = _plugin(row, plugins)

    def first(self, body: Mapping[str, Any]) -> Any:
        """The first value that is there; None if there is none."""
        if self._constant is not None:
            return self._constant
        if self._plugin is not None:
            return next((value for value in self._made(body) if value is not None), None)
        for path in self._paths:
            for match in path.find(body):
                if match.value is not None:
                    return match.value
        return None

    def all(self, body: Mapping[str, Any]) -> list[Any]:
        """Every value, those that are null as well."""
        if self._constant is not None:
            return [self._constant]
        if self._plugin is not None:
            return [value for value in self._made(body) if value is not None]
        return [match.value for path in self._paths for match in path.find(body)]

    def _made(self, body: Mapping[str, Any]) -> list[Any]:
        assert self._plugin is not None
        found = [match for path in self._paths for match in path.find(body)]
        return self._plugin.values(
            [(".".join(each.where), each.value) for each in found if each.value is not None]
        )


def _plugin(row: FieldRow, plugins: Plugins) -> TraitPlugin | None:
    if row.plugin is None:
        return None
    name, parameters = (
        (row.plugin, {}) if isinstance(row.plugin, str) else (row.plugin.name, row.plugin.parameters or {})
    )
    factory = plugins.load(TRAIT, name)
    try:
        made: TraitPlugin = factory(**parameters)
    except (TypeError, ValueError) as error:
        raise PluginError(f"the trait plug-in {name} does not take its parameters: {error}") from None
    return made
