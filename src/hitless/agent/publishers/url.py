"""A publisher's URL: `scheme://host/path?option=value`, its options checked by a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ValidationError

from hitless.config import shown

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class PublisherUrl:
    text: str
    scheme: str
    host: str
    port: int | None
    path: str
    raw_path: str
    """As it stands, with its escapes."""
    query: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> PublisherUrl:
        """Raises ValueError: it is no URL."""
        scheme, _, rest = text.partition("://")
        parts = urlsplit(f"//{rest}")  # schemes with `_` are no schemes to urlsplit
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        return cls(text, scheme, parts.hostname or "", parts.port, unquote(parts.path), parts.path, query)

    def options(self, model: type[M]) -> M:
        """The options after `?`. An option without a value (`?json`) stands for true.

        Raises:
            ValueError: one is unknown, stands twice, or has a value that it cannot have.
        """
        return self._validated(model, self.query)

    def some_options(self, model: type[M]) -> tuple[M, list[tuple[str, str]]]:
        """The options that the model knows, and the rest, which is somebody else's. Raises ValueError."""
        known = [(key, value) for key, value in self.query if key in model.model_fields]
        return self._validated(model, known), [
            each for each in self.query if each[0] not in model.model_fields
        ]

    def _validated(self, model: type[M], query: Iterable[tuple[str, str]]) -> M:
        given: dict[str, str] = {}
        for key, value in query:
            if key in given:
                raise ValueError(f"the option {key} stands twice; keep one")
            given[key] = value or "true"
        try:
            return model.model_validate_strings(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                known = ", ".join(model.model_fields) or "none"
                raise ValueError(f"unknown option {name} (there are: {known})") from None
            raise ValueError(f"the option {name}: {first['msg'].removeprefix('Value error, ')}") from None

    def __str__(self) -> str:
        """Fit to be shown: without the password."""
        return str(shown(self.text))
