"""Transformers compute what Ceilometer's compute, keep their state over changes that do not concern them, and lose nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent.ground import DEADLINE_S, Ground
from tests.agent.pike import Pike, loaded, ours
from tests.agent.test_formats import shipped, written

from hitless.agent.agent import Agent
from hitless.agent.checking import check
from hitless.agent.definition import Definition, Retry, Route, Sink, Transformer
from hitless.agent.plugins import TRANSFORMER, PluginError, Plugins
from hitless.agent.reading import read
from hitless.agent.running import Running
from hitless.agent.sample import Sample
from hitless.agent.transformers.expression import Expression
from hitless.agent.transformers.memory import Memory
from hitless.agent.transformers.parameters import FIELDS, Scope

PLUGINS = Plugins()


@pytest.fixture(scope="module")
def pike(ceilometers: dict[str, Path]) -> Iterator[Pike]:
    with loaded(ceilometers["9.0.7"]) as found:
        yield found


def batches(seed: int, count: int = 40) -> list[list[Sample]]:
    """Of two resources and three meters; counters that are reset, times that go back, users that come and go."""
    dice = random.Random(seed)
    counters: dict[tuple[str, str], float] = {}
    out, at = [], 1_700_000_000.0
    for _ in range(count):
        at += dice.choice([10.0, 10.0, 10.0, 0.0, 60.0])
        batch = []
        for _ in range(dice.randint(1, 4)):
            name, resource = dice.choice(["cpu", "disk.read.bytes", "memory"]), dice.choice(["r1", "r2"])
            kind: Any = {"cpu": "cumulative", "memory": "gauge"}.get(name, "delta")
            before = counters.get((name, resource), 0.0)
            counters[name, resource] = (
                0.5 if dice.random() < 0.1 else before + dice.choice([0.0, 1.0, 2.5, 100.0])
            )
            back = 30.0 if dice.random() < 0.1 else 0.0
            batch.append(
                Sample(
                    name,
                    counters[name, resource],
                    {"memory": "MB"}.get(name, "B"),
                    resource,
                    at - back,
                    kind,
                    metadata=dice.choice([{}, {"cpu_number": 4, "flavor": {"ram": 512}}]),
                    project=dice.choice([None, "p"]),
                    user=dice.choice([None, "u1", "u2"]),
                    monotonic=at - back if seed % 2 else None,
                )
            )
        out.append(batch)
    return out


PARAMETERS: list[tuple[str, dict[str, Any]]] = [
    ("unit_conversion", {"target": {"name": "kb", "unit": "KB", "scale": "volume * 1.0 / 1024.0"}}),
    ("unit_conversion", {"source": {"unit": "B"}, "target": {"unit": "KB", "scale": 0.5, "max": 20}}),
    ("unit_conversion", {"target": {"type": "gauge"}}),
    (
        "unit_conversion",
        {
            "source": {"map_from": {"name": r"disk\.(read|write)\.bytes", "unit": "B"}},
            "target": {
                "map_to": {"name": r"disk.\1.kilobytes", "unit": "KB"},
                "name": "unused",
                "scale": "volume / 1024.0",
            },
        },
    ),
    (
        "rate_of_change",
        {
            "target": {
                "name": "cpu_util",
                "unit": "%",
                "type": "gauge",
                "max": 100,
                "scale": "100.0 / (10**9 * (resource_metadata.cpu_number or 1))",
            }
        },
    ),
    ("rate_of_change", {"target": {"scale": "resource_metadata.flavor.ram or 2"}}),
    (
        "rate_of_change",
        {
            "source": {"map_from": {"name": r"(disk)\.(read)\.(bytes)", "unit": "(B|request)"}},
            "target": {"map_to": {"name": r"\1.\2.\3.rate", "unit": r"\1/s"}, "type": "gauge"},
        },
    ),
    ("delta", {"target": {"name": "cpu.delta"}, "growth_only": True}),
    ("delta", {}),
    ("aggregator", {"size": 7}),
    ("aggregator", {"size": 5, "user_id": "first", "project_id": "last", "resource_metadata": "drop"}),
    ("aggregator", {"size": 6, "timestamp": "last", "user_id": "last", "target": {"scale": 2, "unit": "x"}}),
    ("aggregator", {}),
    ("accumulator", {"size": 6}),
    ("accumulator", {}),
    (
        "arithmetic",
        {"target": {"name": "share", "unit": "%", "type": "gauge", "expr": "100 * $(cpu) / $(memory)"}},
    ),
    ("arithmetic", {"target": {"expr": "$(disk.read.bytes) + $(memory).volume * 2"}}),
    ("arithmetic", {"target": {"name": "n", "expr": "$(cpu) / ($(cpu).resource_metadata.cpu_number or 3)"}}),
]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("name", "parameters"), PARAMETERS)
def test_they_compute_what_ceilometers_compute(
    pike: Pike, name: str, parameters: dict[str, Any], seed: int
) -> None:
    given = batches(seed)
    expected = pike.run(name, parameters, given)
    found = ours(PLUGINS.load(TRANSFORMER, name), parameters, given)
    # Results of several resources that are complete at once come in another order.
    assert [sorted(each, key=str) for each in found] == [sorted(each, key=str) for each in expected]
    assert any(expected)


def test_an_aggregator_with_a_retention_time_alone_aggregates_until_then() -> None:
    transformer = PLUGINS.load(TRANSFORMER, "aggregator")({"retention_time": 60})
    out = []
    for number in range(14):
        transformer.handle(Sample("m", float(number), "x", "r", 10.0 * number))
        out.append([each.volume for each in transformer.flush()])
    assert [each for each in out if each] == [[3.5]]  # 0 to 7: the newest is more than 60 s after the first
    assert [each.volume for each in transformer.close()] == [10.5]


@pytest.mark.parametrize(
    ("text", "raises"),
    [
        ("9**9**9**9", OverflowError),
        ("((9**64)**64)**64", OverflowError),
        ("name * 10**9", TypeError),
        ("volume / 0", ZeroDivisionError),
        ("resource_metadata.nothing + 1", TypeError),
        ("name", ValueError),
    ],
)
def test_an_expression_takes_neither_for_ever_nor_all_the_memory(text: str, raises: type[Exception]) -> None:
    with pytest.raises(raises):
        Expression(text, FIELDS).value(Scope(Sample("m", 1.0, "B", "r", 0.0)))


@pytest.mark.parametrize("text", ["-" * 990 + "1", "(" * 480 + "1" + ")" * 480, "x" * 1001, "", "1;2", "\0"])
def test_what_no_parser_should_have_to_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no expression|at most 1000"):
        Expression(text, FIELDS)


def test_what_is_remembered_is_bounded_and_the_longest_unseen_goes_first() -> None:
    memory: Memory[int, int] = Memory(limit=3)
    for key in (1, 2, 3, 1, 4):
        memory.swap(key, key)
    assert len(memory) == 3
    assert memory.swap(2, 0) is None
    assert memory.swap(1, 0) == 1


PIPELINE = """sources: [{{name: a, meters: ["*"], sinks: [s]}}]
sinks:
  - name: s
    transformers:
      - {}
    publishers: [log]
