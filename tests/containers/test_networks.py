"""Replacements on engines with bridges: what a container has in its networks is kept, and where the new one can be reached beside
the old one, nobody who asks notices that there are two."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.containers.engines import ONE_BY_DEFAULT, PrivateEngine, await_true
from tests.containers.hitless_cli import Operator
from tests.containers.test_upload import empty_tree, mounts
from tests.serve.service import ASGI_APP

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

SERVES = "trap 'exit 0' TERM; echo serving; while :; do sleep 0.2; done"
ON_ONE = pytest.mark.parametrize("networked", ONE_BY_DEFAULT, indirect=True)
QUICK = ("--settle", "1s", "--json")


@pytest.fixture
def networks(networked: PrivateEngine) -> Iterator[tuple[str, str]]:
    """Two of this test's own, 10.220.0.0/24 and 10.221.0.0/24. The first in the alphabet is not the container's first."""
    mark = uuid.uuid4().hex[:8]
    names = (f"zeta{mark}", f"alpha{mark}")
    for number, name in enumerate(names):
        networked.cli("network", "create", "--subnet", f"10.22{number}.0.0/24", name)
    yield names
    networked.cli("network", "rm", *names)


def seen(engine: PrivateEngine, name: str) -> dict[str, Any]:
    """What must be the same in the new one."""
    found = engine.inspect(name)
    return {
        "networks": {
            network: (
                each["IPAddress"],
                sorted(alias for alias in each["Aliases"] or () if not found["Id"].startswith(alias)),
            )
            for network, each in found["NetworkSettings"]["Networks"].items()
        },
        "ports": {port: places for port, places in found["HostConfig"]["PortBindings"].items() if places},
        "mode": found["HostConfig"]["NetworkMode"],
        "name": found["Name"],
    }


@ON_ONE
def test_networks_aliases_fixed_addresses_and_published_ports_are_kept_again_and_again(
    networked: PrivateEngine, networks: tuple[str, str], name: str, tmp_path: Path
) -> None:
    engine, (first, second) = networked, networks
    with_second = (
        ("--network", f"{first}:ip=10.220.0.9,alias=web", "--network", f"{second}:ip=10.221.0.9,alias=store")
        if engine.kind == "podman"
        else ("--network", first, "--ip", "10.220.0.9", "--network-alias", "web")
    )
    ports = ("-p", "127.0.0.1:8099:80", "-p", "8100:81/udp")
    engine.run(name, "sh", "-c", SERVES, options=(*with_second, *ports))
    if engine.kind == "docker":
        engine.cli("network", "connect", "--ip", "10.221.0.9", "--alias", "store", second, name)
    engine.await_log(name, "serving")
    before = seen(engine, name)
    assert before["networks"] == {first: ("10.220.0.9", ["web"]), second: ("10.221.0.9", ["store"])}
    operator = Operator(engine, tmp_path)
    try:
        for _ in range(2):  # the second time it is one of ours that is replaced
            said = operator.run("recreate", name, *QUICK)
            assert (said.code, said.first["status"]) == (0, "applied"), said.first["message"]
            assert said.first["order"] == "old_first", "only one can have the address"
            assert seen(engine, name) == before
        refused = operator.run("recreate", name, "--new-first", *QUICK)
        assert (refused.code, refused.first["reason"]) == (3, "conflict")
        assert f"10.220.0.9 on {first}" in refused.first["message"]
        assert "port 8099/tcp" in refused.first["message"]
        assert seen(engine, name) == before
    finally:
        engine.remove(name)


@ON_ONE
def test_an_address_that_was_only_lent_is_kept_if_that_is_asked_for(
    networked: PrivateEngine, networks: tuple[str, str], name: str, tmp_path: Path
) -> None:
    engine = networked
    engine.run(name, "sh", "-c", SERVES, options=("--network", networks[0]))
    engine.await_log(name, "serving")
    before = seen(engine, name)
    try:
        said = Operator(engine, tmp_path).run("recreate", name, "--keep-addresses", *QUICK)
        assert said.code == 0, said
        assert seen(engine, name) == before
    finally:
        engine.remove(name)


CONFIG = """\
name = "web"
app = "app:app"
bind = ["0.0.0.0:8000"]
directory = "/app"
state_dir = "/tmp/state"
"""
HAPROXY = """\
global
    stats socket {folder}/h.sock level admin
defaults
    mode http
    retries 0
    timeout connect 10s
    timeout client 60s
    timeout server 60s
frontend all
    bind 127.0.0.1:8080
    default_backend web
backend web
    server one {one}
    server two {two} disabled
"""
BALANCES = """\
import os, socket, sys, time

def say(text):
    with socket.socket(socket.AF_UNIX) as haproxy:
        haproxy.connect({socket!r})
        haproxy.sendall(text.encode() + b"\\n")
        return b"".join(iter(lambda: haproxy.recv(65536), b"")).decode()

places = [pair.partition("=")[2] for pair in (os.environ["HITLESS_ADDRESSES"] + " " + os.environ["HITLESS_PORTS"]).split()]
server = next(server for server, place in {servers!r}.items() if place in places)
said = say(f"set server web/{{server}} state {{os.environ['HITLESS_STATE']}}").strip()
assert not said, said
while os.environ["HITLESS_STATE"] == "drain":
    rows = [line.split(",") for line in say("show stat").splitlines()]
    if [row for row in rows[1:] if row[:2] == ["web", server]][0][rows[0].index("scur")] == "0":
        break
    time.sleep(0.05)
