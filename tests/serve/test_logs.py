"""What a service writes: its own events, its requests, and the failures of the application."""

from __future__ import annotations

import io
import json
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hitless.change import Event
from hitless.serve.logs import Logger
from hitless.serve.settings import Log
from serve.clients import Held, fetch, pids, place, reload, tell, write_teller
from serve.service import Service, running, wait_for, write_app

COMMON = re.compile(
    r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /x\?y HTTP/1\.1" 200 \d+'
)


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_the_access_log_is_off_until_it_is_asked_for_and_names_the_request(tmp_path: Path) -> None:
    for wsgi in (False, True):
        folder = tmp_path / str(wsgi)
        folder.mkdir()
        write_teller(folder, wsgi=wsgi)
        with running(folder) as service, Held(place(service)) as held:
            assert held.ask("/off").status == 200
            reload(service, log__access="common")
            assert held.ask("/x?y").status == 200
            wait_for(
                lambda service=service: COMMON.search(service.log), 20, what="a line in the common format"
            )
            reload(service, log__access="json")
            answer = held.ask("/json", X_Request_ID="the-client-s-own")
            assert answer.headers["x-request-id"] == "the-client-s-own"
            assert held.ask("/other").status == 200
            service.await_log('"/other"')
            mine, other = (line for line in json_lines(service.log) if "target" in line)
            assert (mine["method"], mine["target"], mine["status"]) == ("GET", "/json", 200)
            assert (mine["client"], mine["request_id"]) == ("127.0.0.1", "the-client-s-own")
            assert mine["bytes"] == len(answer.body)
            assert 0 <= mine["duration_s"] < 5
            assert other["request_id"] != mine["request_id"]
            assert "/off" not in service.log


def test_a_failure_of_the_application_is_a_500_and_a_traceback(tmp_path: Path) -> None:
    for wsgi in (False, True):
        folder = tmp_path / str(wsgi)
        folder.mkdir()
        write_teller(folder, wsgi=wsgi)
        with running(folder) as service:
            where, workers = place(service), pids(service)
            assert fetch(where, "/broken").status == 500
            assert fetch(where).status == 200
            assert pids(service) == workers, "the worker goes on"
            service.await_log("ValueError: the application is broken")
            assert "app.py" in service.log
            reload(service, log__format="json")
            assert fetch(where, "/broken").status == 500
            wait_for(
                lambda service=service: any("traceback" in line for line in json_lines(service.log)),
                20,
                what="a JSON line with the traceback",
                else_say=lambda service=service: service.log,
            )


def test_level_and_format_change_on_reload(tmp_path: Path) -> None:
    write_teller(tmp_path)
    with running(tmp_path) as service:
        reload(service, log__format="json")
        (tmp_path / "log").write_text("")
        reload(service, log__level="warning", workers=2)
        lines = json_lines(service.log)
        begun = next(line for line in lines if line["event"] == "change.started")
        assert begun["level"] == "info"
        assert {"key": "workers", "old": 1, "new": 2} in begun["differences"]
        (tmp_path / "log").write_text("")
        reload(service)
        assert service.log == "", "nothing below a warning"
        (tmp_path / "app.py").write_text("1 +")
        assert tell(service, "reload")["outcome"]["status"] == "rejected"
        (refused,) = json_lines(service.log)
        assert (refused["event"], refused["reason"]) == ("change.rejected", "syntax_error")


def test_the_log_goes_to_a_file_and_back_and_is_opened_anew(tmp_path: Path) -> None:
    write_teller(tmp_path)
    file = tmp_path / "service.log"

    def broken(service: Service) -> None:
        assert fetch(place(service), "/broken").status == 500

    with running(tmp_path) as service:
        reload(service, log__file=str(file))
        broken(service)
        wait_for(lambda: "ValueError" in file.read_text(), 20, what="the worker's lines in the file")
        assert "ValueError" not in service.log

        moved = file.rename(tmp_path / "service.log.1")  # rotated
        service.signal(signal.SIGUSR1)
        wait_for(lambda: file.exists() and "reopened" in file.read_text(), 20, what="a new file")
        before = moved.read_text()
        broken(service)
        wait_for(lambda: "ValueError" in file.read_text(), 20, what="the worker's lines in the new file")
        assert moved.read_text() == before

        other = tmp_path / "other.log"
        reload(service, log__file=str(other))
        reload(service, log__file=None)
        size = other.stat().st_size
        broken(service)
        service.await_log("ValueError")
        reload(service)
        broken(service)
        assert other.stat().st_size == size
        for pid in (service.pid, *pids(service)):
            assert not set(open_files(pid)) & {str(file), str(other), str(moved)}, (
                "nobody holds the old files"
            )


def open_files(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(link.readlink())


def test_the_first_lines_say_what_serves_where(tmp_path: Path) -> None:
    write_app(tmp_path)
    with running(tmp_path) as service:
        host, port = service.address
        service.await_log(f"service pid={service.pid} serves app=app:app addresses={host}:{port}")


def test_a_value_cannot_pass_for_another_field_or_another_line() -> None:
    stream = io.StringIO()
    message = 'it said "no" worker=9\n2026-01-01T00:00:00.000Z warning change committed\x1b[2J'
    Logger(Log(), stream=stream).event(Event(0.0, "change.rejected", {"change": 1, "message": message}))
    (line,) = stream.getvalue().splitlines()
    head, _, told = line.partition(" message=")
    assert head == "1970-01-01T00:00:00.000Z warning change=1 rejected"
    assert json.loads(told) == message
    stream.truncate(0)
    Logger(Log(), stream=stream).event(Event(0.0, "watch.failed", {"why": 'a"b'}))
    assert stream.getvalue().rstrip().endswith(r'why="a\"b"')
