"""A balancer that is a few lines of shell."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hitless.change import Deadline
from hitless.rollout.balancers import (
    BalancerError,
    BalancerRefused,
    BalancerUnreachable,
    DrainLate,
    NoSuchServer,
    Session,
)
from hitless.rollout.balancers.command import CommandBalancer
from hitless.rollout.balancers.settings import CommandSettings

SET = (
    "import json, sys; path, status, name = sys.argv[1:]; state = json.load(open(path)); "
    "state[name]['status'] = status; json.dump(state, open(path, 'w'))"
)


def soon(seconds: float = 60) -> Deadline:
    return Deadline.after(seconds)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({name: {"status": "ready"} for name in ("n1", "a server's 'name'\n$(x)")}))
    return path


def balancer(file: Path, **options: object) -> CommandBalancer:
    setter = (sys.executable, "-c", SET, str(file))
    said = {
        "state": ("cat", str(file)),
        "drain": (*setter, "drain", "{server}"),
        "ready": (*setter, "ready", "{server}"),
        "maint": (*setter, "maint", "{server}"),
        "poll": 0.05,
        **options,
    }
    return CommandBalancer(CommandSettings(kind="command", **said))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["n1", "a server's 'name'\n$(x)"])
async def test_commands_drain_take_out_and_bring_back(file: Path, name: str) -> None:
    edge = balancer(file)
    for act, status in ((edge.drain, "drain"), (edge.maint, "maint"), (edge.ready, "ready")):
        await act(name, soon())
        assert json.loads(file.read_text())[name]["status"] == status
        assert (await edge.servers(soon()))[name].status == status


async def test_a_drain_that_is_late_names_the_oldest_sessions(file: Path) -> None:
    state = json.loads(file.read_text())
    state["n1"]["sessions"] = 2
    file.write_text(json.dumps(state))
    listed = json.dumps([{"client": "192.0.2.1", "age_s": 3}, {"client": "192.0.2.2", "age_s": 75}])
    edge = balancer(file, sessions=("echo", listed))
    with pytest.raises(
        DrainLate, match=r"n1 still has 2 sessions after 3 s; the oldest: 192\.0\.2\.2 for 75 s"
    ) as caught:
        await edge.drain("n1", soon(3))
    assert caught.value.sessions[0] == Session("192.0.2.2", 75)


async def test_a_command_that_fails_is_told_with_what_it_said(file: Path) -> None:
    edge = balancer(file, drain=("sh", "-c", "echo no such pool >&2; exit 3"))
    with pytest.raises(BalancerRefused, match="exited with 3: no such pool"):
        await edge.drain("n1", soon())


async def test_a_command_that_says_done_and_is_not_is_found_out(file: Path) -> None:
    with pytest.raises(BalancerError, match="true exited with 0, and n1 is ready and not drain"):
        await balancer(file, drain=("true",)).drain("n1", soon())


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("", "invalid json"),
        ("[]", "should be"),
        ('{"n1": {"status": "up"}}', "n1.status: input should be"),
        ('{"n1": {"status": "ready", "sessions": -1}}', "n1.sessions: input should be greater"),
        ('{"n1": {"status": "ready", "sessions": "2"}}', "n1.sessions: input should be a valid integer"),
    ],
)
async def test_a_state_that_makes_no_sense_is_refused(file: Path, said: str, problem: str) -> None:
    with pytest.raises(BalancerUnreachable, match=problem):
        await balancer(file, state=("printf", "%s", said)).servers(soon())


async def test_commands_that_hang_or_are_missing_are_told(file: Path) -> None:
    with pytest.raises(BalancerUnreachable, match="sleep 60 on balancer did not end"):
        await balancer(file, state=("sleep", "60"), answer=0.5).servers(soon())
    with pytest.raises(BalancerUnreachable, match="there is no program /nowhere/lb"):
        await balancer(file, state=("/nowhere/lb",)).servers(soon())
    with pytest.raises(NoSuchServer, match="the balancer has no server n7"):
        await balancer(file).drain("n7", soon())
