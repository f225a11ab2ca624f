"""Server and client over real sockets; the client is blocking, so it runs in a thread."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.control.conftest import Serve

from hitless.control import (
    JSON,
    ControlClient,
    ControlError,
    ControlServer,
    ControlTimeout,
    NoSuchService,
    Request,
    ServiceRunning,
    UnusablePath,
)

ROOT = Path(__file__).parents[2]


async def echo(request: Request) -> JSON:
    return {
        "method": request.method,
        "params": request.params,
        "uid": request.peer.uid,
        "pid": request.peer.pid,
    }


async def count(request: Request) -> JSON:
    for number in range(3):
        await request.progress("counted", {"number": number})
    return "done"


async def refuse(request: Request) -> JSON:
    raise ControlError("busy", "a change is in progress", {"since": 5})


async def crash(request: Request) -> JSON:
    raise RuntimeError("a bug")


async def forever(request: Request) -> JSON:
    await asyncio.Event().wait()
    return None


async def unspeakable(request: Request) -> JSON:
    return {"at": object()}  # type: ignore[dict-item]


HANDLERS = {
    "echo": echo,
    "count": count,
    "refuse": refuse,
    "crash": crash,
    "forever": forever,
    "unspeakable": unspeakable,
}


def talk(path: Path, conversation: Callable[[ControlClient], Any]) -> Any:
    with ControlClient(path, timeout_s=5) as client:
        return conversation(client)


async def exchange(path: Path, *lines: bytes, answers: int | None = None) -> list[dict[str, Any]]:
    """What the server answers to these raw lines."""
    reader, writer = await asyncio.open_unix_connection(path, limit=2**24)
    writer.write(b"".join(lines))
    found = []
    async with asyncio.timeout(5):
        while len(found) < (len(lines) if answers is None else answers):
            line = await reader.readline()
            if not line:
                break
            found.append(json.loads(line))
    writer.close()
    await writer.wait_closed()
    return found


async def test_a_call_is_answered_and_the_server_knows_who_asks(serve: Serve) -> None:
    server = await serve(HANDLERS)
    answer = await asyncio.to_thread(
        talk, server.path, lambda client: client.call("echo", {"a": [1, None, "ü"]})
    )
    assert answer == {
        "method": "echo",
        "params": {"a": [1, None, "ü"]},
        "uid": os.geteuid(),
        "pid": os.getpid(),
    }


async def test_progress_comes_before_the_result(serve: Serve) -> None:
    server = await serve(HANDLERS)
    seen: list[Any] = []

    def conversation(client: ControlClient) -> Any:
        return client.call("count", on_event=lambda name, fields: seen.append((name, dict(fields))))

    assert await asyncio.to_thread(talk, server.path, conversation) == "done"
    assert seen == [("counted", {"number": number}) for number in range(3)]


async def test_the_wire_is_as_documented(serve: Serve) -> None:
    server = await serve(HANDLERS)
    assert await exchange(server.path, b'{"id":"x","method":"count","params":{}}\n', answers=4) == [
        {"id": "x", "event": {"name": "counted", "fields": {"number": 0}}},
        {"id": "x", "event": {"name": "counted", "fields": {"number": 1}}},
        {"id": "x", "event": {"name": "counted", "fields": {"number": 2}}},
        {"id": "x", "result": "done"},
    ]


async def test_errors_carry_code_message_and_detail(serve: Serve) -> None:
    server = await serve(HANDLERS)

    def conversation(client: ControlClient) -> list[ControlError]:
        errors = []
        for method in ("refuse", "crash", "nope", "unspeakable"):
            with pytest.raises(ControlError) as caught:
                client.call(method)
            errors.append(caught.value)
        assert client.call("count") == "done"  # the connection is as good as before
        return errors

    refused, crashed, unknown, unspeakable = await asyncio.to_thread(talk, server.path, conversation)
    assert (refused.code, str(refused), refused.detail) == ("busy", "a change is in progress", {"since": 5})
    assert (crashed.code, str(crashed)) == ("internal_error", "RuntimeError: a bug")
    assert unknown.code == "unknown_method"
    assert (
        str(unknown) == "there is no method nope; there are: count, crash, echo, forever, refuse, unspeakable"
    )
    assert unspeakable.code == "internal_error"


@pytest.mark.parametrize(
    ("line", "code", "id_"),
    [
        (b"hello", "malformed", None),
        (b"\xff\xfe", "malformed", None),
        (b"[]", "malformed", None),
        (b'"x"', "malformed", None),
        (b"", "malformed", None),
        (b"[" * 100_000, "malformed", None),
        (b'{"id":1,"method":"echo","params":{"a":NaN}}', "malformed", None),
        (b'{"id":1}', "malformed", 1),
        (b'{"id":1,"method":5}', "malformed", 1),
        (b'{"id":[1],"method":"echo"}', "malformed", None),
        (b'{"id":true,"method":"echo"}', "malformed", None),
        (b'{"id":1,"method":"echo","extra":1}', "malformed", 1),
        (b'{"id":1,"method":"echo","params":[1]}', "wrong_params", 1),
        (b'{"id":1,"method":"echo","params":"x"}', "wrong_params", 1),
        (b'{"id":1,"method":""}', "unknown_method", 1),
    ],
)
async def test_what_is_no_request_is_answered_with_an_error_and_the_connection_lives(
    serve: Serve, line: bytes, code: str, id_: int | None
) -> None:
    server = await serve(HANDLERS)
    wrong, right = await exchange(server.path, line + b"\n", b'{"id":2,"method":"echo"}\n')
    assert (wrong["error"]["code"], wrong["id"]) == (code, id_)
    assert right["id"] == 2
    assert "result" in right


async def test_a_line_that_is_too_long_is_refused(serve: Serve) -> None:
    server = await serve(HANDLERS)
    (answer,) = await exchange(server.path, b'{"method":"' + b"x" * 2**20 + b'"}\n')
    assert answer["error"]["code"] == "line_too_long"


async def test_a_large_answer_arrives(serve: Serve) -> None:
    async def large(request: Request) -> JSON:
        return "x" * 8 * 2**20

    server = await serve({"large": large})
    assert len(await asyncio.to_thread(talk, server.path, lambda client: client.call("large"))) == 8 * 2**20


async def test_requests_in_one_write_are_answered_in_order(serve: Serve) -> None:
    server = await serve(HANDLERS)
    lines = [json.dumps({"id": number, "method": "echo"}).encode() + b"\n" for number in range(100)]
    assert [answer["id"] for answer in await exchange(server.path, *lines)] == list(range(100))


async def test_a_request_in_pieces_is_a_request(serve: Serve) -> None:
    server = await serve(HANDLERS)
    reader, writer = await asyncio.open_unix_connection(server.path)
    for byte in b'{"id":1,"method":"echo"}\n':
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert json.loads(await reader.readline())["id"] == 1
    writer.close()


async def test_a_client_that_only_closes_its_sending_side_gets_its_answer(serve: Serve) -> None:
    server = await serve(HANDLERS)
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b'{"id":1,"method":"count"}\n')
    writer.write_eof()
    answers = (await reader.read()).splitlines()
    assert json.loads(answers[-1]) == {"id": 1, "result": "done"}
    writer.close()


async def test_the_socket_is_private_from_the_moment_it_exists(serve: Serve, run_dir: Path) -> None:
    run_dir.mkdir(mode=0o700)
    modes: set[int] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                modes.add(stat.S_IMODE((run_dir / "web.sock").stat().st_mode))
            except FileNotFoundError:
                continue

    thread = threading.Thread(target=look)
    old = os.umask(0)
    thread.start()
    try:
        for _ in range(50):
            server = ControlServer(run_dir / "web.sock", {})
            await server.start()
            await server.close()
    finally:
        stop.set()
        thread.join()
        assert os.umask(old) == 0
    assert modes <= {0o600}


@pytest.mark.root
async def test_another_user_is_refused_even_if_the_socket_lets_it_in(public_path: Path) -> None:
    server = ControlServer(public_path / "web.sock", HANDLERS)
    await server.start()
    server.path.chmod(0o666)
    script = (
        "import os, sys\nfrom hitless.control import *\nos.setgid(12345); os.setuid(12345)\n"
        "try: print(ControlClient(sys.argv[1], 5).call('echo'))\n"
        "except ControlError as error: print(error.code, error)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, server.path, stdout=subprocess.PIPE, cwd=ROOT
    )
    told, _ = await process.communicate()
    await server.close()
    assert told.decode().startswith("forbidden uid 12345 may not talk to this service")


@pytest.mark.root
async def test_root_may_talk_to_the_service_of_a_user(public_path: Path) -> None:
    directory = public_path / "run"
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, 12345)
    process = await service(directory / "web.sock", "os.setgid(12345); os.setuid(12345)")
    answer = await asyncio.to_thread(talk, directory / "web.sock", lambda client: client.call("who"))
    assert answer == [12345, 0]
    process.kill()
    await process.wait()


SERVICE = """
import asyncio, os, sys
from hitless.control import *
async def who(request): return [os.geteuid(), request.peer.uid]
async def main():
    server = ControlServer(sys.argv[1], {"who": who})
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()
"""


async def service(path: Path, before: str = "") -> asyncio.subprocess.Process:
    """A service in a process of its own, ready."""
    script = f"{SERVICE}\n{before}\nasyncio.run(main())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, path, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def test_a_name_that_is_taken_is_refused_with_the_process_that_has_it(run_dir: Path) -> None:
    path = run_dir / "web.sock"
    process = await service(path)
    with pytest.raises(ServiceRunning, match=f"web.sock is already running as pid {process.pid}$") as caught:
        await ControlServer(path, {}).start()
    assert caught.value.pid == process.pid
    # The living service has not been disturbed by the attempt.
    assert await asyncio.to_thread(talk, path, lambda client: client.call("who")) == [0, 0]
    process.kill()
    await process.wait()


async def test_a_service_that_hangs_still_has_its_name(run_dir: Path) -> None:
    path = run_dir / "web.sock"
    process = await service(path)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(ServiceRunning):
        await ControlServer(path, {}).start()
    with pytest.raises(
        ControlTimeout, match=r"did not answer who within 0\.2 s; it may still be doing it"
    ) as caught:
        await asyncio.to_thread(lambda: ControlClient(path).call("who", timeout_s=0.2))
    assert caught.value.exit_code == 4
    process.kill()
    await process.wait()


async def test_what_a_killed_service_left_behind_is_replaced(run_dir: Path) -> None:
    path = run_dir / "web.sock"
    for _ in range(3):
        process = await service(path)
        process.kill()
        await process.wait()
        with pytest.raises(NoSuchService, match="no service listens on") as caught:
            ControlClient(path)
        assert caught.value.exit_code == 6
    server = ControlServer(path, HANDLERS)
    await server.start()
    assert await asyncio.to_thread(talk, path, lambda client: client.call("count")) == "done"
    await server.close()


async def test_of_many_that_start_at_once_one_wins(run_dir: Path) -> None:
    servers = [ControlServer(run_dir / "web.sock", HANDLERS) for _ in range(10)]
    results = await asyncio.gather(*(server.start() for server in servers), return_exceptions=True)
    assert [type(result) for result in results].count(ServiceRunning) == 9
    winner = servers[results.index(None)]
    assert await asyncio.to_thread(talk, winner.path, lambda client: client.call("count")) == "done"
    await winner.close()


async def test_a_file_that_is_no_socket_is_not_removed(run_dir: Path) -> None:
    run_dir.mkdir(mode=0o700)
    (run_dir / "web.sock").write_text("precious")
    server = ControlServer(run_dir / "web.sock", {})
    for _ in range(2):
        with pytest.raises(UnusablePath, match="is there and is no socket"):
            await server.start()
    assert (run_dir / "web.sock").read_text() == "precious"


async def test_a_closed_server_leaves_no_socket_and_its_name_is_free(serve: Serve, run_dir: Path) -> None:
    for _ in range(3):
        server = ControlServer(run_dir / "web.sock", HANDLERS)
        await server.start()
        await server.close()
        await server.close()
        assert not (run_dir / "web.sock").exists()


async def test_the_socket_of_a_successor_is_not_removed(run_dir: Path) -> None:
    first = ControlServer(run_dir / "web.sock", HANDLERS)
    await first.start()
    (run_dir / "web.sock").unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(run_dir / "web.sock"))
        await first.close()
        assert (run_dir / "web.sock").exists()


async def test_a_program_that_replaces_itself_by_exec_keeps_socket_and_name(run_dir: Path) -> None:
    script = """
