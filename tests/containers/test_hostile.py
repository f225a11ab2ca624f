"""Bad input, engines that are none, disks that are full, readers that go away: nothing is half done for their sake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from tests.containers.engines import ONE_BY_DEFAULT, PrivateEngine, await_true
from tests.containers.hitless_cli import Operator

from hitless.containers import (
    Engine,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(200)]
ON_ONE = pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)

QUICK = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.2; done"
SLOW = "trap 'sleep 2; echo finished; exit 0' TERM; echo ready; while :; do sleep 0.2; done"


@pytest.fixture
def made(engine: PrivateEngine) -> Iterator[list[str]]:
    """Names that are removed at the end."""
    names: list[str] = []
    yield names
    engine.remove(*reversed(names))


def up(engine: PrivateEngine, made: list[str], name: str, script: str, *options: str) -> str:
    engine.run(name, "sh", "-c", script, options=options)
    made.append(name)
    engine.await_log(name, "ready")
    return name


@contextmanager
def _closed() -> Iterator[int]:
    """The end of a pipe that nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    try:
        yield write
    finally:
        os.close(write)


@ON_ONE
def test_one_whose_labels_make_no_sense_hides_no_other(
    operator: Operator, made: list[str], name: str
) -> None:
    engine = operator.engine
    good = up(engine, made, f"{name}-good", QUICK)
    labels = ("--label", "hitless.stop.drain=x", "--label", "hitless.stop.drain.http=http://127.0.0.1")
    bad = up(engine, made, f"{name}-bad", QUICK, *labels)
    rows = {row["container"]: row for row in operator.run("ps", f"{name}-*", "--json").json["containers"]}
    assert rows[good]["stop"]
    assert rows[good]["invalid"] is None
    assert rows[bad]["stop"] is None
    assert "make no sense" in rows[bad]["invalid"]
    shown = operator.run("ps", f"{name}-*")
    assert shown.code == 0
    assert "refused: the labels of" in shown.out
    found = operator.run("doctor", f"{name}-*", "--json").json["findings"]
    assert [each["fault"] for each in found if each["container"] == bad] == ["invalid_parameters"]
    stopped = operator.run("stop", bad)
    assert stopped.code == 2
    assert "make no sense" in stopped.err
    assert "Traceback" not in stopped.err
    assert engine.state(bad) == "running"


@ON_ONE
def test_a_name_that_is_not_there_is_never_passed_over(
    operator: Operator, made: list[str], name: str
) -> None:
    quick = up(operator.engine, made, f"{name}-quick", QUICK)
    for words in ((f"{name}-*", "nobody"), (quick, "nobody-*"), (f"{name}-*", "nobody-*")):
        said = operator.run("stop", *words)
        assert (said.code, operator.engine.state(quick)) == (6, "running"), said
        assert "nobody" in said.err
    by_id = operator.engine.inspect(quick)["Id"][:12]
    assert operator.run("stop", by_id, f"{name}-*").code == 0


@ON_ONE
async def test_what_cannot_be_a_name_is_nobodys(engine: PrivateEngine) -> None:
    async with Engine(engine.socket) as client:
        for odd in (".", "..", "a/b", "../version", "é", "a b", "%2e", "a\nb", ""):
            assert await client.find(odd) is None


@ON_ONE
def test_who_reads_may_go_away_and_every_stop_comes_to_its_end(
    operator: Operator, made: list[str], name: str
) -> None:
    engine = operator.engine
    both = [up(engine, made, f"{name}-{n}", SLOW, "--restart", "always") for n in range(2)]
    for more in ((), ("--json",)):
        engine.cli("start", *both)
        with _closed() as nowhere:
            done = subprocess.run(
                operator.words("stop", *both, *more), stdout=nowhere, stderr=subprocess.PIPE, text=True,
                timeout=120, env=operator.environ, check=False,
            )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        for each in both:
            found = engine.inspect(each)
            assert (found["State"]["Status"], found["State"]["ExitCode"]) == ("exited", 0)
            assert found["HostConfig"]["RestartPolicy"]["Name"] == "always"


@ON_ONE
def test_a_terminal_that_is_closed_cancels_and_leaves_nothing_aside(
    operator: Operator, made: list[str], name: str
) -> None:
    engine = operator.engine
    slow = up(
        engine, made, name, "trap '' TERM; echo ready; while :; do sleep 0.2; done", "--restart", "always"
    )
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    stopping = operator.begin("stop", slow, "--wait", "100s")
    signal.signal(signal.SIGHUP, before)
    assert stopping.stdout is not None
    await_true(lambda: engine.inspect(slow)["HostConfig"]["RestartPolicy"]["Name"] != "always", what="stop")
    while "SIGTERM sent" not in stopping.stdout.readline():
        assert stopping.poll() is None
    stopping.send_signal(signal.SIGHUP)
    _, err = stopping.communicate(timeout=60)
    assert stopping.returncode == 3
    assert "refused (cancelled)" in err
    assert engine.state(slow) == "running"
    if engine.kind == "docker":
        assert engine.inspect(slow)["HostConfig"]["RestartPolicy"]["Name"] == "always"


