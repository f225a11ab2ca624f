"""Applications with a runtime around them, on servers that know nothing of Hitless."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import pytest
from tests.live.models import Settings, Thing, World

from hitless.config import TomlFile
from hitless.live import Runtime, Setting


class Driver(Thing): ...


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "service.toml"
    path.write_text('level = "info"\n')
    path.chmod(0o600)
    return path


@pytest.fixture
def runtime(world: World) -> Runtime[Settings]:
    made = Runtime(Settings)

    @made.resource
    class OfDriver(Driver):
        def __init__(self, level: Annotated[str, Setting("level")]) -> None:
            super().__init__(world, level)

    return made


class Server:
    """The lifespan's side of an ASGI server."""

    def __init__(self, app: Any) -> None:
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.said: asyncio.Queue[Any] = asyncio.Queue()
        self.task = asyncio.create_task(app({"type": "lifespan"}, self._inbox.get, self.said.put))

    async def tell(self, kind: str) -> Any:
        await self._inbox.put({"type": kind})
        async with asyncio.timeout(30):
            return await self.said.get()


async def bare(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan here")


def telling(runtime: Runtime[Settings], steps: list[str]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                steps.append(f"{message['type']} at generation {runtime.generation}")
                await send({"type": message["type"] + ".complete"})
        else:
            before = runtime.settings.level
            await runtime.reload(Settings(level="debug"))
            steps.append(f"{before} then {runtime.settings.level}")

    return app


@pytest.mark.parametrize("is_bare", [True, False])
async def test_the_runtime_lives_around_the_lifespan_of_an_application_that_may_have_none(
    runtime: Runtime[Settings], file: Path, world: World, is_bare: bool
) -> None:
    steps: list[str] = []
    app = runtime.asgi(bare if is_bare else telling(runtime, steps), TomlFile(file))
    server = Server(app)
    assert (await server.tell("lifespan.startup"))["type"] == "lifespan.startup.complete"
    assert world.steps == ["open info"]
    if not is_bare:
        await app({"type": "http"}, None, None)  # type: ignore[arg-type]
        assert steps[-1] == "info then info", "a request sees one generation"
        assert runtime.settings.level == "debug"
    assert (await server.tell("lifespan.shutdown"))["type"] == "lifespan.shutdown.complete"
    async with asyncio.timeout(30):
        await server.task
    assert not world.still_open
    assert steps in (
        [],
        ["lifespan.startup at generation 1", "info then info", "lifespan.shutdown at generation 2"],
    )


async def test_a_runtime_that_cannot_start_fails_the_startup(runtime: Runtime[Settings], file: Path) -> None:
    file.write_text("levl = 1\n")
    server = Server(runtime.asgi(bare, TomlFile(file)))
    answer = await server.tell("lifespan.startup")
    assert answer["type"] == "lifespan.startup.failed"
    assert "levl: unknown key; did you mean level?" in answer["message"]


def test_a_wsgi_application_starts_it_with_the_first_request_and_holds_its_generation_to_the_last_piece(
    runtime: Runtime[Settings], file: Path, world: World
) -> None:
    def inner(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/broken":
            raise ValueError("broken")
        if environ["PATH_INFO"] == "/whole":
            return [runtime.settings.level.encode()]
        return (runtime.settings.level.encode() for _ in range(2))

    app = runtime.wsgi(inner, TomlFile(file))

    def ask(path: str) -> Any:
        return app({"PATH_INFO": path}, lambda *_: None)

    assert ask("/whole") == [b"info"]
    body = ask("/pieces")
    pieces = iter(body)
    assert next(pieces) == b"info"
    assert runtime.reload_sync(Settings(level="debug")).status == "applied"
    assert next(pieces) == b"info"
    held = runtime.leases.generations[0].held
    assert len(held) == 1
    body.close()
    assert not held
    with pytest.raises(ValueError, match="broken"):
        ask("/broken")
    assert ask("/whole") == [b"debug"]
    assert app._background is not None
    app._background.stop(30)
    assert not world.still_open
