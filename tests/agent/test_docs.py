"""What the page shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.agent.test_formats import written

from hitless.agent.checking import Check, check
from hitless.agent.comparison import compare
from hitless.agent.definition import BATCH_SIZE, BUFFER_SIZE, Retry
from hitless.agent.plugins import BUILT_IN, POLLSTER, PUBLISHER, Plugins
from hitless.agent.polling.pollster import Poll
from hitless.agent.reading import read
from hitless.agent.settings import read_settings

PAGE = (Path(__file__).parents[2] / "docs/agent.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


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


def test_every_plug_in_is_on_the_page() -> None:
    for name in BUILT_IN[POLLSTER]:
        family = ".".join(name.split(".")[:2]) + ".*"
        assert f"`{name}`" in PAGE or f"`{family}`" in PAGE, name
    for name in BUILT_IN[PUBLISHER]:
        assert f"`{name}://" in PAGE


def test_the_pollster_of_the_page_measures(tmp_path: Path) -> None:
    (code,) = blocks("python")
    found: dict[str, object] = {}
    exec(compile(code, "docs/agent.md", "exec"), found)
    sensor = tmp_path / "temp"
    sensor.write_text("42500\n")
    poll = Poll("room.temperature", "s", (str(sensor),), 0.0, 1.0)
    (sample,) = found["temperature"].measure(poll)  # type: ignore[attr-defined]
    assert (sample.volume, sample.unit, sample.resource) == (42.5, "C", str(sensor))
