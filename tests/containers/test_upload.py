"""A slow upload to a `hitless serve` in a container: whole with us, cut by the engine's own stop."""

from __future__ import annotations

import asyncio
import io
import socket
import sys
import sysconfig
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.containers.engines import ONE_BY_DEFAULT, PrivateEngine, await_true
from tests.containers.hitless_cli import Operator
from tests.serve.service import write_app

import hitless
from hitless.load.long import Ending, slow_upload

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

CONFIG = """\
name = "web"
app = "app:app"
bind = ["127.0.0.1:{port}"]
directory = "/app"
state_dir = "/tmp/state"
drain.timeout = "3m"
"""
SIZE = 256 * 1024


def mounts(folder: Path) -> Iterator[str]:
    """This machine's Python and the project, as they are, read-only: no image of them can be had without a network."""
    places = {"/usr", "/lib", "/lib64", "/bin", sys.prefix, sys.base_prefix, sysconfig.get_path("purelib")}
    places.add(str(Path(hitless.__file__).parents[2]))
    shown = [Path(place) for place in sorted(places) if Path(place).exists()]
    for place in shown:
        if not any(other in place.parents for other in shown):
            yield from ("--volume", f"{place}:{place}:ro")
    yield from ("--volume", f"{folder}:/app:ro")


@pytest.fixture
def web(engine: PrivateEngine, name: str, public_path: Path) -> Iterator[tuple[str, str]]:
    """A container that serves; its name and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    write_app(public_path)
    config = public_path / "hitless.toml"
    config.write_text(CONFIG.format(port=port))
    config.chmod(0o644)
    engine.run(
        name, sys.executable, "-m", "hitless", "serve", "-c", "/app/hitless.toml", image="empty",
        options=("--network=host", *mounts(public_path)),
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    await_true(lambda: answers(url) or engine.state(name) == "exited", 120, what=f"answer of {url}")
    assert engine.state(name) == "running", engine.logs(name)
    yield name, url
    engine.remove(name)


@pytest.fixture(autouse=True)
def empty_image(engine: PrivateEngine) -> None:
    if "empty" not in engine.cli("images", "--format", "{{.Repository}}"):
        engine.load("empty", empty_tree())


def empty_tree() -> bytes:
    """An image with nothing in it but the directories to mount upon."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for directory in ("tmp", "app", "proc", "sys", "dev", "etc"):
            info = tarfile.TarInfo(directory)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(info)
    return file.getvalue()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def uploaded(url: str, seconds: float, meanwhile: Callable[[], object]) -> tuple[Ending, object]:
    """How the upload ended, and what was done came to, begun when the first bytes had been sent."""

    async def both() -> tuple[Ending, object]:
        begun = asyncio.Event()
        upload = asyncio.create_task(
            slow_upload(
                url, size=SIZE, seconds=seconds, on_progress=lambda sent: begun.set() if sent > 4096 else None
            )
        )
        await begun.wait()
        done = await asyncio.to_thread(meanwhile)
        return await upload, done

    return asyncio.run(both())


@pytest.mark.parametrize(
    ("engine", "command"),
    [
        ("docker", "recreate"),
        ("podman", "recreate"),
        pytest.param("docker", "stop", marks=pytest.mark.soak),
        pytest.param("docker", "restart", marks=pytest.mark.soak),
        pytest.param("podman", "stop", marks=pytest.mark.soak),
        pytest.param("podman", "restart", marks=pytest.mark.soak),
    ],
    indirect=["engine"],
)
def test_an_upload_is_whole_although_its_container_is_stopped(
    operator: Operator, web: tuple[str, str], command: str
) -> None:
    name, url = web
    ending, said = uploaded(url, 8, lambda: operator.run(command, name, "--wait", "3m", "--json"))
    assert ending.reason == "complete", ending
    assert ending.size == SIZE
    assert said.code == 0, said
    stop = said.first if command == "stop" else said.first["stop"]
    assert (stop["outcome"], stop["exit_code"]) == ("clean", 0)
    if command != "stop":
        await_true(lambda: answers(url), 120, what="answer of the new one")


@pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)
def test_the_same_upload_is_cut_by_the_engines_own_stop(engine: PrivateEngine, web: tuple[str, str]) -> None:
    name, url = web
    ending, _ = uploaded(url, 60, lambda: engine.cli("stop", "-t", "1", name))
    assert ending.reason in ("eof", "rst"), ending
    assert ending.size < SIZE
    assert engine.inspect(name)["State"]["ExitCode"] == 137


@pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)
def test_an_upload_is_whole_although_its_service_is_reloaded_and_drained_from_inside(
    operator: Operator, web: tuple[str, str]
) -> None:
    name, url = web
    engine = operator.engine

    def reload_and_stop() -> object:
        engine.cli("kill", "-s", "HUP", name)
        engine.await_log(name, "generation 2 serves", 120)
        inside = f"{sys.executable} -m hitless stop web"
        return operator.run("stop", name, "--drain-inside", inside, "--drain-timeout", "3m", "--json")

    ending, said = uploaded(url, 12, reload_and_stop)
    assert ending.reason == "complete", ending
    assert said.code == 0, said
    assert said.first["outcome"] == "clean"
    assert said.first["drained_s"] > 0


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", ["stop", "restart", "recreate"])
def test_an_upload_of_a_minute_side_by_side(operator: Operator, web: tuple[str, str], command: str) -> None:
    name, url = web
    began = time.monotonic()
    ending, said = uploaded(url, 60, lambda: operator.run(command, name, "--wait", "5m", "--json"))
    print(f"hitless {command}: {ending.reason} after {time.monotonic() - began:.1f} s")
    assert (ending.reason, said.code) == ("complete", 0)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_an_upload_of_a_minute_is_cut_by_the_engines_default(
    engine: PrivateEngine, web: tuple[str, str]
) -> None:
    name, url = web
    ending, _ = uploaded(url, 60, lambda: engine.cli("stop", name))
    print(f"{engine.kind} stop: {ending.reason} after {ending.seconds:.1f} s")
    assert ending.reason in ("eof", "rst")
