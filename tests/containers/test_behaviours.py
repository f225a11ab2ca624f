"""Every behaviour of a container has its outcome, on both engines, and nobody is killed before the deadline.

All behaviours of one engine run at the same time, once; each test then asks about one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.containers.behaviours import BEHAVIOURS, Behaviour, Case, seen
from tests.containers.engines import KINDS, PrivateEngine

from hitless.change import Events
from hitless.containers import Engine, Fleet, Hub, Intents, StopOutcome, Target, parameters

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

STARTED_AT_ONCE = 4
Results = Mapping[str, tuple[StopOutcome, PrivateEngine]]


def named(behaviour: Behaviour) -> str:
    return "b-" + "-".join(behaviour.name.lower().split())


@pytest.fixture(scope="session")
def results() -> dict[str, Results]:
    return {}


@pytest.fixture(params=KINDS)
def outcomes(
    request: pytest.FixtureRequest, results: dict[str, Results], tmp_path_factory: pytest.TempPathFactory
) -> Results:
    kind = request.param
    if kind not in results:
        results[kind] = asyncio.run(all_stopped(request.getfixturevalue(kind), tmp_path_factory.mktemp(kind)))
    return results[kind]


def started(engine: PrivateEngine, behaviour: Behaviour) -> None:
    words = ("sh", "-c", behaviour.script)
    engine.run(named(behaviour), *words, options=behaviour.options, detach=not behaviour.created_only)
    if behaviour.is_ready:
        engine.await_log(named(behaviour), "ready", 60)


async def all_stopped(engine: PrivateEngine, folder: Path) -> Results:
    few = asyncio.Semaphore(STARTED_AT_ONCE)

    async def up(behaviour: Behaviour) -> None:
        async with few:
            await asyncio.to_thread(started, engine, behaviour)

    await asyncio.gather(*(up(behaviour) for behaviour in BEHAVIOURS))
    async with Engine(engine.socket) as client, Hub(client) as hub:
        fleet = Fleet(client, hub, Intents(folder, str(engine.socket)), events=Events(keep=1000))

        async def one(behaviour: Behaviour) -> StopOutcome:
            container = await client.inspect(named(behaviour))
            applied = parameters(container, client.dialect, given=behaviour.given)
            return await seen(behaviour, Case(engine, fleet, Target(container, applied)))

        outcomes = await asyncio.gather(*(one(behaviour) for behaviour in BEHAVIOURS))
    assert list(fleet.intents.all()) == [], "nothing is left to be put right"
    return {each.name: (outcome, engine) for each, outcome in zip(BEHAVIOURS, outcomes, strict=True)}


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=named)
def test_the_outcome_of_each_behaviour_is_what_happened(behaviour: Behaviour, outcomes: Results) -> None:
    outcome, engine = outcomes[behaviour.name]
    expected = behaviour.expected(engine.kind)
    reasons = {"removed", "killed"} if expected[1] == "removed" else {expected[1]}  # removing kills first
    assert outcome.ended is expected[0], outcome
    assert outcome.reason in reasons, outcome
    if expected[1] != "removed":
        assert outcome.exit_code == expected[2], outcome
    assert outcome.seconds >= behaviour.least_s - 0.5
    if behaviour.signals is not None:
        assert tuple(step.signal for step in outcome.steps) == behaviour.signals
    if behaviour.note:
        assert behaviour.note in " ".join(outcome.notes)
    if outcome.is_clean:
        assert outcome.exit == 0
    else:
        assert outcome.exit != 0
        assert outcome.message


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=named)
def test_nobody_is_killed_before_the_deadline(behaviour: Behaviour, outcomes: Results) -> None:
    outcome, _ = outcomes[behaviour.name]
    kills = [step for step in outcome.steps if step.signal == "SIGKILL"]
    waited = sum(step.waited_s for step in outcome.steps if step.signal != "SIGKILL")
    assert len(kills) == ("SIGKILL" in (behaviour.signals or ()))
    for kill in kills:
        assert waited >= behaviour.given["wait"]
        assert kill.at_s >= behaviour.given["wait"]


@pytest.mark.parametrize("behaviour", [each for each in BEHAVIOURS if each.runs_on], ids=named)
def test_what_was_not_stopped_runs_on(behaviour: Behaviour, outcomes: Results) -> None:
    _, engine = outcomes[behaviour.name]
    assert engine.state(named(behaviour)) == "running"


@pytest.mark.parametrize("behaviour", [each for each in BEHAVIOURS if "--restart" in each.options], ids=named)
def test_the_restart_policy_is_there_again_and_the_container_stays_down(
    behaviour: Behaviour, outcomes: Results
) -> None:
    _, engine = outcomes[behaviour.name]
    found = engine.inspect(named(behaviour))
    assert found["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert found["State"]["Status"] == "exited"


def test_the_work_of_a_child_is_finished(outcomes: Results) -> None:
    _, engine = outcomes["has a child that holds the work"]
    assert "child done" in engine.logs("b-has-a-child-that-holds-the-work")


def test_the_drain_comes_before_the_signal(outcomes: Results) -> None:
    _, engine = outcomes["drains before the signal"]
    assert "drained" in engine.logs("b-drains-before-the-signal")


def test_the_last_lines_of_a_container_that_failed_are_in_its_outcome(outcomes: Results) -> None:
    outcome, _ = outcomes["exits non-zero"]
    assert outcome.log[-1] == "broken"
