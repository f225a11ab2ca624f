"""What takes work away from a container before the first signal. These ways need no engine; the one inside a container is
among the behaviours."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.containers.test_parameters import container

from hitless.change import Deadline
from hitless.containers import BalancerDrain, DrainFailed, Engine, HostDrain, HttpDrain

NOBODY = Engine(Path("/nobody/listens/here.sock"))
WRITES = "import os, sys; open(sys.argv[1], 'a').write(os.environ['HITLESS_CONTAINER'] + ' ' + os.environ['HITLESS_STATE'] + ';')"


def soon() -> Deadline:
    return Deadline.after(60)


@pytest.fixture
def url() -> Iterator[str]:
    """A service that is drained by POST /drain, refuses /busy, and never answers /hang."""
    answered = threading.Event()

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.path == "/hang":
                answered.wait(60)
            self.send_response(204 if self.path == "/drain" else 503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    answered.set()
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_command_here_is_told_which_container_and_what_for(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = (sys.executable, "-c", WRITES, str(told))
    drain = HostDrain(command, command)
    await drain.run(NOBODY, container(), soon())
    await drain.undo(NOBODY, container(), soon())
    assert told.read_text() == "glance_api drain;glance_api ready;"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ((sys.executable, "-c", "print('no room'); raise SystemExit(3)"), "exited with 3: no room"),
        (("/no/such/command",), "cannot be run"),
    ],
)
async def test_a_command_that_fails_says_why(command: tuple[str, ...], says: str) -> None:
    with pytest.raises(DrainFailed, match=says):
        await HostDrain(command).run(NOBODY, container(), soon())


async def test_a_command_that_does_not_end_is_ended_at_the_deadline(tmp_path: Path) -> None:
    with pytest.raises(DrainFailed, match="did not end within"):
        await HostDrain(("sleep", "1000")).run(NOBODY, container(), Deadline.after(0.5))


async def test_a_service_that_answers_is_drained_and_one_that_does_not_is_not(url: str) -> None:
    await HttpDrain(f"{url}/drain").run(NOBODY, container(), soon())
    with pytest.raises(DrainFailed, match="answered with 503"):
        await HttpDrain(f"{url}/busy").run(NOBODY, container(), soon())
    with pytest.raises(DrainFailed, match=r"/hang"):
        await HttpDrain(f"{url}/hang").run(NOBODY, container(), Deadline.after(0.5))
    with pytest.raises(DrainFailed, match="failed"):
        await HttpDrain("http://127.0.0.1:1/drain").run(NOBODY, container(), soon())


async def test_a_balancer_is_told_of_its_server() -> None:
    told: list[str] = []

    class Listening:
        async def drain(self, server: str, deadline: Deadline) -> None:
            told.append(f"drain {server}")

        async def ready(self, server: str, deadline: Deadline) -> None:
            told.append(f"ready {server}")

    drain = BalancerDrain(Listening(), "web1")
    await drain.run(NOBODY, container(), soon())
    await drain.undo(NOBODY, container(), soon())
    assert told == ["drain web1", "ready web1"]
