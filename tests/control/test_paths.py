from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.control.conftest import Serve

from hitless.control import ControlServer, NoSuchService, UnusablePath, find, run_dir, services, socket_path

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({}, 0, "/run/hitless"),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/hitless"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/user/7/hitless"),
        ({}, 7, "/tmp/hitless-7"),
        ({"XDG_RUNTIME_DIR": ""}, 7, "/tmp/hitless-7"),
        ({"HITLESS_RUN_DIR": "/x", "XDG_RUNTIME_DIR": "/y"}, 7, "/x"),
        ({"HITLESS_RUN_DIR": "/x"}, 0, "/x"),
    ],
)
def test_every_user_has_a_directory_of_its_own(environ: dict[str, str], uid: int, expected: str) -> None:
    assert run_dir(environ, uid) == Path(expected)


async def test_a_service_is_found_by_name_by_path_or_because_it_is_the_only_one(
    run_dir: Path, serve: Serve
) -> None:
    with pytest.raises(NoSuchService, match=r"^no service is running") as caught:
        find()
    assert caught.value.exit_code == 6
    await serve({}, "web")
    path = run_dir / "web.sock"
    assert find() == find("web") == find(path) == find(str(path)) == path
    await serve({}, "api")
    assert services() == [("api", run_dir / "api.sock", True), ("web", path, True)]
    with pytest.raises(NoSuchService, match=r"^there are several services; say which one: api, web$"):
        find()
    with pytest.raises(NoSuchService, match=r"^there is no service wep; there are: api, web$"):
        find("wep")
    with pytest.raises(NoSuchService, match=r"^there is no control socket /no/such\.sock"):
        find("/no/such.sock")


async def test_a_dead_service_is_listed_as_dead_and_not_found(run_dir: Path, serve: Serve) -> None:
    await serve({}, "alive")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(run_dir / "dead.sock"))
    assert [(service.name, service.alive) for service in services()] == [("alive", True), ("dead", False)]
    assert find() == run_dir / "alive.sock"
    with pytest.raises(NoSuchService, match="there is no service dead; there are: alive"):
        find("dead")


async def test_the_directory_is_made_private(run_dir: Path, serve: Serve) -> None:
    await serve({})
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770])
async def test_a_directory_that_others_may_write_is_refused(run_dir: Path, mode: int) -> None:
    run_dir.mkdir()
    run_dir.chmod(mode)
    with pytest.raises(UnusablePath, match=f"may be written by others; run: chmod go-w {run_dir}$"):
        await ControlServer(run_dir / "web.sock", {}).start()


@pytest.mark.root
async def test_a_directory_of_another_user_is_refused(run_dir: Path) -> None:
    run_dir.mkdir()
    os.chown(run_dir, 12345, 12345)
    with pytest.raises(UnusablePath, match="belongs to uid 12345"):
        await ControlServer(run_dir / "web.sock", {}).start()


@pytest.mark.root
async def test_a_link_that_somebody_else_made_is_refused(run_dir: Path, tmp_path: Path) -> None:
    """/tmp/hitless-UID may be put there by anybody before us."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    run_dir.symlink_to(elsewhere)
    os.chown(run_dir, 12345, 12345, follow_symlinks=False)
    with pytest.raises(UnusablePath, match="belongs to uid 12345"):
        await ControlServer(run_dir / "web.sock", {}).start()


async def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnusablePath, match="should be the directory for control sockets and is none"):
        await ControlServer(tmp_path / "file" / "web.sock", {}).start()
    with pytest.raises(UnusablePath, match="cannot be created: Not a directory"):
        await ControlServer(tmp_path / "file" / "deep" / "web.sock", {}).start()


def test_a_path_that_is_too_long_for_a_socket_is_told_before_anything_is_made(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120) / "web.sock"
    with pytest.raises(UnusablePath, match=r"and the system allows 107; set HITLESS_RUN_DIR or control"):
        ControlServer(long, {})
    with pytest.raises(UnusablePath):
        socket_path("n" * 100, {"HITLESS_RUN_DIR": "/run/hitless"})
    assert not long.parent.exists()


def test_the_longest_path_that_is_allowed_works(tmp_path: Path) -> None:
    path = tmp_path / ("x" * (107 - len(str(tmp_path)) - 6) + ".sock")
    assert len(str(path)) == 107
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.root
def test_another_user_is_told_whose_it_is(public_path: Path) -> None:
    """A user without rights finds the socket and is told why it may not be used."""
    path = public_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        script = (
            "import os, sys\nfrom hitless.control import *\nos.setgid(12345); os.setuid(12345)\n"
            "try: ControlClient(sys.argv[1])\n"
            "except ControlError as error: print(error.code, error)\n"
        )
        command = [sys.executable, "-c", script, path]
        told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert told == f"forbidden {path} belongs to another user; run this as root or as that user\n"
