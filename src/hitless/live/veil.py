"""Keeps secrets out of messages: foreign code puts them into exceptions, as in `cannot connect to mysql://u:p@host`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from hitless.change import JSON, Refused
from hitless.config import MASK, shown
from hitless.config.plain import Leaf

SHORTEST: Final = 4
"""Characters. Shorter secrets are no secrets, and hiding them would tear ordinary words apart."""
REMEMBERED: Final = 1000


class Veil:
    """Hides every secret that it has seen in settings."""

    def __init__(self) -> None:
        self._secrets: Final[dict[str, None]] = {}

    def learn(self, leaves: Iterable[Leaf]) -> None:
        for leaf in leaves:
            if leaf.is_secret:
                for text in _texts(leaf.value):
                    self._secrets[text] = self._secrets[repr(text)[1:-1]] = None
        while len(self._secrets) > REMEMBERED:
            del self._secrets[next(iter(self._secrets))]

    def over(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):  # one may begin with another
            text = text.replace(secret, MASK)
        return str(shown(text))

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
