from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hitless.control import ControlServer, Handler

Serve = Callable[..., Awaitable[ControlServer]]


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of control sockets for this test; nobody has made it yet."""
    path = tmp_path / "run"
    monkeypatch.setenv("HITLESS_RUN_DIR", str(path))
    return path


@pytest.fixture
async def serve(run_dir: Path):  # type: ignore[no-untyped-def]
    async with AsyncExitStack() as stack:

        async def serve(handlers: Mapping[str, Handler], name: str = "web") -> ControlServer:
            server = ControlServer(run_dir / f"{name}.sock", handlers)
            await server.start()
            stack.push_async_callback(server.close)
            return server

        yield serve
