"""What the page shows works."""

from __future__ import annotations

import re
import runpy
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.haproxy import HAProxyServer, running_haproxy

from hitless.rollout.state import next_kind
from rollout.conftest import Make
from rollout.ground import HERE, Ground

PAGE = Path(__file__).parents[2] / "docs" / "rollout.md"
BODY = """
frontend clients
  mode http
  bind 127.0.0.1:{{port}}
  default_backend images
backend images
  mode http
  option httpchk GET /health
  server n1 127.0.1.2:{port} check inter 100ms rise 1
  server n2 127.0.1.3:{port} check inter 100ms rise 1
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_tables_of_options_are_what_the_settings_say() -> None:
    made = runpy.run_path(str(PAGE.with_name("rollout_options.py")))["page"]()
    assert made == PAGE.read_text(), "run: python docs/rollout_options.py"


def test_the_table_of_states_is_that_of_the_code() -> None:
    import hitless.rollout.state as module

    assert next_kind is module.next_kind
    rows = re.findall(
        r"^\| (?!seen|---)([^|]+) \| ([^|]*)\| ([^|]+) \|$",
        PAGE.read_text().partition("## When")[0],
        re.MULTILINE,
    )
    assert len(rows) == 8
    told = " ".join((module.__doc__ or "").split())
    for row in rows:
        assert " ".join(" ".join(row).split()) in told


@pytest.fixture
def haproxy(make_ground: Make) -> Iterator[tuple[Ground, HAProxyServer]]:
    ground = make_ground(2)
    with running_haproxy(BODY.format(port=ground.port)) as server:
        yield ground, server


def test_the_example_rolls_out_behind_a_real_haproxy(haproxy: tuple[Ground, HAProxyServer]) -> None:
    ground, server = haproxy
    with tempfile.TemporaryDirectory(prefix="hitless-") as path:
        control = Path(path) / "ctl"
        control.write_text(
            "#!/bin/sh\nnode=$1; shift\ncase $node in n1) address=127.0.1.2 ;; *) address=127.0.1.3 ;; esac\n"
            f'exec sh {HERE}/nodectl.sh {ground.folder}/$node $address {ground.port} "$@"\n'
        )
        control.chmod(0o755)
        text = blocks("yaml")[0].replace("/srv/images/ctl", str(control)).replace("9292", str(ground.port))
        description = ground.folder / "rollout.yaml"
        description.write_text(text.replace("/run/haproxy/admin.sock", server.socket))
        description.chmod(0o644)
        for line in blocks("sh")[0].splitlines():
            _, _, verb, *options = line.split()
            done = ground.hitless(verb, *options)
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    assert ground.releases() == {"n1": "2", "n2": "2"}
    assert "rollout.done" in done.stdout