@ON_ONE
def test_a_state_directory_that_cannot_be_written_stops_who_needs_it_and_nobody_else(
    operator: Operator, made: list[str], name: str
) -> None:
    engine = operator.engine
    kept = up(engine, made, f"{name}-kept", QUICK, "--restart", "always")
    free = up(engine, made, f"{name}-free", SLOW)
    state = operator.folder / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", state], check=True, timeout=30)
    try:
        done = operator.run("stop", kept, free, "--json")
    finally:
        subprocess.run(["umount", state], check=True, timeout=30)
    told = {each["container"]: (each["outcome"], each["reason"]) for each in done.json["containers"]}
    expected = {kept: ("refused", "state_unwritable"), free: ("clean", None)}
    if engine.kind == "podman":  # it cannot set a policy aside, so nothing is to be written down
        expected[kept] = ("clean", None)
    assert told == expected
    assert "Traceback" not in done.err
    assert "is not recorded" in done.err


@ON_ONE
def test_what_a_container_writes_does_not_reach_the_terminal_as_commands(
    operator: Operator, made: list[str], name: str
) -> None:
    script = r"trap 'exit 3' TERM; printf '\033]0;mine\007\033[2Jready\n'; while :; do sleep 0.2; done"
    up(operator.engine, made, name, script)
    said = operator.run("stop", name)
    assert said.code == 1
    assert r"\x1b]0;mine\x07\x1b[2Jready" in said.err
    assert "\x1b" not in said.err + said.out


@ON_ONE
def test_a_line_without_end_is_told_by_its_end(operator: Operator, made: list[str], name: str) -> None:
    script = "trap 'printf %01000000d 7; exit 3' TERM; echo ready; while :; do sleep 0.2; done"
    up(operator.engine, made, name, script)
    said = operator.run("stop", name)
    assert said.code == 1
    assert "0007" in said.err
    assert len(said.err) < 20_000


@ON_ONE
def test_a_drain_that_leaves_a_process_behind_has_ended_all_the_same(
    operator: Operator, made: list[str], name: str
) -> None:
    quick = up(operator.engine, made, name, QUICK)
    left = operator.folder / "left"
    command = f"sh -c 'sleep 100 & echo $! > {left}; echo drained'"
    said = operator.run("stop", quick, "--drain-host", command, "--drain-timeout", "60s", "--json")
    with suppress(ProcessLookupError):
        os.kill(int(left.read_text()), signal.SIGKILL)
    assert said.first["outcome"] == "clean"
    assert said.first["drained_s"] < 60


@ON_ONE
def test_a_drain_that_never_stops_talking_is_told_in_a_few_lines(
    operator: Operator, made: list[str], name: str
) -> None:
    quick = up(operator.engine, made, name, QUICK)
    command = "sh -c 'yes | head -c 20000000; echo the end; exit 7'"
    said = operator.run("stop", quick, "--drain-host", command)
    assert said.code == 3
    assert "exited with 7: y / y / y / y / the end" in said.err
    hanging = operator.run(
        "stop", quick, "--drain-host", "sh -c 'setsid sleep 20 & sleep 100'", "--drain-timeout", "2s"
    )
    assert hanging.code == 3
    assert "did not end" in hanging.err
    assert "Exception ignored" not in hanging.err
    assert operator.engine.state(quick) == "running"


@ON_ONE
def test_who_gave_a_container_no_end_of_time_to_stop_is_taken_at_their_word(
    operator: Operator, made: list[str], name: str
) -> None:
    slow = up(
        operator.engine,
        made,
        name,
        SLOW,
        *(() if operator.engine.kind == "podman" else ("--stop-timeout", "-1")),
    )
    assert operator.run("stop", slow, "--json").first["outcome"] == "clean"
    assert "finished" in operator.engine.logs(slow)


@ON_ONE
def test_a_stop_that_was_cancelled_before_it_began_does_nothing(
    operator: Operator, made: list[str], name: str
) -> None:
    engine = operator.engine
    first = up(engine, made, f"{name}-a", SLOW)
    paused = up(engine, made, f"{name}-b", QUICK)
    engine.cli("pause", paused)
    mark = operator.folder / "drained"
    stopping = operator.begin(
        "stop", first, paused, "--max-parallel", "1", "--json", "--wait", "100s", "--drain-host",
        f"sh -c 'echo $HITLESS_CONTAINER >> {mark}; sleep 100'", "--drain-timeout", "100s",
    )  # fmt: skip
    await_true(lambda: mark.exists() and mark.read_text() != "", what="drain")
    stopping.send_signal(signal.SIGINT)
    out, err = stopping.communicate(timeout=60)
    assert {each["reason"] for each in json.loads(out)["containers"]} == {"cancelled"}, err
    assert mark.read_text().split() == [first]
    assert engine.state(paused) == "paused"
    engine.cli("unpause", paused)
