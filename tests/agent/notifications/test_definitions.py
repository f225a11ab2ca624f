"""Ceilometer's files of definitions, read as they are, and what they make of notifications."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path as File
from typing import Any

import pytest
from tests.agent.notifications.ground import envelope, message

from hitless.agent.notifications.converter import Conversion, Converted, Converter
from hitless.agent.notifications.endpoint import EndpointFailed
from hitless.agent.notifications.notification import Unparsable, parse
from hitless.agent.notifications.path import Path, PathError
from hitless.agent.notifications.reading import Read, read_definitions
from hitless.agent.plugins import Plugins
from hitless.config import ConfigError

BODY: dict[str, Any] = {
    "publisher_id": "compute.host.example.org",
    "payload": {
        "tenant_id": "t",
        "glance_metadata": [{"key": "a", "value": 1}, {"key": "image_id", "value": "img"}],
        "image_meta": {"org.openstack__1__os_version": "7"},
        "metrics": [{"name": "cpu.frequency", "value": 3}, {"name": "cpu.percent", "value": 0.5}],
        "host": "h",
        "nodename": "n",
        "outcome": "success",
        "pool": "a#b",
        "measurements": [
            {"metric": {"name": "m"}, "result": 5},
            {"metric": [{"name": "k"}], "result": 6},
        ],
    },
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("payload.tenant_id", ["t"]),
        ("$.payload.tenant_id", ["t"]),
        ("payload['host']", ["h"]),
        ("payload.image_meta.'org.openstack__1__os_version'", ["7"]),
        ("payload.glance_metadata[?key=image_id].value", ["img"]),
        ("payload.glance_metadata[0].value", [1]),
        ("payload.glance_metadata[-1].key", ["image_id"]),
        ("payload.glance_metadata[7].key", []),
        ("payload.metrics[?(@.name='cpu.frequency')].value", [3]),
        ("payload.metrics[?(@.value > 1 & @.name)].name", ["cpu.frequency"]),
        ("$.payload.metrics[?(@.name='cpu.percent')].value * 100", [50.0]),
        ('$.payload.host + "_" + $.payload.nodename', ["h_n"]),
        ("$.payload.host + $.payload.nothing", []),
        ("$.payload.host * $.payload.nodename", []),
        ("publisher_id.`split(., 1, 1)`", ["host.example.org"]),
        ("publisher_id.`split(., 0, -1)`", ["compute"]),
        ("publisher_id.`split(., 9, -1)`", []),
        ("$.payload.pool.`split(#, 0, 1)`", ["a"]),
        ("$.payload.outcome.`sub(/.*/, )` + 'identity.' + $.payload.outcome", ["identity.success"]),
        ("$.payload.measurements.[*].metric.[*].name", ["m", "k"]),
        ("payload.measurements[1:].result", [6]),
        ("payload.metrics.`len`", [2]),
        ("payload..name", ["cpu.frequency", "cpu.percent", "m", "k"]),
        ("(payload.a)|(payload.tenant_id)", ["t"]),
        ("payload.measurements.[*].*.name", ["m"]),
        ("payload.tenant_id.more", []),
    ],
)
def test_a_path_finds_what_ceilometers_grammar_says(path: str, found: list[Any]) -> None:
    assert [each.value for each in Path(path).find(BODY)] == found


@pytest.mark.parametrize(
    "path", ["", "%", "a[", "a.", "a b", "a.`nothing()`", "a[?]", "(a", "a.`sub(/(/, b)`", "a" * 3000]
)
def test_what_is_no_path_is_told(path: str) -> None:
    with pytest.raises(PathError, match=r"is no path|not closed|not known|no condition|too long|no regular"):
        Path(path)


@pytest.fixture(scope="module")
def shipped(ceilometers: dict[str, File]) -> Read:
    """What Ceilometer ships."""
    folder = ceilometers["27.0.0"] / "ceilometer"
    return read_definitions(
        [folder / "data" / "meters.d"],
        [folder / "pipeline" / "data" / "event_definitions.yaml"],
        plugins=Plugins(),
        allow_writable=True,
    )


def converted(read: Read, **options: Any) -> Converted:
    conversion = Conversion(meters=read.meters, events=read.events)
    return Converter(conversion, Plugins()).convert(parse(envelope(message(0, **options))))


def test_each_shipped_definition_is_read(shipped: Read) -> None:
    assert len(shipped.meters) == 38
    assert len(shipped.events) == 47


def test_shipped_definitions_make_of_an_instance_what_they_say(shipped: Read) -> None:
    payload = {
        "instance_id": "i1",
        "tenant_id": "t1",
        "user_id": "u1",
        "memory_mb": 512,
        "vcpus": "2",
        "root_gb": 20,
        "ephemeral_gb": 0,
        "display_name": "x" * 300,
        "instance_type": "m1.small",
        "launched_at": "2026-11-27T10:00:30.5",
        "created_at": "2026-11-27T10:00:00",
        "deleted_at": "",
        "metadata": {"metering.stack.name": "s", "other": "o"},
        "image_meta": {"org.openstack__1__os_distro": "debian"},
        "availability_zone": "nova",
    }
    found = converted(
        shipped,
        event_type="compute.instance.create.end",
        publisher_id="compute.h1.example.org",
        payload=payload,
    )
    samples = {each.name: each for each in found.samples}
    assert {name: each.volume for name, each in samples.items()} == {
        "memory": 512.0,
        "vcpus": 2.0,
        "disk.root.size": 20.0,
        "disk.ephemeral.size": 0.0,
        "compute.instance.booting.time": 30.5,
    }
    memory = samples["memory"]
    assert (memory.unit, memory.resource, memory.project, memory.user) == ("MiB", "i1", "t1", "u1")
    assert memory.metadata["user_metadata"] == {"stack_name": "s"}
    assert memory.metadata["flavor_name"] == "m1.small"
    (event,) = found.events
    assert event.type == "compute.instance.create.end"
    assert event.traits["host"] == "h1.example.org"
    assert event.traits["service"] == "compute"
    assert event.traits["memory_mb"] == 512
    assert event.traits["availability_zone"] == "nova"
    assert event.traits["os_distro"] == "debian"
    assert event.traits["launched_at"] == datetime(2026, 11, 27, 10, 0, 30, 500000, UTC)
    assert event.traits["display_name"] == "x" * 255
    assert "deleted_at" not in event.traits


def test_one_notification_may_give_several_samples(shipped: Read) -> None:
    metrics = [{"name": f"m{at}", "unit": "u", "value": at} for at in range(3)]
    found = converted(
        shipped, event_type="magnum.bay.metrics.update", payload={"metrics": metrics, "resource_id": "b"}
    )
    assert [(each.name, each.volume, each.unit, each.resource) for each in found.samples] == [
        ("m0", 0.0, "u", "b"),
        ("m1", 1.0, "u", "b"),
        ("m2", 2.0, "u", "b"),
    ]
    without = [*metrics, {"name": "odd", "value": 1}]
    with pytest.raises(EndpointFailed, match="3 of 4 meters have a unit"):
        converted(shipped, event_type="magnum.bay.metrics.update", payload={"metrics": without})


def test_a_sample_without_a_volume_is_not_made(shipped: Read) -> None:
    for volume in (None, "much", float("inf"), {}):
        payload = {"id": "i", "size": volume}
        parsed = parse({**message(0), "event_type": "image.upload", "payload": payload})
        converter = Converter(Conversion(meters=shipped.meters), Plugins())
        assert converter.convert(parsed).samples == ()


def test_what_no_definition_takes_is_an_event_with_the_usual_traits_or_none(shipped: Read) -> None:
    (event,) = converted(shipped, event_type="unheard.of").events
    assert event.traits == {"service": "volume.host1", "user_id": "u"}
    conversion = Conversion(events=shipped.events, drop_unmatched=True)
    parsed = parse(message(0, event_type="unheard.of"))
    assert Converter(conversion, Plugins()).convert(parsed).events == ()


def test_traits_by_plug_ins(tmp_path: File) -> None:
    written(
        tmp_path,
        """
