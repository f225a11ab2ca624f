"""The doctor finds what will be cut, says what to do, and is silent where all is well."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.containers.engines import ONE_BY_DEFAULT, PrivateEngine
from tests.containers.hitless_cli import Operator

pytestmark = [pytest.mark.root, pytest.mark.timeout(200)]
ON_ONE = pytest.mark.parametrize("engine", ONE_BY_DEFAULT, indirect=True)

HANDLES = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.5; done"
PLANTED: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    # fault: script, options of the container, command if not `sh -c script`
    "shell_as_pid_1": ("echo ready; sleep 1000; true", (), ()),
    "no_handler": ("", (), ("sleep", "1000")),
    "killed_at_once": (HANDLES, ("--stop-signal", "SIGKILL"), ()),
    "stop_timeout_too_short": (HANDLES, ("--label", "hitless.stop.wait=30m"), ()),
    "unit_timeout_too_short": (HANDLES, ("--stop-timeout", "120"), ()),
    "resurrected": (
        "trap 'exit 0' TERM QUIT; echo ready; while :; do sleep 0.5; done",
        ("--restart", "always", "--stop-signal", "SIGTERM", "--label", "hitless.stop.signal=QUIT"),
        (),
    ),
}
HEALTHY: tuple[tuple[str, tuple[str, ...]], ...] = (
    (HANDLES, ()),
    (HANDLES, ("--restart", "always")),
    (HANDLES, ("--label", "hitless.stop.wait=5m", "--stop-timeout", "300")),
    ("trap 'exit 0' QUIT; echo ready; while :; do sleep 0.5; done", ("--stop-signal", "SIGQUIT")),
)
UNIT = """\
[Service]
ExecStart=/usr/bin/{engine} start -a {name}
ExecStop=/usr/bin/{engine} stop -t {engine_s} {name}
TimeoutStopSec={stop}
"""


def run(
    engine: PrivateEngine, name: str, script: str, options: tuple[str, ...], command: tuple[str, ...] = ()
) -> None:
    engine.run(name, *(command or ("sh", "-c", script)), options=options)
    if "ready" in script:
        engine.await_log(name, "ready")


@ON_ONE
def test_each_planted_fault_is_found_with_its_remedy_and_nothing_else(
    operator: Operator, tmp_path: Path
) -> None:
    engine = operator.engine
    names = {fault: f"sick-{fault.replace('_', '-')}" for fault in PLANTED}
    well = [f"well-{number}" for number in range(len(HEALTHY))]
    units = tmp_path / "units"
    units.mkdir()
    short, long = names["unit_timeout_too_short"], well[0]
    for name, stop in ((short, "1min 30s"), (long, "2min 30s")):
        text = UNIT.format(engine=engine.kind, name=name, engine_s=120, stop=stop)
        (units / f"{name}.service").write_text(text)
    try:
        for fault, (script, options, command) in PLANTED.items():
            run(engine, names[fault], script, options, command)
        for name, (script, options) in zip(well, HEALTHY, strict=True):
            run(engine, name, script, options)
        said = operator.run("doctor", "sick-*", "well-*", "--units", str(units), "--json")
        assert said.code == 1, said
        assert said.json["examined"] == len(PLANTED) + len(HEALTHY)
        found = {(each["container"], each["fault"]) for each in said.json["findings"]}
        assert found == {(name, fault) for fault, name in names.items()}
        assert all(each["remedy"] for each in said.json["findings"])
        silent = operator.run("doctor", "well-*", "--units", str(units), "--json")
        assert (silent.code, silent.json["findings"]) == (0, [])
        shown = operator.run("doctor", names["no_handler"])
        assert "--init" in shown.out
    finally:
        engine.remove(*names.values(), *well)


@ON_ONE
def test_a_process_1_that_leaves_dead_children_unreaped_is_found(operator: Operator, name: str) -> None:
    """busybox's sleep as process 1 waits for nobody; its child, made by the shell that it was, ends at once."""
    engine = operator.engine
    run(engine, name, "echo ready; true & exec sleep 1000", ())
    try:
        said = operator.run("doctor", name, "--signal", "TERM", "--json")
        assert {each["fault"] for each in said.json["findings"]} == {"not_reaped", "no_handler"}
    finally:
        engine.remove(name)


def test_a_shell_between_an_init_and_the_program_is_found(
    docker: PrivateEngine, name: str, tmp_path: Path
) -> None:
    docker.run(name, "sh", "-c", "echo ready; sleep 1000; true", options=("--init",))
    docker.await_log(name, "ready")
    try:
        said = Operator(docker, tmp_path).run("doctor", name, "--json")
        assert [each["fault"] for each in said.json["findings"]] == ["shell_under_init"]
    finally:
        docker.remove(name)
