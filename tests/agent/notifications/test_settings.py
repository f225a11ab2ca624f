"""`[notifications]`: what is wrong is told with file and line, `check` and `plan` cover it, and passwords are not shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.agent.notifications.crowd import METERS
from typer.testing import CliRunner

from hitless.agent.notifications.broker import _parameters
from hitless.agent.notifications.spec import ListenerSpec
from hitless.cli.app import build

URL = "amqp://guest:hush-hush@127.0.0.1:5672/"


def written(folder: Path, notifications: str, **files: str) -> str:
    """An agent.toml with this table; its path."""
    usual = {
        "agent.toml": f'files = ["pipeline.yaml"]\n[notifications]\n{notifications}\n',
        "pipeline.yaml": "sources:\n  - {name: a, meters: ['*'], sinks: [s]}\n"
        "sinks:\n  - {name: s, publishers: ['log://']}\n",
        "meters.yaml": METERS,
        "events.yaml": "- {event_type: 'volume.*', traits: {size: payload.size}}\n",
    }
    for name, text in {**usual, **{key.replace("_", "."): each for key, each in files.items()}}.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    return str(folder / "agent.toml")


def told(*command: str) -> Any:
    return CliRunner(env={"COLUMNS": "300"}).invoke(build("agent"), ["agent", *command])


def test_check_covers_listeners_and_their_definitions(tmp_path: Path) -> None:
    path = written(tmp_path, f'urls = ["{URL}"]\nmeters = ["meters.yaml"]\nevents = ["events.yaml"]')
    found = told("check", path)
    assert found.exit_code == 0, found.output
    assert "1 listeners, 1 meter definitions, 1 event definitions" in found.output
    answer = json.loads(told("check", path, "--json").output)
    assert answer["valid"]
    assert answer["listeners"] == 1


@pytest.mark.parametrize(
    ("notifications", "says"),
    [
        ('urls = ["http://x/"]', "agent.toml:3: notifications.urls"),
        ('urls = ["amqp://"]', "expected a host"),
        ('urls = ["filesystem://spool"]', "expected a folder"),
        ("urls = []", "at least 1"),
        (f'urls = ["{URL}", "{URL}"]', "stands twice"),
        (f'urls = ["{URL}"]\nprefetch = 0', "agent.toml:4: notifications.prefetch: expected at least 1"),
        (f'urls = ["{URL}"]\nqueue_type = "quorum"', "say durable = true"),
        (f'urls = ["{URL}"]\nqeue_type = "quorum"', "unknown key"),
        ('urls = ["filesystem:///tmp/x"]\nshards = {count = 4}', "shards need RabbitMQ"),
        (f'urls = ["{URL}"]\nshards = {{count = 0}}', "notifications.shards.count"),
        (f'urls = ["{URL}"]\nshards = {{count = 2, keys = ["a["]}}', "a bracket is not closed"),
        (f'urls = ["{URL}"]\nexchanges = ["a b"]', "notifications.exchanges"),
        (f'urls = ["{URL}"]\nmeters = ["gone.yaml"]', "gone.yaml"),
        (f'urls = ["{URL}"]\nendpoints = ["a", "!b"]', "do not go together"),
        (f'urls = ["{URL}"]\nevents = ["meters.yaml"]', "meters.yaml:1: metric: unknown key"),
    ],
)
def test_what_is_wrong_is_told_without_the_password(tmp_path: Path, notifications: str, says: str) -> None:
    found = told("check", written(tmp_path, notifications))
    assert found.exit_code == 2
    assert says in found.output
    assert "hush-hush" not in found.output


def test_plan_says_which_listeners_and_definitions_change(tmp_path: Path) -> None:
    more = METERS + METERS.partition("\n")[2].replace("volume.size", "volume.again")
    old = written(tmp_path / "old", f'urls = ["{URL}"]\nmeters = ["meters.yaml"]\nevents = ["events.yaml"]')
    new = written(
        tmp_path / "new",
        f'urls = ["{URL}", "filesystem:///var/spool/x"]\nmeters = ["meters.yaml"]\nprefetch = 7',
        meters_yaml=more,
    )
    found = told("plan", old, new)
    assert found.exit_code == 0, found.output
    lines = found.output.splitlines()
    assert any(line.startswith("~ listener amqp://guest:***@127.0.0.1:5672/") for line in lines)
    assert "    prefetch: 200 → 7" in lines
    assert "+ listener filesystem:///var/spool/x" in lines
    assert "+ meter definition volume.again" in lines
    assert "~ notifications how events are made" in lines
    assert "hush-hush" not in found.output
    assert told("plan", old, old).output.startswith("nothing to change")


def test_several_hosts_of_a_url_are_tried_one_after_the_other() -> None:
    spec = ListenerSpec(url="rabbit://a:b@one:5672,c:d@two/nova")
    found = _parameters(spec, "x")["hostname"]
    assert found == "amqp://a:b@one:5672/nova;amqp://c:d@two/nova"
    assert _parameters(ListenerSpec(url="amqp://one"), "x")["hostname"] == "amqp://one/%2F"


def test_quorum_queues_must_be_durable() -> None:
    with pytest.raises(ValidationError, match="durable"):
        ListenerSpec(url=URL, queue_type="quorum")
    assert ListenerSpec(url=URL, queue_type="quorum", durable=True).queues == (
        "notifications.info",
        "notifications.error",
        "notifications.sample",
    )