- event_type: ["*", "!never.*"]
  traits:
    second: {fields: payload.path, plugin: {name: split, parameters: {separator: "/", segment: 1}}}
    flags:
      type: int
      fields: [payload.a, payload.b]
      plugin:
        name: bitfield
        parameters: {initial_bitfield: 8, flags: [{path: payload.a, bit: 0}, {path: payload.b, bit: 1, value: 2}]}
    state:
      type: int
      fields: payload.state
      plugin: {name: map, parameters: {values: {ACTIVE: 1}, default: -1, case_sensitive: false}}
    took: {fields: [payload.begin, payload.end], plugin: timedelta, type: float}
""",
    )
    read = read_definitions([], [tmp_path / "d.yaml"], plugins=Plugins())
    payload = {
        "path": "a/b/c",
        "a": 1,
        "b": 2,
        "state": "active",
        "begin": "2026-01-01T00:00:00",
        "end": "2026-01-01T00:01:00Z",
    }
    (event,) = converted(read, payload=payload).events
    made = {name: event.traits[name] for name in ("second", "flags", "state", "took")}
    assert made == {"second": "b", "flags": 11, "state": 1, "took": 60.0}


def test_the_last_definition_that_takes_a_notification_makes_its_event(tmp_path: File) -> None:
    written(
        tmp_path,
        """
