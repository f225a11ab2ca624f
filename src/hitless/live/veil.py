"""Keeps secrets out of messages: foreign code puts them into exceptions, as in `cannot connect to mysql://u:p@host`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from hitless.change import JSON, Refused
from hitless.config import shown
from hitless.config.plain import Leaf
from hitless.config.secrets import SHORTEST, without

REMEMBERED: Final = 1000
"""At least those that are in force, and so many of those that were."""


class Veil:
    """Hides every secret that it has seen in settings."""

    def __init__(self) -> None:
        self._secrets: Final[dict[str, None]] = {}

    def learn(self, leaves: Iterable[Leaf]) -> None:
        found = [text for leaf in leaves if leaf.is_secret for text in _texts(leaf.value)]
        for text in found:
            self._remember(text)
            self._remember(repr(text)[1:-1])
        while len(self._secrets) > max(REMEMBERED, 2 * len(found)):
            del self._secrets[next(iter(self._secrets))]

    def _remember(self, text: str) -> None:
        """As the last one: those that are in use are not among the first that are forgotten."""
        self._secrets.pop(text, None)
        self._secrets[text] = None

    def over(self, text: str) -> str:
        return str(shown(without(text, self._secrets)))

    def refusal(self, refused: Refused) -> Refused:
        message, detail = self.over(refused.message), self.over(refused.detail)
        return Refused(
            refused.reason, message, detail, invalid=refused.invalid, differences=refused.differences
        )


def _texts(value: JSON) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str) and len(value) >= SHORTEST:
        yield value
