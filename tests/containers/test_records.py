"""Every attempt is a row of the journal: who asked, what, how it came out, how long it took, and whether work was cut."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.containers.engines import ONE_BY_DEFAULT, PrivateEngine
from tests.containers.hitless_cli import Operator

from hitless.containers.records import FILE

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
ON_ONE = pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)

SERVES = "trap 'exit 0' TERM; echo serving; while :; do sleep 0.2; done"
STUBBORN = "trap '' TERM; echo serving; while :; do sleep 0.2; done"


@pytest.fixture
def serving(engine: PrivateEngine, name: str) -> Iterator[str]:
    engine.run(name, "sh", "-c", SERVES)
    engine.run(f"{name}-stubborn", "sh", "-c", STUBBORN)
    for each in (name, f"{name}-stubborn"):
        engine.await_log(each, "serving")
    yield name
    engine.remove(name, f"{name}-stubborn")


@ON_ONE
def test_the_history_tells_everything_that_was_done(operator: Operator, serving: str) -> None:
    operator.run("restart", serving, "--settle", "0.5s")
    operator.run("recreate", serving, "--settle", "0.5s")
    operator.run("stop", serving, f"{serving}-stubborn", "--wait", "1s")
    rows = operator.history("--json").json["rows"]
    found = {
        (row["container"].removeprefix(serving), row["command"], row["outcome"], row["forced"])
        for row in rows
    }
    assert found == {
        ("", "restart", "applied", False),
        ("", "recreate", "applied", False),
        ("", "stop", "clean", False),
        ("-stubborn", "stop", "forced", True),
    }
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    forced = next(row for row in rows if row["forced"])
    assert forced["reason"] == "deadline"
    assert forced["timings"]["SIGTERM"] >= 1
    assert forced["told"]["exit_code"] == 137
    assert f"uid {os.getuid()}" in forced["requested_by"]
    shown = operator.history(f"{serving}-*").out
    assert "forced (deadline) CUT" in shown
    assert "did not end within 1 s and was killed" in shown
    assert "recreate" not in shown, "only those that were named"


@ON_ONE
def test_a_journal_that_cannot_be_written_keeps_nobody_from_stopping(
    operator: Operator, serving: str
) -> None:
    (operator.folder / "state" / FILE).mkdir(parents=True)
    said = operator.run("stop", serving, "--json")
    assert (said.code, said.first["outcome"]) == (0, "clean")
    assert "is not recorded" in said.err
    assert operator.history().code == 1
