"""Keeps secrets out of messages: foreign code puts them into exceptions, as in `cannot connect to mysql://u:p@host`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hitless.change import Refused
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
                each = leaf.value if isinstance(leaf.value, list) else [leaf.value]
                self._secrets.update(
                    (text, None) for text in each if isinstance(text, str) and len(text) >= SHORTEST
                )
        while len(self._secrets) > REMEMBERED:
            del self._secrets[next(iter(self._secrets))]

    def over(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return str(shown(text))

    def refusal(self, refused: Refused) -> Refused:
        message, detail = self.over(refused.message), self.over(refused.detail)
        return Refused(refused.reason, message, detail, invalid=refused.invalid)