import asyncio, os, sys
from hitless.control import *
async def who(request): return [os.getpid(), len(sys.argv)]
async def main():
    inherited = (int(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 2 else None
    server = ControlServer(sys.argv[1], {"who": who}, inherited=inherited)
    await server.start()
    if inherited is None:
        for descriptor in server.descriptors:
            os.set_inheritable(descriptor, True)
        argv = [sys.executable, "-c", os.environ["SCRIPT"], sys.argv[1], *map(str, server.descriptors)]
        os.execv(sys.executable, argv)
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    path = run_dir / "web.sock"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        path,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "SCRIPT": script},
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    assert await asyncio.to_thread(talk, path, lambda client: client.call("who")) == [process.pid, 4]
    with pytest.raises(ServiceRunning):
        await ControlServer(path, {}).start()
    process.kill()
    await process.wait()


async def test_what_was_asked_for_goes_on_when_the_client_is_gone(serve: Serve) -> None:
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(request: Request) -> JSON:
        begun.set()
        await go_on.wait()
        for number in range(1000):
            await request.progress("step", {"number": number})
        done.set()
        return "done"

    server = await serve({"work": work})
    _, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b'{"id":1,"method":"work"}\n')
    await begun.wait()
    writer.transport.abort()
    go_on.set()
    async with asyncio.timeout(5):
        await done.wait()


