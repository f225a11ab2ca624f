"""Paths into a notification: the dialect of JSONPath in which Ceilometer's definitions are written.

Not by a library: the definitions need the grammar of jsonpath-rw-ext (no release since 2019), from which the
maintained libraries have gone away towards RFC 9535: there `[*]` takes nothing of a single value, words want quotes.

    payload.id   $.payload.id   payload.'with.dots'   payload['x']   a[0]   a[*].b   a.*   a..b   a[1:3]
    a[?key=image_id].value   a[?(@.name='cpu' & @.value > 2)]
    publisher_id.`split(., 1, -1)`   name.`sub(/a+/, b)`   list.`len`
    $.payload.host + "_" + $.payload.node   $.payload.share * 100   a|b   (a.b)|(c.d)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hitless.agent.notifications.grammar import PathError, parsed
from hitless.agent.notifications.steps import Match, Steps

__all__ = ["Match", "Path", "PathError"]


class Path:
    """Immutable. `find` never raises: what is not there gives no match."""

    def __init__(self, text: str) -> None:
        """Raises PathError."""
        self.text: Final = text
        expression = parsed(text)
        self._find: Final = expression.find
        self._names: Final = expression.names() if isinstance(expression, Steps) else None

    def find(self, body: Mapping[str, Any]) -> list[Match]:
        if self._names is None:
            return list(self._find(Match((), body)))
        # Nearly all paths are plain names; this is the hot path of a listener.
        value: Any = body
        for name in self._names:
            if not isinstance(value, dict) or name not in value:
                return []
            value = value[name]
        return [Match(self._names, value)]

    def __repr__(self) -> str:
        return f"Path({self.text!r})"
