"""What is asked of a node directly, past every balancer: whether it is healthy, and which release it runs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from hitless.change import Deadline
from hitless.rollout.hand import Hand, said
from hitless.rollout.settings import HealthSettings, VersionSettings

ANSWER_LIMIT: Final = 1 << 20
"""Bytes of an answer that are looked at."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe found."""

    ok: bool
    value: str
    """The version, or what was answered."""
    is_refused: bool = False
    """Whether nothing listens there at all."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP, whatever it says."""

    url: str
    status: int
    headers: Mapping[str, str]
    text: str


class Probes:
    """Asks nodes. Never raises because a node is ill: that is an answer."""

    def __init__(self, health: HealthSettings, version: VersionSettings) -> None:
        self._health: Final = health
        self._version: Final = version
        is_secure = any((url or "").startswith("https:") for url in (health.url, version.url))
        self._client: Final = httpx.AsyncClient(
            timeout=health.ask,
            trust_env=False,
            limits=httpx.Limits(
                max_keepalive_connections=0
            ),  # a connection that stays open keeps a node from ending
            verify=is_secure,  # reading the certificates takes longer than a probe
        )

    async def healthy(self, hand: Hand, deadline: Deadline) -> Answer:
        settings = self._health
        if settings.url is None:
            done = await hand.run(settings.command, deadline.sooner(settings.ask))
            return Answer(done.ok, f"health.command exited with {done.code}: {said(done)}")
        response = await self._get(hand.text(settings.url), deadline)
        if isinstance(response, Answer):
            return response
        return Answer(response.status in settings.status, f"{response.url} answered {response.status}")

    async def version(self, hand: Hand, deadline: Deadline) -> Answer:
        settings = self._version
        if settings.url is None:
            done = await hand.run(settings.command, deadline.sooner(self._health.ask))
            if not done.ok:
                return Answer(False, f"version.command exited with {done.code}: {said(done)}")
            return self._found(done.output, "version.command")
        response = await self._get(hand.text(settings.url), deadline)
        if isinstance(response, Answer):
            return response
        if not 200 <= response.status < 300:
            return Answer(False, f"{response.url} answered {response.status}")
        if settings.header is not None:
            return self._found(response.headers.get(settings.header, ""), f"the header {settings.header}")
        return self._found(response.text, response.url)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _get(self, url: str, deadline: Deadline) -> Reply | Answer:
        seconds = max(0.01, min(self._health.ask, deadline.remaining()))
        try:
            async with asyncio.timeout(seconds), self._client.stream("GET", url, timeout=seconds) as response:
                return Reply(url, response.status_code, response.headers, await _text(response))
        except httpx.ConnectError as error:
            return Answer(False, f"{url} cannot be reached: {error}", is_refused=True)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            return Answer(False, f"{url} gave no answer: {error or type(error).__name__}")

    def _found(self, text: str, where: str) -> Answer:
        key, pattern = self._version.key, self._version.pattern
        if key is not None:
            value = _at(text, key)
            if value is None:
                return Answer(False, f"{where} has no key {key}")
            text = value
        if pattern is not None:
            match = re.search(pattern, text)
            if match is None:
                return Answer(False, f"{where} does not match {pattern}")
            text = match[1]
        text = text.strip()
        return Answer(bool(text), text if text else f"{where} says nothing")


async def _text(response: httpx.Response) -> str:
    """At most ANSWER_LIMIT bytes: a node that is ill may never stop."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_LIMIT:
            break
    return bytes(body[:ANSWER_LIMIT]).decode("utf-8", "replace")


def _at(text: str, key: str) -> str | None:
    try:
        value: Any = json.loads(text)
    except ValueError:
        return None
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return str(value)
