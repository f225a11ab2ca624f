"""What runs on a node besides commands: a systemd unit, a container, a hitless serve."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.containers.engines import PrivateEngine, busybox_tree, missing, private
from tests.serve.service import write_app
from tests.servers.ports import free_port

from hitless.rollout.errors import RolloutError
from hitless.rollout.journal import RolloutRow
from hitless.rollout.reading import read_rollout
from hitless.rollout.rollouts import Rollouts
from rollout.ground import HERE, Ground

HITLESS = f"{sys.executable} -m hitless"
SYSTEMCTL = """\
#!/bin/sh
# systemctl as far as a rollout uses it, for one unit whose process is a node's.
ctl() {{ sh {here}/nodectl.sh {folder} {address} {port} "$1"; }}
case $1 in
  show)
    state=active main=1
    ctl gone >/dev/null && state=inactive main=0
    [ -e {folder}/no-unit ] && load=not-found || load=loaded
    printf 'LoadState=%s\\nActiveState=%s\\nSubState=x\\nResult=success\\nMainPID=%s\\n' $load $state $main ;;
  stop | start) ctl "$1" ;;
esac
echo "$*" >> {folder}/systemctl.log
exit 0
"""


def rolled_out(folder: Path, text: str) -> RolloutRow:
    """A service of one node, which nobody else can stand in for."""
    path = folder / "rollout.yaml"
    path.write_text(f"service: one\nreleases: {{'1': {{}}, '2': {{}}}}\nmin_up: 0\nsoak: 50ms\n{text}")
    path.chmod(0o644)
    return asyncio.run(Rollouts(read_rollout(path), folder / "state").run())


@pytest.fixture
def unit(ground: Ground) -> Path:
    """A program that is systemctl for the node n1; returns its path."""
    program = ground.folder / "systemctl"
    fill = {"here": HERE, "folder": ground.node("n1"), "address": ground.nodes["n1"], "port": ground.port}
    program.write_text(SYSTEMCTL.format(**fill))
    program.chmod(0o755)
    return program


def of_unit(ground: Ground, program: Path) -> str:
    url = f"http://{ground.nodes['n1']}:{ground.port}"
    ctl = f"sh {HERE}/nodectl.sh {ground.node('n1')} x 1"
    return (
        f"nodes: {{n1: {{}}}}\nhealth: {{url: '{url}/health', interval: 50ms}}\nversion: {{url: '{url}/version', key: release}}\n"
        f"process:\n  kind: systemd\n  unit: images.service\n  systemctl: {program}\n"
        f"  upgrade: {ctl} upgrade {{release}}\n  installed: {ctl} installed\n"
    )


def test_a_systemd_unit_is_stopped_waited_for_and_started(ground: Ground, unit: Path) -> None:
    assert rolled_out(ground.folder, of_unit(ground, unit)).status == "done"
    assert ground.actions("n1") == ["start 1", "stop", "upgrade 2", "start 2"]
    told = [
        line for line in (ground.node("n1") / "systemctl.log").read_text().splitlines() if "show" not in line
    ]
    assert told == [
        "stop --no-block images.service",
        "daemon-reload",
        "reset-failed images.service",
        "start images.service",
    ]


def test_a_unit_that_is_not_there_stops_the_rollout_before_anything_moves(ground: Ground, unit: Path) -> None:
    (ground.node("n1") / "no-unit").touch()
    with pytest.raises(RolloutError, match=r"n1: there is no unit images.service"):
        rolled_out(ground.folder, of_unit(ground, unit))
    assert ground.actions("n1") == ["start 1"]


@pytest.fixture
def served() -> Iterator[tuple[Path, int]]:
    """A real hitless serve of release 1: its folder and port."""
    with tempfile.TemporaryDirectory(prefix="hs-", dir="/tmp") as path:
        folder, port = Path(path), free_port()
        (folder / "start.sh").write_text(
            f"cd {folder} && HITLESS_RUN_DIR={folder} setsid {HITLESS} serve app:app --name web --bind 127.0.0.1:{port}"
            f" --workers 1 </dev/null >>{folder}/log 2>&1 &\n"
        )
        (folder / "upgrade.sh").write_text(f"cd {folder} && cp app-$1.py app.py && echo $1 > release\n")
        for release in ("1", "2"):
            write_app(folder, release)
            (folder / "app.py").rename(folder / f"app-{release}.py")
        for words in (("upgrade.sh", "1"), ("start.sh",)):
            subprocess.run(["sh", str(folder / words[0]), *words[1:]], check=True)
        yield folder, port
        environ = {"HITLESS_RUN_DIR": str(folder), "PATH": "/usr/bin:/bin"}
        subprocess.run([*HITLESS.split(), "stop", "web"], env=environ, check=False, capture_output=True)


def test_a_hitless_serve_finishes_its_requests_and_comes_back_with_the_release(
    served: tuple[Path, int],
) -> None:
    folder, port = served
    url = f"http://127.0.0.1:{port}/"
    wait_for(url)
    row = rolled_out(
        folder,
        f"nodes: {{n1: {{}}}}\nhealth: {{url: '{url}', interval: 50ms}}\nversion: {{url: '{url}', pattern: '^([0-9])'}}\n"
        f"process:\n  kind: serve\n  name: web\n  hitless: {HITLESS}\n  upgrade: sh {folder}/upgrade.sh {{release}}\n"
        f"  installed: cat {folder}/release\n  start: sh {folder}/start.sh\n"
        f"  environment: {{HITLESS_RUN_DIR: {folder}}}\n",
    )
    assert row.status == "done"
    assert wait_for(url).startswith("2 ")


def wait_for(url: str) -> str:
    import time
    from urllib.error import URLError
    from urllib.request import urlopen

    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except URLError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def docker() -> Iterator[PrivateEngine]:
    assert missing("docker") is None
    with private("docker") as engine:
        yield engine


@pytest.mark.root
@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_container_is_stopped_replaced_and_started(docker: PrivateEngine, tmp_path: Path) -> None:
    loop = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
    for release in ("1", "2"):
        docker.load(f"app:{release}", busybox_tree())
    docker.run("web", "sh", "-c", loop, image="app:1")
    options = f"--engine {docker.address} --state-dir {tmp_path}/containers"
    look = f"{HITLESS} containers ps web --json {options}"
    row = rolled_out(
        tmp_path,
        f"nodes: {{n1: {{}}}}\nhealth: {{command: '{look}', interval: 50ms, ask: 60s}}\n"
        f'version: {{command: \'{look}\', pattern: \'"running",\\s+"image": "app:([0-9])"\'}}\n'
        f"process:\n  kind: container\n  name: web\n  image: app:{{release}}\n  hitless: {HITLESS}\n  options: {options}\n",
    )
    assert row.status == "done"
    assert docker.inspect("web")["Config"]["Image"] == "app:2"
    assert docker.state("web") == "running"
