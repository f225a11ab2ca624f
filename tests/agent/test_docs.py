"""What the page shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.agent.test_formats import written

from hitless.agent.agent import Agent
from hitless.agent.checking import Check, check
from hitless.agent.comparison import compare
from hitless.agent.definition import BATCH_SIZE, BUFFER_SIZE, Definition, Retry, Route, Sink
from hitless.agent.plugins import BUILT_IN, DISCOVERY, POLLSTER, PUBLISHER, TRANSFORMER, Plugins
from hitless.agent.polling.pollster import Poll
from hitless.agent.reading import read
from hitless.agent.running import Running
from hitless.agent.sample import Sample
from hitless.agent.settings import read_settings
from hitless.agent.transformers.chain import Chain

DOCS = Path(__file__).parents[2] / "docs"
PAGE, POLLSTERS, TRANSFORMERS, PUBLISHERS = (
    (DOCS / f"{name}.md").read_text() for name in ("agent", "pollsters", "transformers", "publishers")
)


def blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    polling, pipeline = blocks("yaml")
    (settings,) = blocks("toml")
    written(tmp_path, polling)
    written(tmp_path, pipeline, "pipeline.yaml")
    written(tmp_path, settings, "agent.toml")
    return tmp_path


def test_the_files_are_valid_and_counted_as_the_page_says(folder: Path) -> None:
    settings = read_settings(str(folder / "agent.toml"))
    reading = read(settings.files)
    assert check(reading, Plugins()) == Check((), ())
    definition = reading.definition
    sizes = len(definition.polling), len(list(definition.pipelines())), len(definition.publishers)
    told = "{} polling sources, {} pipelines, {} publishers".format(*sizes)
    assert re.search(rf"the definition is valid \([0-9a-f]{{12}}\): {told}\n", PAGE)


def test_the_plan_is_that_of_the_page(folder: Path, tmp_path: Path) -> None:
    before = read([folder]).definition
    polling = (folder / "polling.yaml").read_text().replace("interval: 10", "interval: 20")
    written(folder, polling)
    assert "\n".join(compare(before, read([folder]).definition).lines()) in PAGE


def test_defaults_are_those_of_the_page() -> None:
    retry = Retry()
    assert f"| {BUFFER_SIZE} |" in PAGE
    assert f"| {BATCH_SIZE} |" in PAGE
    assert f"attempts: {retry.attempts}, first: {retry.first * 1000:g}ms, longest: {retry.longest:g}s" in PAGE


def test_every_plug_in_is_on_its_page() -> None:
    for name in BUILT_IN[POLLSTER]:
        family = ".".join(name.split(".")[:2]) + ".*"
        assert f"`{name}`" in POLLSTERS or f"`{family}`" in POLLSTERS, name
    for name in BUILT_IN[PUBLISHER]:
        assert f"`{name}://" in PUBLISHERS, name
    for name in BUILT_IN[TRANSFORMER]:
        assert f"`{name}`" in TRANSFORMERS, name
    for name in BUILT_IN[DISCOVERY]:
        assert name == "local_node" or f"discovery `{name}`" in POLLSTERS, name


def test_the_pollster_of_the_page_measures(tmp_path: Path) -> None:
    (code,) = blocks("python", POLLSTERS)
    found: dict[str, object] = {}
    exec(compile(code, "docs/pollsters.md", "exec"), found)
    sensor = tmp_path / "temp"
    sensor.write_text("42500\n")
    poll = Poll("room.temperature", "s", (str(sensor),), 0.0, 1.0)
    (sample,) = found["temperature"].measure(poll)  # type: ignore[attr-defined]
    assert (sample.volume, sample.unit, sample.resource) == (42.5, "C", str(sensor))


@pytest.mark.parametrize("page", [POLLSTERS, TRANSFORMERS, PUBLISHERS])
def test_the_files_of_the_other_pages_are_valid(tmp_path: Path, page: str) -> None:
    (text,) = blocks("yaml", page)
    name = "pipeline.yaml" if "sinks:" in text else "polling.yaml"
    assert check(read([written(tmp_path, text, name)]), Plugins()) == Check((), ())


def test_the_transformers_of_the_page_compute_what_it_says(tmp_path: Path) -> None:
    (text,) = blocks("yaml", TRANSFORMERS)
    sinks = read([written(tmp_path, text, "pipeline.yaml")]).definition.sinks
    plugins = Plugins()

    def chain(name: str) -> Chain[Sample]:
        return Chain.of(name, sinks[name].transformers, lambda each: plugins.load(TRANSFORMER, each))

    traffic = [
        Sample("host.network.incoming.bytes", volume, "B", "h/eth0", at, "cumulative")
        for volume, at in ((0.0, 0.0), (20480.0, 10.0))
    ]
    (rate,) = chain("rates").process(traffic)
    assert (rate.name, rate.volume, rate.unit, rate.kind) == (
        "host.network.incoming.bytes.rate",
        2.0,
        "KB/s",
        "gauge",
    )
    memory = [
        Sample(f"host.memory.{name}", volume, "B", "h", 0.0)
        for name, volume in (("total", 8.0), ("available", 6.0))
    ]
    (share,) = chain("share").process(memory)
    assert (share.name, share.volume, share.unit) == ("host.memory.share", 25.0, "%")


async def test_what_a_listener_does_on_the_page_publishes(tmp_path: Path) -> None:
    (code,) = blocks("python")
    folder = tmp_path / "kept"
    folder.mkdir()
    sink = Sink(publishers=(f"file://{folder}/samples.jsonl",))
    routes = {"all": Route(names=("*",), sinks=("s",))}
    agent = Agent(Running.of(Definition(samples=routes, sinks={"s": sink})))
    await agent.start()
    given = {"agent": agent, "samples": [Sample("m", 1.0, "x", "r", 0.0)]}
    body = "async def listen():\n" + "".join(f"    {line}\n" for line in code.splitlines())
    exec(compile(body, "docs/agent.md", "exec"), given)
    await given["listen"]()  # type: ignore[operator]
    assert len((folder / "samples.jsonl").read_text().splitlines()) == 1
    await agent.stop()
