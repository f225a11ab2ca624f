"""`hitless.containers` knows nothing of what is above it, and only those who use it need its libraries."""

from __future__ import annotations

from tests.change.test_floors import imported

ABOVE = ("hitless.cli", "hitless.dashboard", "hitless.rollout", "hitless.agent", "hitless.demo")


def test_containers_import_nothing_from_above() -> None:
    assert not {name for name in imported("hitless.containers") if name.startswith(ABOVE)}


def test_commands_that_need_no_engine_do_not_load_the_client() -> None:
    assert "hitless.containers.engine" not in imported("hitless.change", "hitless.config", "hitless.control")
