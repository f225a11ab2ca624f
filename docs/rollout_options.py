"""Writes the tables of settings at the end of docs/rollout.md; a test fails when they are not up to date.

python docs/rollout_options.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hitless.cli.flags import default, keys
from hitless.rollout.balancers.settings import CommandSettings, HAProxySettings, NginxSettings
from hitless.rollout.executors.settings import AnsibleSettings, LocalSettings, SshSettings
from hitless.rollout.settings import (
    CommandsProcess,
    ContainerProcess,
    DatabaseSettings,
    NodeSettings,
    RolloutSettings,
    ServeProcess,
    SystemdProcess,
)

PAGE = Path(__file__).with_name("rollout.md")
MARK = "<!-- options -->\n"
TABLES: Final[Mapping[str, type[BaseModel]]] = {
    "The whole": RolloutSettings,
    "`nodes.NAME`": NodeSettings,
    "`database`": DatabaseSettings,
    "`process` of kind `commands`": CommandsProcess,
    "`process` of kind `systemd`": SystemdProcess,
    "`process` of kind `container`": ContainerProcess,
    "`process` of kind `serve`": ServeProcess,
    "`balancers.NAME` of kind `haproxy`": HAProxySettings,
    "`balancers.NAME` of kind `nginx`": NginxSettings,
    "`balancers.NAME` of kind `command`": CommandSettings,
    "`executor` of kind `local`": LocalSettings,
    "`executor` of kind `ssh`": SshSettings,
    "`executor` of kind `ansible`": AnsibleSettings,
}
BELOW: Final = ("kind", "process", "executor", "database")
"""What has tables of its own."""


def page() -> str:
    """The page with its tables made anew."""
    head, mark, _ = PAGE.read_text().partition(MARK)
    return (head + mark + "\n" + "\n".join(_lines())).rstrip("\n") + "\n"


def _lines() -> Iterator[str]:
    for title, model in TABLES.items():
        yield from (f"### {title}", "", "| key | default | meaning |", "|---|---|---|")
        for key, info in keys(model):
            if key not in BELOW:
                yield f"| `{key}` | {_usual(info)} | {info.description} |"
        yield ""


def _usual(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    return f"`{default(info)}`" if default(info) else "not set"


if __name__ == "__main__":
    PAGE.write_text(page())
