"""Writes the table of settings at the end of docs/db.md; a test fails when it is not up to date.

python docs/db_options.py
"""

from __future__ import annotations

from pathlib import Path

from hitless.cli.flags import default, keys
from hitless.schema.settings import DbSettings

PAGE = Path(__file__).with_name("db.md")
MARK = "<!-- options -->\n"


def page() -> str:
    """The page with its table made anew."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for key, info in keys(DbSettings):
        usual = "required" if info.is_required() else f"`{default(info)}`" if default(info) else "not set"
        rows.append(f"| `{key}` | {usual} | {info.description} |")
    head, mark, _ = PAGE.read_text().partition(MARK)
    return head + mark + "\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
