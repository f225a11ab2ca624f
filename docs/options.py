"""Writes docs/options.md from the settings themselves; a test fails when it is not up to date.

python docs/options.py > docs/options.md
"""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticUndefined

from hitless.cli.flags import choices, flag, keys
from hitless.serve.settings import ServeSettings

HEAD = """\
# Options of hitless serve

Every option is a key of `hitless.toml`, a command-line flag, and an environment variable; `app` may be written without its
flag. Later ones win: default, file, environment, flag. `hitless check --explain` shows each value and where it came from. Unless
it says otherwise, every option may change on reload.

Times are seconds, or text such as `"250ms"`, `"20s"`, `"1m30s"`, `"2h"`; sizes are bytes, or `"64KiB"`, `"10MB"`. In the
environment and in flags a list is written `a,b` or `["a", "b"]`; a flag for a list may be repeated. Tables such as `env` are
written `KEY=VALUE`. `[[notify]]`, a list of tables, stands in the file: see [notifications](notifications.md).

| key | flag | environment | default | meaning |
|---|---|---|---|---|
"""


def rows() -> list[str]:
    found = []
    for key, info in keys(ServeSettings):
        variable = "HITLESS_" + key.replace(".", "_").upper()
        default = (
            "required" if info.is_required() else f"`{_shown(info.get_default(call_default_factory=True))}`"
        )
        values = ", ".join(f"`{value}`" for value in choices(info))
        meaning = f"{info.description} ({values})" if values else info.description
        found.append(f"| `{key}` | `{flag(key)}` | `{variable}` | {default} | {meaning} |")
    return found


def _shown(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def page() -> str:
    return HEAD + "\n".join(rows()) + "\n"


if __name__ == "__main__":
    print(page(), end="")
