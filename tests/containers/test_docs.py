from __future__ import annotations

import re
from pathlib import Path

from tests.change.documents import DOCS, run_examples

from hitless.containers import FAULTS, REASONS
from hitless.containers.rules import AlternateRule, DrainRule, Rule

PAGE = (DOCS / "containers.md").read_text()


def test_the_example_of_the_page_works(tmp_path: Path) -> None:
    # The example needs no Kolla on this machine.
    printed = run_examples("containers.md", tmp_path).splitlines()
    assert printed[0] == "SIGTERM, 1800 s → SIGKILL"
    assert any(line.startswith("wait 1800 s containers.toml:") for line in printed)


def test_every_key_reason_and_fault_is_on_the_page() -> None:
    named = set(re.findall(r"`([a-z0-9_.]+)`", PAGE))
    tables = {"drain": DrainRule, "alternate": AlternateRule}
    inner = {f"{name}.{key}" for name, table in tables.items() for key in table.model_fields}
    keys = ({*Rule.model_fields} | inner) - set(tables)
    assert keys - named == set()
    assert set(FAULTS) - named == set()
    assert set(REASONS) - {"restarting"} - named == set()
