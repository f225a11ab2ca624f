"""What the page of listeners shows works."""

from __future__ import annotations

import re
from pathlib import Path

from tests.agent.notifications.ground import message
from typer.testing import CliRunner

from hitless.agent.notifications.converter import Conversion, Converter
from hitless.agent.notifications.endpoint import Endpoint
from hitless.agent.notifications.notification import parse
from hitless.agent.notifications.reading import read_definitions
from hitless.agent.notifications.settings import NotificationSettings
from hitless.agent.notifications.spec import Shards
from hitless.agent.notifications.verdict import Reason
from hitless.agent.plugins import BUILT_IN, TRAIT, Plugins
from hitless.cli.app import build

PAGE = (Path(__file__).parents[3] / "docs" / "listeners.md").read_text()
PIPELINE = "sources:\n  - {name: a, %s: ['*'], sinks: [s]}\nsinks:\n  - {name: s, publishers: ['log://']}\n"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def files(folder: Path) -> None:
    first, shards = blocks("toml")
    meters, events = blocks("yaml")
    for name, text in {
        "agent.toml": first + shards,
        "meters.yaml": meters,
        "event_definitions.yaml": events,
        "pipeline.yaml": PIPELINE % "meters",
        "event_pipeline.yaml": PIPELINE % "events",
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)


def test_the_files_of_the_page_are_valid_and_counted_as_it_says(tmp_path: Path) -> None:
    files(tmp_path)
    runner = CliRunner(env={"COLUMNS": "300"})
    found = runner.invoke(build("agent"), ["agent", "check", str(tmp_path / "agent.toml")])
    assert found.exit_code == 0, found.output
    assert found.output.partition("): ")[2].strip() in PAGE


def test_the_definitions_of_the_page_make_what_they_say(tmp_path: Path) -> None:
    files(tmp_path)
    read = read_definitions(
        [tmp_path / "meters.yaml"], [tmp_path / "event_definitions.yaml"], plugins=Plugins()
    )
    converter = Converter(Conversion(meters=read.meters, events=read.events), Plugins())
    made = converter.convert(parse(message(3)))
    assert [(each.name, each.volume, each.unit) for each in made.samples] == [("volume.size", 3.0, "GiB")]
    (event,) = made.events
    assert (event.traits["size"], event.traits["host"]) == (3, "host1")


def test_the_endpoint_of_the_page_makes_a_sample() -> None:
    (code,) = blocks("python")
    found: dict[str, object] = {}
    exec(compile(code, "docs/listeners.md", "exec"), found)
    backups = found["backups"]
    assert isinstance(backups, Endpoint)
    assert backups.takes("backup.create.end", "info")
    payload = {"seconds": 5, "volume_id": "v"}
    (sample,) = backups.make(parse(message(0, payload=payload)))
    assert (sample.name, sample.volume) == ("backup.duration", 5)  # type: ignore[union-attr]


def test_every_option_reason_and_plug_in_is_on_the_page() -> None:
    named = [*NotificationSettings.model_fields, *Shards.model_fields, *BUILT_IN[TRAIT]]
    named += [each.value for each in Reason]
    assert [each for each in named if f"`{each}`" not in PAGE] == []
    for name in ("prefetch", "batch_size", "attempts"):
        default = NotificationSettings.model_fields[name].default
        assert re.search(rf"\| `{name}` \| {default} \|", PAGE), name