"""


@contextmanager
def balancer(engine: PrivateEngine, folder: Path, one: str, two: str) -> Iterator[Path]:
    """A HAProxy in the engine's network namespace; gives the program that tells it of a container."""
    (folder / "haproxy.cfg").write_text(HAPROXY.format(folder=folder, one=one, two=two))
    servers = {name: place.removesuffix(":8000") for name, place in (("one", one), ("two", two))}
    program = folder / "balance.py"
    program.write_text(BALANCES.format(socket=f"{folder}/h.sock", servers=servers))
    process = subprocess.Popen([*engine.within(), "haproxy", "-f", f"{folder}/haproxy.cfg", "-db"])
    try:
        await_true(lambda: listens(folder / "h.sock"), what="HAProxy")
        yield program
    finally:
        process.terminate()
        process.wait(30)


def listens(path: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        return True
    return False


@contextmanager
def load(engine: PrivateEngine) -> Iterator[list[Any]]:
    """Eight clients that ask all the time; their report is in the list when they are done."""
    words = ["-m", "hitless.load", "http://127.0.0.1:8080/", "--clients=8", "--think=0:0.1", "--timeout=60"]
    process = subprocess.Popen(
        [*engine.within(), sys.executable, *words, "--seconds=280", "--steps", "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    told: list[Any] = []
    try:
        assert process.stderr is not None
        assert process.stderr.readline().strip() == "warm"
        yield told
        out, err = process.communicate(timeout=120)
        assert out, err
        told.append(json.loads(out))
    finally:
        process.kill()
        process.wait()


def web_images(engine: PrivateEngine) -> None:
    """Two releases of a service, and one that does not start."""
    command = json.dumps([sys.executable, "-m", "hitless", "serve", "-c", "/app/hitless.toml"])
    for tag in ("one", "two"):
        engine.load(f"web:{tag}", empty_tree(), f"CMD {command}", f"ENV RELEASE={tag}")
    engine.load("web:broken", empty_tree(), f'CMD ["{sys.executable}", "-c", "raise SystemExit(9)"]')


@pytest.mark.parametrize(
    ("networked", "way"),
    [
        ("docker", "address"),
        pytest.param("docker", "publish", marks=pytest.mark.soak),
        pytest.param("podman", "publish", marks=pytest.mark.soak),
        pytest.param("podman", "address", marks=pytest.mark.soak),
    ],
    indirect=["networked"],
)
def test_behind_a_balancer_the_new_one_comes_first_and_no_request_fails(
    networked: PrivateEngine, networks: tuple[str, str], name: str, public_path: Path, way: str
) -> None:
    engine, network = networked, networks[0]
    web_images(engine)
    app = ASGI_APP.format(version="x").replace("VERSION = 'x'", 'VERSION = os.environ["RELEASE"]')
    slow = textwrap.dedent(app).replace(
        '    body = b""', '    import asyncio; await asyncio.sleep(0.2)\n    body = b""'
    )
    (public_path / "app.py").write_text(slow)
    (public_path / "hitless.toml").write_text(CONFIG)
    (public_path / "hitless.toml").chmod(0o644)
    if way == "address":
        places = ("10.220.0.11:8000", "10.220.0.12:8000")
        alternate = f'alternate.address = ["{network}=10.220.0.11", "{network}=10.220.0.12"]'
        own = ("--network", f"{network}:ip=10.220.0.11") if engine.kind == "podman" else (
            "--network", network, "--ip", "10.220.0.11")  # fmt: skip
    else:
        places = ("127.0.0.1:8101", "127.0.0.1:8102")
        alternate = 'alternate.publish = ["127.0.0.1:8101:8000", "127.0.0.1:8102:8000"]'
        own = ("--network", network, "-p", "127.0.0.1:8101:8000")
    check = (
        "--health-cmd",
        "curl -fs -m 5 http://127.0.0.1:8000/",
        "--health-interval",
        "1s",
        "--health-start-period",
        "2m",
    )
    engine.run(name, image="web:one", options=(*own, *check, *mounts(public_path)))
    operator = Operator(engine, public_path)
    try:
        await_true(lambda: reached(engine, places[0]), 120, what="the first one")
        with balancer(engine, public_path, *places) as program:
            tell = json.dumps([sys.executable, str(program)])
            operator.configure(
                f"[service.{name}]\n{alternate}\ndrain.host = {tell}\ndrain.host_undo = {tell}\n"
            )
            with load(engine) as told:
                upgraded = operator.run("upgrade", name, "--image", "web:two", "--json")
                assert (upgraded.code, upgraded.first["order"]) == (0, "new_first"), upgraded.first["message"]
                assert upgraded.first["down_s"] == 0
                assert "two" in reached(engine, "127.0.0.1:8080")
                broken = operator.run("upgrade", name, "--image", "web:broken", "--json")
                assert (broken.code, broken.first["status"]) == (3, "rejected"), broken.first["message"]
                back = operator.run("upgrade", name, "--image", "web:one", "--json")
                assert back.code == 0, back.first["message"]
                assert "one" in reached(engine, "127.0.0.1:8080")
        (report,) = told
        assert report["failed"] == 0, report
        assert report["requests"] > 50
        assert [name] == ours(engine, name)
    finally:
        engine.remove(name, f"{name}.hitless-new", f"{name}.hitless-old")


def reached(engine: PrivateEngine, place: str) -> str:
    words = [*engine.within(), "curl", "-fs", "-m", "10", f"http://{place}/"]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60).stdout


def ours(engine: PrivateEngine, name: str) -> list[str]:
    rows = engine.get("/containers/json", all="true").json()
    return sorted(row["Names"][0].removeprefix("/") for row in rows if name in row["Names"][0])