- event_type: "*"
  traits: &usual {size: {type: int, fields: payload.size}}
- event_type: "volume.*"
  traits: {<<: *usual, volume: payload.volume_id}
""",
    )
    read = read_definitions([], [tmp_path / "d.yaml"], plugins=Plugins())
    (event,) = converted(read).events
    assert (event.traits["size"], event.traits["volume"]) == (0, "v1")
    assert "volume" not in converted(read, event_type="image.create").events[0].traits


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("- event_type: a\n  traits: {x: 'a['}", 2, "a bracket is not closed"),
        ("- event_type: a\n  traits: {x: {fields: a, plugin: gone}}", 2, "there is no trait gone"),
        (
            "- event_type: a\n  traits: {x: {fields: a, plugin: {name: split, parameters: {x: 1}}}}",
            2,
            "unexpected keyword",
        ),
        ("- event_type: a\n  traits: {x: {fields: a, type: date}}", 2, "text|int|float|datetime"),
        ("- event_type: []\n  traits: {}", 1, "event_type"),
        ("- traits: {}", 1, "event_type: is required"),
        ("- event_type: a\n  trait: {}", 2, "unknown key"),
        ("event_type: a", 1, "definitions"),
    ],
)
def test_what_is_wrong_in_a_definition_is_told_with_its_line(
    tmp_path: File, text: str, line: int, says: str
) -> None:
    written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_definitions([], [tmp_path / "d.yaml"], plugins=Plugins())
    told = "; ".join(str(each) for each in caught.value.problems)
    assert f"d.yaml:{line}: " in told
    assert says in told


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"type": "sum"}, "type is sum; expected gauge, delta, cumulative"),
        ({"event_type": "("}, "expected a regular expression"),
        ({"volume": "%"}, "is no path"),
        ({"unit": None}, "unit"),
        ({"volumes": 1}, "unknown key"),
    ],
)
def test_what_is_wrong_in_a_meter_is_told(tmp_path: File, change: dict[str, Any], says: str) -> None:
    row = {
        "name": "m",
        "event_type": "a",
        "type": "gauge",
        "unit": "B",
        "volume": 1,
        "resource_id": "b",
        **change,
    }
    written(tmp_path, json.dumps({"metric": [row]}))
    with pytest.raises(ConfigError, match=r"d\.yaml:1: ") as caught:
        read_definitions([tmp_path / "d.yaml"], [], plugins=Plugins())
    assert says in "; ".join(str(each) for each in caught.value.problems)


def test_a_meter_that_is_defined_twice_is_told(tmp_path: File) -> None:
    row = "{name: m, event_type: a, type: gauge, unit: B, volume: 1, resource_id: b}"
    written(tmp_path, f"metric:\n  - {row}\n  - {row}")
    with pytest.raises(ConfigError, match=r"d\.yaml:3: .*the meter m is defined here and at .*d\.yaml:2"):
        read_definitions([tmp_path / "d.yaml"], [], plugins=Plugins())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "is a list, not a table"),
        ("[" * 100_000, "is not JSON"),
        ({"oslo.version": "3.0", "oslo.message": "{}"}, "has version '3.0'"),
        ({"oslo.version": "2.0"}, "oslo.message is a NoneType"),
        (message(0, event_type=7), "event_type is 7, not text"),
        (message(0, priority=["INFO"]), "priority is"),
        ({key: value for key, value in message(0).items() if key != "payload"}, "it has no payload"),
        (message(0, timestamp="x" * 1000), "is no time"),
        ('{"event_type": NaN}', "NaN is no number"),
        ('{"event_type": 1e999}', "too large for a number"),
        ('{"event_type": "\\ud800"}', "surrogates not allowed"),
        (b'{"event_type": "\xff"}', "is not JSON"),
        ('{"n": ' + "9" * 10_000 + "}", "is not JSON"),
    ],
)
def test_what_is_no_notification_is_told(content: Any, says: str) -> None:
    with pytest.raises(Unparsable, match=says.replace("[", r"\[")) as caught:
        parse(content)
    assert len(str(caught.value)) < 300


def written(folder: File, text: str) -> None:
    (folder / "d.yaml").write_text(text)
    (folder / "d.yaml").chmod(0o644)