async def test_a_handler_can_learn_that_nobody_looks_any_more(serve: Serve) -> None:
    ended = asyncio.Event()

    async def follow(request: Request) -> JSON:
        await request.progress("begun", {})
        await request.disconnected()
        ended.set()
        return None

    server = await serve({"follow": follow})
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b'{"id":1,"method":"follow"}\n')
    await reader.readline()
    assert not ended.is_set()
    writer.close()
    async with asyncio.timeout(5):
        await ended.wait()


async def test_a_client_that_does_not_read_is_dropped_and_holds_up_nobody(serve: Serve) -> None:
    finished = asyncio.Event()

    async def flood(request: Request) -> JSON:
        for number in range(200):
            await request.progress("flood", {"text": "x" * 65536, "number": number})
        finished.set()
        return None

    server = await serve({"flood": flood, **HANDLERS})
    _, writer = await asyncio.open_unix_connection(server.path)
    writer.transport.pause_reading()
    writer.write(b'{"id":1,"method":"flood"}\n')
    async with asyncio.timeout(5):
        await finished.wait()
        assert await asyncio.to_thread(talk, server.path, lambda client: client.call("count")) == "done"
    writer.transport.abort()


async def test_an_answer_that_nobody_takes_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hitless.control.connection.WRITE_TIMEOUT_S", 0.1)

    async def large(request: Request) -> JSON:
        return "x" * 8 * 2**20

    server = await serve({"large": large})
    before = psutil.Process().num_fds()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.path))
        client.sendall(b'{"id":1,"method":"large"}\n')
        await settled(lambda: psutil.Process().num_fds() == before + 1)


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - descriptors tell nobody when they close
            await asyncio.sleep(0.01)


