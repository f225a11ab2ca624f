"""What each sink sends, and what it makes of a peer that refuses, hangs or trickles."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from tests.notify.notices import PATIENCE_S, notice

from hitless.change import Deadline
from hitless.notify import AmqpSink, CommandSink, LogSink, Outbox, Phase, Retries, SinkFailed, WebhookSink

SAID = {
    "event_type": "service.reload.start",
    "service": "volumes",
    "host": "here",
    "at": 1795233816.25,
    "kind": "reload",
    "change": 1,
    "from_generation": 1,
    "to_generation": 2,
    "requested_by": "SIGHUP",
    "differences": [{"key": "level", "old": "info", "new": "debug"}],
    "status": None,
    "reason": None,
    "message": "",
}


def test_a_command_gets_the_notice_as_json_on_its_standard_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    CommandSink(command=["sh", "-c", f"cat > {out}"], timeout_s=PATIENCE_S).send(sent := notice())
    assert json.loads(out.read_text()) == {"id": sent.id, **SAID}


def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(SinkFailed, match="ended with code 3: no such pager"):
        CommandSink(command=["sh", "-c", "echo no such pager >&2; exit 3"], timeout_s=PATIENCE_S).send(
            notice()
        )
    with pytest.raises(SinkFailed, match=r"cannot be run: .*No such file"):
        CommandSink(command=["/nowhere/pager"]).send(notice())


def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    ended: list[bytes] = []
    # Read to its end when nobody holds it any more: neither the shell nor what it started.
    reader = threading.Thread(target=lambda: ended.append(fifo.read_bytes()), daemon=True)
    reader.start()
    with pytest.raises(SinkFailed, match="did not end within 5 s, and was killed"):
        CommandSink(
            command=["sh", "-c", f"exec 3> {fifo}; echo begun >&3; sleep 1000 & sleep 1000"], timeout_s=5.0
        ).send(notice())
    reader.join(PATIENCE_S)
    assert ended == [b"begun\n"]


def test_a_command_that_still_runs_when_the_outbox_closes_is_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    sink = CommandSink(command=["sh", "-c", f"exec 3> {fifo}; echo begun >&3; sleep 1000"], timeout_s=1000.0)
    out = Outbox(sink)
    out.put(notice())
    with fifo.open() as held:
        assert held.readline() == "begun\n"
        out.close(Deadline.after(0.01))
        assert held.read() == "", "nobody has it open any more"
    assert (out.counts.failed, out.counts.waiting) == (1, 0)
    sink.interrupt()  # nothing runs


class Hook:
    """A web server that answers with the statuses it is given, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.got: list[tuple[str, dict[str, str], Any]] = []


@contextmanager
def listening(hook: Hook) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.got.append((self.path, dict(self.headers), json.loads(body)))
            status = hook.statuses.pop(0) if len(hook.statuses) > 1 else hook.statuses[0]
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_webhook_gets_the_notice_and_its_secrets_are_not_shown() -> None:
    hook = Hook(204)
    with listening(hook) as url:
        sink = WebhookSink(
            url=SecretStr(f"{url}/hook?token=hush-hush"),
            headers={"Authorization": SecretStr("Bearer hush-hush")},
            timeout_s=PATIENCE_S,
        )
        sink.send(sent := notice())
    path, headers, body = hook.got[0]
    assert (path, headers["Authorization"]) == ("/hook?token=hush-hush", "Bearer hush-hush")
    assert body == {"id": sent.id, **SAID}
    assert "hush" not in repr(sink) + sink.name
    gone = WebhookSink(url="http://hush:hush@127.0.0.1:1/hush", timeout_s=PATIENCE_S)
    with pytest.raises(SinkFailed, match="Connection refused") as caught:
        gone.send(notice())
    assert "hush" not in str(caught.value) + gone.name


@pytest.mark.parametrize(("status", "is_final"), [(500, False), (429, False), (404, True), (302, True)])
def test_a_refusal_is_final_unless_it_may_pass(status: int, is_final: bool) -> None:
    with (
        listening(Hook(status)) as url,
        pytest.raises(SinkFailed, match=f"answered with status {status}") as caught,
    ):
        WebhookSink(url=url, timeout_s=PATIENCE_S).send(notice())
    assert caught.value.is_final is is_final


@pytest.mark.parametrize("trickle", [b"", b"HTTP/1.1 200 OK\r\nX-More: "])
def test_a_peer_that_hangs_or_trickles_is_given_up_at_the_deadline(trickle: bytes) -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                try:
                    peer.sendall(trickle)
                    while not over.wait(0.02):
                        if trickle:
                            peer.sendall(b"x")
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with pytest.raises(SinkFailed, match=r"did not answer within 0\.5 s"):
                WebhookSink(url=f"http://127.0.0.1:{server.getsockname()[1]}/", timeout_s=0.5).send(notice())
        finally:
            over.set()
            thread.join()


def test_what_cannot_work_is_refused_when_it_is_configured() -> None:
    with pytest.raises(ValueError, match="expected a URL"):
        WebhookSink(url="hooks.example/volumes")
    with pytest.raises(ValueError, match="expected a URL such as amqp://"):
        AmqpSink(url="rabbit.example")
    with pytest.raises(ValueError, match="expected a command and its arguments as a list"):
        CommandSink(command="pager --urgent")
    with pytest.raises(ValueError, match="expected at least one attempt"):
        Retries(attempts=0)


def test_the_log_has_a_line_for_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    LogSink().send(notice())
    LogSink().send(notice(phase=Phase.ERROR, status="rejected", message="no such backend"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "INFO",
            "volumes service.reload.start change=1 requested_by='SIGHUP'"
            """ differences='level: "info" → "debug"'""",
        ),
        (
            "WARNING",
            "volumes service.reload.error change=1 requested_by='SIGHUP' status=rejected message='no such backend'"
            """ differences='level: "info" → "debug"'""",
        ),
    ]


def test_notices_need_neither_kombu_nor_what_is_above_them() -> None:
    script = "import sys, hitless.notify; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert not modules & {"kombu", "oslo_config", "yaml", "hitless.live", "hitless.control", "hitless.serve"}
