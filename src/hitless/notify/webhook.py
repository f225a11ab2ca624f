"""Notices as JSON to a URL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import SecretStr

from hitless.config.posting import PostFailed, checked_url, post
from hitless.notify.notice import Notice
from hitless.notify.sink import SEVERAL, Retries, SinkFailed

PASSING: Final = frozenset({408, 425, 429})
"""Refusals that may be another answer next time; so may everything from 500 on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSink:
    """A POST for each notice; 2xx is taken. `id` is the same in every attempt, so that the receiver can tell a repetition.

    `url` and `headers` may hold secrets: neither is shown, but the host.
    """

    url: str | SecretStr = field(repr=False)
    headers: Mapping[str, str | SecretStr] = field(default_factory=dict, repr=False)
    timeout_s: float = 5.0
    """For one attempt."""
    retries: Retries = SEVERAL

    def __post_init__(self) -> None:
        checked_url(_text(self.url))

    @property
    def name(self) -> str:
        parts = checked_url(_text(self.url))
        return f"webhook {parts.hostname}" + (f":{parts.port}" if parts.port else "")

    def send(self, notice: Notice) -> None:
        body = json.dumps(notice.to_json(), ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            **{name: _text(each) for name, each in self.headers.items()},
        }
        try:
            answer = post(_text(self.url), body, headers=headers, timeout_s=self.timeout_s)
        except PostFailed as error:
            raise SinkFailed(str(error)) from None
        if not 200 <= answer.status < 300:
            is_final = answer.status < 500 and answer.status not in PASSING
            raise SinkFailed(f"answered with status {answer.status}", is_final=is_final)


def _text(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