"""

BAD: list[tuple[str, str, str]] = [
    ("{name: rate_of_change, parameters: {tarjet: {}}}", "parameters.tarjet", "unknown parameter tarjet"),
    ("{name: rate_of_change, parameters: {target: {scale: 5}}}", "target.scale", 'write "5"'),
    (
        "{name: unit_conversion, parameters: {target: {scale: 'volume *'}}}",
        "target.scale",
        "is no expression",
    ),
    (
        "{name: unit_conversion, parameters: {target: {scale: \"__import__('os').getpid()\"}}}",
        "target.scale",
        "only abs, float, int, max, min, round can be called",
    ),
    (
        "{name: unit_conversion, parameters: {target: {scale: 'volume.__class__'}}}",
        "target.scale",
        "no field is named __class__",
    ),
    ("{name: unit_conversion, parameters: {target: {scale: '[volume]'}}}", "target.scale", "list is not"),
    ("{name: unit_conversion, parameters: {target: {scale: 'volum * 2'}}}", "target.scale", "no volum "),
    ("{name: unit_conversion, parameters: {target: {map_to: {name: a}}}}", "parameters", "go together"),
    (
        "{name: unit_conversion, parameters: {source: {map_from: {name: '('}}, target: {map_to: {name: a}}}}",
        "map_from.name",
        "no regular expression",
    ),
    (
        "{name: delta, parameters: {source: {map_from: {name: 'a'}}, target: {map_to: {name: '\\1'}}}}",
        "map_to.name",
        "names the group 1",
    ),
    ("{name: delta, parameters: {growth_only: 'yes'}}", "growth_only", "valid boolean"),
    ("{name: aggregator, parameters: {size: -1}}", "parameters.size", "greater than or equal to 0"),
    ("{name: aggregator, parameters: {user_id: drop}}", "user_id", "'first' or 'last'"),
    ("{name: arithmetic, parameters: {target: {expr: '1 + 1'}}}", "target.expr", "no meter in 1 + 1"),
    ("{name: arithmetic}", "transformers[0]", "the parameter target is required"),
    ("{name: averager}", "transformers[0].name", "there is no transformer averager"),
]


@pytest.mark.parametrize(("transformer", "key", "says"), BAD)
def test_what_is_wrong_is_told_with_its_line_before_anything_runs(
    tmp_path: Path, transformer: str, key: str, says: str
) -> None:
    text = PIPELINE.format(transformer)
    (problem,) = check(read([written(tmp_path, text, "pipeline.yaml")]), PLUGINS).problems
    assert "pipeline.yaml:5" in str(problem)
    assert key in str(problem)
    assert says in str(problem)


def test_the_file_that_pike_ships_lacks_only_its_publishers(ceilometers: dict[str, Path]) -> None:
    found = check(read([shipped(ceilometers["9.0.7"], "pipeline.yaml")], allow_writable=True), PLUGINS)
    assert {str(each).partition(": ")[2].split(";")[0] for each in found.problems} == {
        f"sinks[{number}].publishers[0]: there is no publisher gnocchi" for number in range(5)
    }


def test_events_are_not_transformed(tmp_path: Path) -> None:
    text = PIPELINE.replace("meters", "events").format("{name: delta}")
    (problem,) = check(read([written(tmp_path, text, "event_pipeline.yaml")]), PLUGINS).problems
    assert "event_pipeline.yaml:5" in str(problem)
    assert "events are not transformed" in str(problem)


# State and changes


def piped(*transformers: Transformer, url: str = "kept://a", **more: Any) -> Running:
    retry = Retry(attempts=1)
    sinks = {"s": Sink(publishers=(url,), transformers=transformers, retry=retry), **more}
    routes = {"all": Route(names=("*",), sinks=tuple(sinks))}
    return Running.of(Definition(samples=routes, sinks=sinks))


RATE = Transformer(name="rate_of_change", parameters={"target": {"unit": "B/s"}})
KEEP = Transformer(name="accumulator", parameters={"size": 100})


async def send(agent: Agent, *volumes: float, at: float) -> None:
    async with asyncio.timeout(DEADLINE_S), agent.enter() as generation:
        await generation.publish(
            [Sample("m", volume, "B", "r", at + number) for number, volume in enumerate(volumes)]
        )


def volumes(ground: Ground, url: str = "kept://a") -> list[float]:
    return [each.volume for made in ground.kept.get(url, []) for each in made.samples]


async def test_state_stays_when_something_else_changes() -> None:
    ground = Ground()
    agent = ground.agent(piped(RATE))
    await agent.start()
    await send(agent, 0.0, at=0)
    await agent.reload(piped(RATE, other=Sink(publishers=("kept://other",))))
    await send(agent, 10.0, at=1)
    await agent.reload(piped(RATE, url="kept://b"))
    await send(agent, 30.0, at=2)
    await agent.stop()
    assert volumes(ground) == [10.0]
    assert volumes(ground, "kept://b") == [20.0]


async def test_state_stays_when_only_what_comes_after_it_changes() -> None:
    ground = Ground()
    twice = Transformer(name="unit_conversion", parameters={"target": {"scale": 2}})
    agent = ground.agent(piped(RATE))
    await agent.start()
    await send(agent, 0.0, at=0)
    await agent.reload(piped(RATE, twice))
    await send(agent, 10.0, at=1)
    await agent.stop()
    assert volumes(ground) == [20.0]


async def test_state_goes_when_what_comes_before_it_changes_for_it_would_mean_something_else() -> None:
    ground = Ground()
    half = Transformer(name="unit_conversion", parameters={"target": {"scale": 0.5}})
    agent = ground.agent(piped(RATE))
    await agent.start()
    await send(agent, 100.0, at=0)
    await agent.reload(piped(half, RATE))
    await send(agent, 110.0, at=1)  # 55 after 100 would be a fall
    await send(agent, 120.0, at=2)
    await agent.stop()
    assert volumes(ground) == [5.0]


async def test_a_refused_change_leaves_the_state_where_it_was() -> None:
    ground = Ground()
    agent = ground.agent(piped(RATE))
    await agent.start()
    await send(agent, 0.0, at=0)
    await agent.reload(piped(RATE, KEEP, url="kept://unopenable"))
    await send(agent, 10.0, at=1)
    await agent.stop()
    assert volumes(ground) == [10.0]


async def test_what_is_sent_through_an_old_generation_and_a_new_one_is_neither_lost_nor_doubled() -> None:
    ground = Ground()
    agent = ground.agent(piped(KEEP))
    await agent.start()
    async with asyncio.timeout(DEADLINE_S), agent.enter() as old:
        await old.publish([Sample("m", 1.0, "B", "r", 0.0)])
        await agent.reload(piped(KEEP, RATE))
        await send(agent, 2.0, at=1)
        await old.publish([Sample("m", 3.0, "B", "r", 2.0)])
    await agent.reload(piped(KEEP))
    await send(agent, 4.0, at=3)
    await agent.stop()
    assert sorted(volumes(ground)) == [1.0, 2.0, 3.0, 4.0]


async def test_what_a_transformer_holds_is_published_when_its_sink_goes_and_when_the_agent_stops() -> None:
    ground = Ground()
    agent = ground.agent(piped(KEEP))
    await agent.start()
    await send(agent, 1.0, 2.0, at=0)
    assert volumes(ground) == []
    await agent.reload(piped(KEEP, url="kept://b"))
    assert volumes(ground) == []  # it goes on in the new generation
    await send(agent, 3.0, at=2)
    await agent.reload(piped(url="kept://c"))
    async with asyncio.timeout(DEADLINE_S):
        await agent.runtime.drained()
    assert volumes(ground, "kept://b") == [1.0, 2.0, 3.0]
    await agent.reload(piped(KEEP, url="kept://d"))
    await send(agent, 4.0, at=3)
    await agent.stop()
    assert volumes(ground, "kept://d") == [4.0]


async def test_a_sample_that_a_transformer_cannot_take_is_dropped_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ground = Ground()
    inverse = Transformer(name="unit_conversion", parameters={"target": {"scale": "1 / volume"}})
    agent = ground.agent(piped(inverse))
    await agent.start()
    await send(agent, 0.0, 4.0, at=0)
    await agent.stop()
    assert volumes(ground) == [0.25]
    assert "unit_conversion of the sink s failed: ZeroDivisionError" in caplog.text


def test_another_package_can_bring_one() -> None:
    class Doubling:
        def __init__(self, parameters: dict[str, Any]) -> None:
            self.factor = parameters["factor"]

    plugins = Plugins({TRANSFORMER: {"times": Doubling}})
    assert plugins.load(TRANSFORMER, "times")({"factor": 3}).factor == 3
    with pytest.raises(PluginError):
        plugins.load(TRANSFORMER, "other")
