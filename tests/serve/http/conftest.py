"""Fixtures: an engine on a real socket, and clients that speak raw bytes to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop

from serve.http.wire import Service


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every promise holds on both loops."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """`await serve(app, **options)` starts a Service; an error that nobody handled fails the test."""
    loop = asyncio.get_running_loop()
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: unhandled.append(context))
    services: list[Service] = []

    async def start(app: Any, **options: Any) -> Service:
        service = Service(app, **options)
        services.append(service)
        await service.start()
        return service

    yield start
    for service in services:
        await service.stop()
    await asyncio.sleep(0)
    assert unhandled == []
