"""The commands stand in groups, of which only the one that was asked for is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from hitless.cli.app import GROUPS, build


def names(app: typer.Typer) -> set[str]:
    commands = {each.name or getattr(each.callback, "__name__", "") for each in app.registered_commands}
    groups = {
        str(each.name or each.typer_instance.info.name)
        for each in app.registered_groups
        if each.typer_instance
    }
    return commands | groups


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_loaded_alone_and_has_the_commands_that_the_table_says(group: str) -> None:
    for command in GROUPS[group]:
        assert names(build(command)) == set(GROUPS[group])


def test_who_asks_for_nothing_or_nonsense_is_offered_everything() -> None:
    everything = {command for commands in GROUPS.values() for command in commands}
    assert names(build()) == names(build("nonsense")) == names(build("--help")) == everything


def test_looking_at_a_service_loads_neither_the_server_nor_settings() -> None:
    script = "import sys; from hitless.cli.app import build; build('status'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for module in ("pydantic", "hitless.serve", "hitless.config", "watchfiles"):
        assert module not in loaded.stdout.split()
