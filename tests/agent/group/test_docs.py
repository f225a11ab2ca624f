"""What the page of groups shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.agent.group.field import Field
from tests.agent.group.test_epochs import ask

from hitless.agent.group.options import GroupSettings
from hitless.agent.settings import read_settings

pytestmark = pytest.mark.timeout(600)
PAGE = (Path(__file__).parents[3] / "docs" / "group.md").read_text()
OPTIONS = PAGE.partition("## Options")[2].partition("\n## ")[0]
ONE = r"\| `{}` \| (.*?) \|"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_configuration_of_the_page_is_valid(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(*blocks("toml"))
    (tmp_path / "agent.toml").chmod(0o600)
    group = read_settings(str(tmp_path / "agent.toml")).group
    assert group is not None
    assert (group.name, group.member) == ("central", "one")


def test_options_and_defaults_are_those_of_the_page() -> None:
    settings = GroupSettings(name="g")
    shown = {"lease": "10 s", "look": "500 ms", "lead": "1 s", "prepare": "1 min"}
    seconds = {"lease": 10.0, "look": 0.5, "lead": 1.0, "prepare": 60.0}
    for name in GroupSettings.model_fields:
        (told,) = re.findall(ONE.format(name), OPTIONS)
        value = getattr(settings, name)
        if name in shown:
            assert (told, value) == (shown[name], seconds[name])
        elif name in ("url", "weight", "quorum"):
            assert told.strip("`") == str(value)
    window = settings.lease + settings.look + settings.lead
    assert f"With the defaults that is {window:g} s" in PAGE


def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    field = Field(tmp_path, name="central")
    try:
        field.write(["a", "b"])
        following = field.write(["a"])
        field.start("m1")
        field.start("m2")
        field.polls_with("m1", "m2")
        (console,) = blocks("console")
        for command, told in re.findall(r"\$ hitless agent (.*)\n((?:[^$].*\n)*)", console):
            words = command.replace("-c one/agent.toml", "").split()
            if words[0] == "run":
                continue  # they do
            words = [each for each in words if not each.endswith(".yaml")]
            answer = ask(field, *words, *(following if "propose" in words else ()))
            for line in told.splitlines():
                pattern = re.escape(line).replace("…", ".*").replace("assignment\\ 2", "assignment\\ \\d")
                assert re.search(pattern, answer.stdout), (command, answer.stdout, answer.stderr)
    finally:
        field.end()