async def test_an_idle_client_is_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hitless.control.connection.IDLE_TIMEOUT_S", 0.1)
    server = await serve(HANDLERS)
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b'{"id":1,"method":"count"}\n{"id":2,')
    async with asyncio.timeout(5):
        assert len((await reader.read()).splitlines()) == 4
    writer.close()


async def test_the_number_of_clients_is_bounded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hitless.control.server.CLIENT_LIMIT", 3)
    server = await serve(HANDLERS)
    clients = [await asyncio.open_unix_connection(server.path) for _ in range(3)]
    for reader, writer in clients:
        writer.write(b'{"method":"echo"}\n')
        await reader.readline()
    with pytest.raises(ControlError, match="3 clients already"):
        await asyncio.to_thread(talk, server.path, lambda client: client.call("count"))
    clients[0][1].close()
    await settled(lambda: len(server._connections) < 3)
    assert await asyncio.to_thread(talk, server.path, lambda client: client.call("count")) == "done"
    for _, writer in clients:
        writer.close()


async def test_many_connections_leak_no_descriptors(serve: Serve) -> None:
    server = await serve(HANDLERS)

    def many() -> None:
        for number in range(300):
            client = ControlClient(server.path, 5)
            if number % 3:
                client.call("count")
            client.close()

    await asyncio.to_thread(many)
    await settled(lambda: not server._connections)
    before = psutil.Process().num_fds()
    await asyncio.to_thread(many)
    await settled(lambda: psutil.Process().num_fds() <= before)


