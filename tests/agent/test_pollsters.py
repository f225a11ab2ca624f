"""What comes with Hitless measures what is really there: this host, its processes, a real web server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from hitless.agent.plugins import BUILT_IN, POLLSTER, Plugins
from hitless.agent.polling.pollster import Cache, PermanentFailure, Poll
from hitless.agent.sample import Sample

HOST = socket.gethostname()
TIMEOUT_S = 60.0


def polled(
    meter: str, *resources: str, cache: Cache | None = None, timeout_s: float = TIMEOUT_S
) -> list[Sample]:
    poll = Poll(meter, "test", resources, 0.0, timeout_s, cache or Cache())
    found = Plugins().load(POLLSTER, meter).measure(poll)
    assert isinstance(found, Iterable)
    return list(found)


@pytest.mark.parametrize("meter", sorted(each for each in BUILT_IN[POLLSTER] if each.startswith("host.")))
def test_this_host_is_measured(meter: str) -> None:
    found = polled(meter, HOST)
    assert all(each.name == meter and each.volume >= 0 and each.resource.startswith(HOST) for each in found)
    if "disk" not in meter and "filesystem" not in meter:  # a container may have none
        assert found
    assert polled(meter) == []


def test_values_are_those_of_the_machine() -> None:
    (memory,) = polled("host.memory.total", HOST)
    assert (memory.volume, memory.unit) == (float(psutil.virtual_memory().total), "B")
    (processors,) = polled("host.cpu.count", HOST)
    assert processors.volume == psutil.cpu_count()
    modes = {each.metadata["mode"]: each for each in polled("host.cpu.time", HOST)}
    assert modes["user"].kind == "cumulative"
    assert modes["user"].volume > 0


def test_another_machine_is_refused_for_good() -> None:
    with pytest.raises(PermanentFailure, match="measures this machine"):
        polled("host.load.1min", "elsewhere.example")


def test_processes_are_found_by_name() -> None:
    name = psutil.Process().name()
    cache = Cache()
    resource = f"process://{name}"
    (count,) = polled("process.count", resource, cache=cache)
    assert count.volume >= 1
    (rss,) = polled("process.memory.rss", resource, cache=cache)
    assert rss.volume >= 1_000_000
    (threads,) = polled("process.threads", resource, cache=cache)
    assert threads.volume >= 1
    (seconds,) = polled("process.cpu.time", resource, cache=cache)
    assert seconds.volume > 0
    (none,) = polled("process.count", "process://no-such-program")
    assert none.volume == 0
    with pytest.raises(PermanentFailure, match="process://NAME"):
        polled("process.count", "nginx")


class Site(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(int(self.path.strip("/").partition("?")[0]))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (Site,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_web_servers_are_asked_once_for_all_meters(site: tuple[str, list[str]]) -> None:
    at, asked = site
    urls = (f"{at}/200?q=1", f"{at}/503")
    cache = Cache()
    found = {meter: polled(meter, *urls, cache=cache) for meter in ("http.up", "http.status", "http.latency")}
    assert [each.volume for each in found["http.up"]] == [1.0, 0.0]
    assert [each.volume for each in found["http.status"]] == [200.0, 503.0]
    assert all(each.volume > 0 for each in found["http.latency"])
    assert sorted(asked) == ["/200?q=1", "/503"]
    assert polled("http.certificate.days", *urls, cache=cache) == []


def test_a_server_that_is_not_there_is_down_and_has_no_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    cache = Cache()
    (up,) = polled("http.up", url, cache=cache)
    assert up.volume == 0
    assert "refused" in str(up.metadata["error"])
    assert polled("http.status", url, cache=cache) == []


def test_a_server_that_does_not_answer_keeps_no_other_back(site: tuple[str, list[str]]) -> None:
    at, _ = site
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        found = {each.resource: each.volume for each in polled("http.up", url, f"{at}/200", timeout_s=5.0)}
    assert found == {url: 0.0, f"{at}/200": 1.0}


def test_what_is_no_url_is_refused_for_good() -> None:
    with pytest.raises(PermanentFailure, match="polls http:// and https:// URLs"):
        polled("http.up", "ftp://x/", "http://ok/")
