"""What cannot run here is told before it runs: plug-ins that are missing or broken, options that they do not take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent.test_formats import POLLING, written

from hitless.agent.checking import Check, check
from hitless.agent.plugins import BUILT_IN, DISCOVERY, POLLSTER, PluginError, Plugins
from hitless.agent.polling.discovery import Discovery
from hitless.agent.polling.pollster import Poll, Pollster, pollster
from hitless.agent.reading import read


@pollster()
def nothing(poll: Poll) -> list[Any]:
    return []


def checked(folder: Path, *, meters: str = "[host.*]", more: str = "", publisher: str = "log://") -> Check:
    written(folder, POLLING.replace("[cpu]", meters) + more)
    sinks = f"sinks:\n  - name: archive\n    publishers: ['{publisher}']\n"
    routes = 'sources:\n  - {name: all, meters: ["*"], sinks: [archive]}\n'
    written(folder, routes + sinks, "pipeline.yaml")
    return check(read([folder]), Plugins({POLLSTER: {"room.temperature": nothing, "room.door": print}}))


def test_a_definition_that_can_run_has_no_problems(tmp_path: Path) -> None:
    assert checked(tmp_path) == Check((), ())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"meters": "[cpu]"}, "polling.yaml:4: sources[0].meters: no pollster here gives any of cpu"),
        (
            {"more": "    discovery: [nova]\n"},
            "polling.yaml:5: sources[0].discovery[0]: there is no discovery nova",
        ),
        ({"meters": "[http.*]"}, "http.up must be told what to poll; give the source some resources"),
        ({"meters": "[room.door]"}, "the pollster room.door is a builtin_function_or_method"),
        (
            {"publisher": "gnocchi://"},
            "pipeline.yaml:5: sinks[0].publishers[0]: there is no publisher gnocchi",
        ),
        ({"publisher": "file://"}, "expected a path, as file:///var/log/samples.jsonl"),
        (
            {"publisher": "file:///tmp/x?max_byte=5"},
            "unknown option max_byte (there are: max_bytes, backup_count",
        ),
        (
            {"publisher": "file:///tmp/x?max_bytes=many&backup_count=1"},
            "the option max_bytes: expected bytes",
        ),
        ({"publisher": "file:///tmp/x?max_bytes=1MB"}, "max_bytes and backup_count go together"),
        ({"publisher": "file:///tmp/x?json=false"}, "lines are always json"),
        ({"publisher": "file:///x?json&json"}, "the option json stands twice"),
        ({"publisher": "log://?level=loud"}, "the option level: "),
        ({"publisher": "sqlite:///tmp/x?table=a;b"}, "the option table: "),
        ({"publisher": "sqlite://host:bad/tmp/x"}, "Port could not be cast"),
    ],
)
def test_what_cannot_run_is_told_with_its_line(tmp_path: Path, options: dict[str, str], says: str) -> None:
    problems = checked(tmp_path, **options).problems
    assert says in "\n".join(map(str, problems))


def test_patterns_and_sinks_without_use_are_warned_of(tmp_path: Path) -> None:
    found = checked(tmp_path, meters="[host.*, cpu]")
    assert found.problems == ()
    assert [str(each).partition("polling.yaml")[2] for each in found.warnings] == [
        ":4: sources[0].meters[1]: no pollster here gives cpu"
    ]
    text = "sources: []\nsinks:\n  - {name: lonely, publishers: [log]}\n"
    (warning,) = check(read([written(tmp_path, text, "pipeline.yaml")]), Plugins()).warnings
    assert "nothing goes to the sink lonely" in str(warning)


def test_everything_that_comes_with_hitless_can_be_loaded() -> None:
    plugins, kinds = Plugins(), {POLLSTER: Pollster, DISCOVERY: Discovery}
    for group in BUILT_IN:
        for name in BUILT_IN[group]:
            found = plugins.load(group, name)
            assert isinstance(found, kinds[group]) if group in kinds else callable(found)


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that offers plug-ins by entry points, as pip would install it."""
    info = tmp_path / "offered-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[hitless.pollster]\nroom.temperature = offered_here:temperature\nroom.broken = offered_here:missing\n"
        "host.load.1min = offered_here:temperature\n"
    )
    (tmp_path / "offered_here.py").write_text(
        "from hitless.agent.polling.pollster import pollster\n\n@pollster()\ndef temperature(poll):\n    return []\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("offered_here", None)


def test_plug_ins_of_other_packages_are_found_by_their_entry_points(offered: Path) -> None:
    plugins = Plugins()
    assert "room.temperature" in plugins.names(POLLSTER)
    assert isinstance(plugins.load(POLLSTER, "room.temperature"), Pollster)


def test_a_plug_in_that_cannot_be_loaded_or_takes_a_name_is_told(offered: Path) -> None:
    plugins = Plugins()
    with pytest.raises(PluginError, match=r"room\.broken \(offered_here:missing\) cannot be loaded"):
        plugins.load(POLLSTER, "room.broken")
    with pytest.raises(PluginError, match=r"several packages offer the pollster host\.load\.1min"):
        plugins.load(POLLSTER, "host.load.1min")
    with pytest.raises(PluginError, match=r"there is no discovery nova; .*local_node"):
        plugins.load(DISCOVERY, "nova")