async def test_many_clients_at_once_are_all_answered(serve: Serve) -> None:
    server = await serve(HANDLERS)
    talks = [asyncio.to_thread(talk, server.path, lambda client: client.call("count")) for _ in range(50)]
    assert await asyncio.gather(*talks) == ["done"] * 50


async def test_closing_lets_the_running_request_end_and_takes_no_more(serve: Serve) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(request: Request) -> JSON:
        begun.set()
        await go_on.wait()
        return "done"

    server = await serve({"work": work})
    idle_reader, idle_writer = await asyncio.open_unix_connection(server.path)
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b'{"id":1,"method":"work"}\n{"id":2,"method":"work"}\n')
    await begun.wait()
    closing = asyncio.create_task(server.close())
    assert await idle_reader.read() == b""
    go_on.set()
    async with asyncio.timeout(5):
        assert [json.loads(line) for line in (await reader.read()).splitlines()] == [
            {"id": 1, "result": "done"}
        ]
        await closing
    for each in (writer, idle_writer):
        each.close()


async def test_closing_waits_only_as_long_as_it_is_told(serve: Serve) -> None:
    server = await serve(HANDLERS)
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b'{"id":1,"method":"forever"}\n')
    await settled(lambda: bool(server._connections))
    await server.close(grace_s=0.1)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_after_stop_accepting_who_is_connected_is_still_answered(serve: Serve) -> None:
    server = await serve(HANDLERS)
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b'{"id":1,"method":"echo"}\n')
    await reader.readline()
    await server.stop_accepting()
    with pytest.raises(NoSuchService):
        ControlClient(server.path)
    writer.write(b'{"id":2,"method":"echo"}\n')
    assert json.loads(await reader.readline())["id"] == 2
    writer.close()


async def test_a_service_that_dies_while_it_is_asked_is_told(run_dir: Path) -> None:
    path = run_dir / "web.sock"
    process = await service(path)
    process.send_signal(signal.SIGSTOP)

    def ask() -> None:
        ControlClient(path).call("who", timeout_s=5)

    asking = asyncio.create_task(asyncio.to_thread(ask))
    await asyncio.sleep(0.05)
    process.kill()
    with pytest.raises(ControlError) as caught:
        await asking
    assert caught.value.code == "connection_lost"
    await process.wait()


@pytest.mark.parametrize(
    "answer", [b"nonsense\n", b"{}\n", b'{"id":1,"error":"x"}\n', b"", b'{"id":1,"result":']
)
def test_a_service_that_talks_nonsense_is_no_crash(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen()
        client = ControlClient(tmp_path / "x.sock", 5)
        connection, _ = listener.accept()
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        with pytest.raises(ControlError):
            client.call("echo")
        connection.close()
        client.close()


async def test_a_service_without_descriptors_loses_the_client_and_not_itself(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(HANDLERS)

    def none_left(writer: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("hitless.control.server.peer_of", none_left)
        with pytest.raises(ControlError):
            await asyncio.to_thread(talk, server.path, lambda client: client.call("count"))
    assert await asyncio.to_thread(talk, server.path, lambda client: client.call("count")) == "done"
