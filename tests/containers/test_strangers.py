"""What answers without being an engine, notes that are damaged, and what is asked too late."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hitless.containers import (
    Engine,
    EngineError,
    EngineUnreachable,
    Fleet,
    Hub,
    Intents,
    InvalidParameters,
    StateUnwritable,
    engine_address,
)
from hitless.containers.oversight import desk, desk_path
from hitless.control import ControlClient, ControlError

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]
NO_ENGINES = (b"[]", b"null", b"1", b"{}", b'{"ApiVersion": {"a": 1}}', b'{"ApiVersion": "1.abc"}', b"<html>")


@contextmanager
def answering(path: Path, body: bytes) -> Iterator[None]:
    """Whatever it is asked, this is what it says."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)

    def serve() -> None:
        with suppress(OSError):
            while True:
                with closing(server.accept()[0]) as client:
                    client.recv(65536)
                    client.sendall(head + body)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(path))
        server.listen()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize("body", NO_ENGINES)
async def test_what_answers_and_is_no_engine_is_said_to_be_none(run_dir: Path, body: bytes) -> None:
    with answering(run_dir / "e.sock", body), pytest.raises(EngineError, match="listening there"):
        await Engine(run_dir / "e.sock").connect()


@pytest.mark.parametrize("question", ["names", "inspect"])
async def test_an_engine_that_talks_nonsense_later_on_is_an_error_of_the_engine(
    run_dir: Path, question: str
) -> None:
    body = b'{"ApiVersion": "1.43", "Version": "28"}'
    with answering(run_dir / "e.sock", body):
        async with Engine(run_dir / "e.sock") as engine:
            with pytest.raises(EngineError, match="not as container engines do"):
                await (engine.names() if question == "names" else engine.inspect("c"))


def test_a_socket_that_is_somebody_elses_is_not_taken_for_one_that_is_not_there(run_dir: Path) -> None:
    path = run_dir / "docker.sock"
    run_dir.chmod(0o755)
    with answering(path, b"{}"):
        path.chmod(0o600)
        os.seteuid(65534)
        try:
            for given, environ in (
                (f"unix://{path}", {}),
                (None, {"XDG_RUNTIME_DIR": str(run_dir)}),
            ):
                with pytest.raises(EngineUnreachable, match="may not be used by this user"):
                    engine_address(given, environ)
        finally:
            os.seteuid(0)
        assert engine_address(f"unix://{path}") == path


class _Dying:
    remaining_s = 30.0
    is_killing = True

    def extend(self, seconds: float) -> float:
        raise AssertionError(f"{seconds} s more were promised to one that is being killed")

    def cancel(self) -> None:
        raise AssertionError("a kill was said to be cancelled")


async def test_nobody_is_promised_more_time_for_one_that_is_being_killed(run_dir: Path) -> None:
    path = desk_path("key")
    assert path.is_relative_to(run_dir)
    async with desk("c", "key") as table:
        table.overseen = _Dying()
        for method, params in (("extend", {"seconds": 5.0}), ("cancel", {})):
            with pytest.raises(ControlError, match="is being killed"):
                await asyncio.to_thread(_asked, path, method, params)


def _asked(path: Path, method: str, params: dict[str, Any]) -> None:
    with ControlClient(path) as client:
        client.call(method, params)


async def test_a_fleet_that_may_do_nothing_at_once_is_refused(tmp_path: Path) -> None:
    async with _nobody(tmp_path) as engine:
        with pytest.raises(InvalidParameters, match="at least one"):
            Fleet(engine, Hub(engine), Intents(tmp_path, "e"), max_parallel=0)


class _nobody:
    def __init__(self, folder: Path) -> None:
        self._engine = Engine(folder / "none.sock")

    async def __aenter__(self) -> Engine:
        return self._engine

    async def __aexit__(self, *_: object) -> None:
        await self._engine.close()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"engine": "e", "name": "x"}',
        '{"engine": "e", "name": "x", "what": "stop", "id": null, "policy": {}}',
        '{"engine": "e", "name": "x", "what": "stop", "id": "i", "policy": []}',
        '{"engine": "e", "name": "x", "what": "replace", "id": "i", "policy": {}, "phase": "begun", "new": 5}',
        '{"engine": "e", "name": "x", "what": "replace", "id": "i", "policy": {}, "phase": "begun", "new": ""}',
    ],
)
def test_a_damaged_note_of_what_is_under_way_keeps_nobody_from_working(tmp_path: Path, text: str) -> None:
    intents = Intents(tmp_path, "e")
    (tmp_path / f"{intents.key('x')}.json").write_text(text)
    assert list(intents.all()) == []
    assert intents.get("x") is None


def test_a_whole_note_is_read_back(tmp_path: Path) -> None:
    intents = Intents(tmp_path, "e")
    intents.put("x", {"what": "stop", "id": "i", "policy": {"Name": "always"}, "ready": [["a"]]})
    assert [name for name, _ in intents.all()] == ["x"]


def test_a_note_that_cannot_be_removed_is_told_and_breaks_nothing_off(tmp_path: Path) -> None:
    said: list[str] = []
    intents = Intents(tmp_path, "e", tell=said.append)
    (tmp_path / f"{intents.key('x')}.json").mkdir()  # unlink refuses a directory, also to root
    intents.remove("x")
    intents.remove("y")
    assert len(said) == 1
    assert "cannot be removed" in said[0]
    with pytest.raises(StateUnwritable, match="nothing was done"):
        intents.put("x", {})
