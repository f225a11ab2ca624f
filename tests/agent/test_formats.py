"""Ceilometer's files are read as they are; what it takes by accident is told with file and line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hitless.agent.reading import read
from hitless.config import ConfigError

POLLING = """\
sources:
  - name: some
    interval: 60
    meters: [cpu]
"""
PIPELINE = """\
sources:
  - name: all
    meters: ["*"]
    sinks: [archive]
sinks:
  - name: archive
    publishers: [file:///tmp/samples]
"""
LIBERTY = """\
sources:
    - name: meter_source
      interval: 600
      meters:
          - "*"
      sinks:
          - meter_sink
    - name: cpu_source
      counters:
          - "cpu"
      resources: ["snmp://10.0.0.1"]
      discovery: [endpoint://nova]
      sinks:
          - meter_sink
          - cpu_sink
sinks:
    - name: meter_sink
      transformers:
      publishers:
          - notifier
    - name: cpu_sink
      transformers:
          - name: "rate_of_change"
            parameters:
                target:
                    name: "cpu_util"
      publishers:
          - notifier://?policy=drop
"""


def written(folder: Path, text: str, name: str = "polling.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    file.chmod(0o644)
    return file


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        read([path])
    return str(refused.value)


def shipped(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name))
    assert found, f"ceilometer ships no {name} any more"
    return found[0]


@pytest.mark.parametrize(
    ("version", "name", "polling", "pipelines"),
    [
        ("27.0.0", "polling.yaml", {"some_pollsters": 300}, []),
        ("27.0.0", "polling_all.yaml", {"all_pollsters": 300}, []),
        ("27.0.0", "pipeline.yaml", {}, ["meter_source:meter_sink"]),
        ("27.0.0", "event_pipeline.yaml", {}, ["event:event_source:event_sink"]),
        ("9.0.7", "polling.yaml", {"some_pollsters": 300}, []),
        ("9.0.7", "polling_all.yaml", {"all_pollsters": 300}, []),
        (
            "9.0.7",
            "pipeline.yaml",
            {},
            [
                "meter_source:meter_sink",
                "cpu_source:cpu_sink",
                "cpu_source:cpu_delta_sink",
                "disk_source:disk_sink",
                "network_source:network_sink",
            ],
        ),
        ("9.0.7", "event_pipeline.yaml", {}, ["event:event_source:event_sink"]),
    ],
)
def test_each_file_that_ceilometer_ships_is_read_as_it_is(
    ceilometers: dict[str, Path], version: str, name: str, polling: dict[str, int], pipelines: list[str]
) -> None:
    definition = read([shipped(ceilometers[version], name)], allow_writable=True).definition
    assert {key: source.interval for key, source in definition.polling.items()} == polling
    assert list(definition.pipelines()) == pipelines


def test_transformers_and_their_parameters_are_kept(ceilometers: dict[str, Path]) -> None:
    file = shipped(ceilometers["9.0.7"], "pipeline.yaml")
    sinks = read([file], allow_writable=True).definition.sinks
    assert sinks["meter_sink"].transformers == ()
    (rate,) = sinks["cpu_sink"].transformers
    assert rate.name == "rate_of_change"
    assert rate.parameters["target"]["name"] == "cpu_util"
    (delta,) = sinks["cpu_delta_sink"].transformers
    assert delta.parameters == {"target": {"name": "cpu.delta"}, "growth_only": True}


def test_libertys_combined_file_polls_and_routes(tmp_path: Path) -> None:
    definition = read([written(tmp_path, LIBERTY, "pipeline.yaml")]).definition
    assert {name: source.interval for name, source in definition.polling.items()} == {
        "meter_source": 600,
        "cpu_source": 600,  # what Liberty gives to a source that says none
    }
    assert definition.polling["cpu_source"].resources == ("snmp://10.0.0.1",)
    assert definition.polling["cpu_source"].discovery == ("endpoint://nova",)
    assert definition.polling["cpu_source"].meters == ("cpu",)
    assert definition.samples["cpu_source"].sinks == ("meter_sink", "cpu_sink")
    assert definition.publishers == {"notifier://": ("meter_sink",), "notifier://?policy=drop": ("cpu_sink",)}


def test_a_directory_stands_for_the_files_in_it(tmp_path: Path) -> None:
    written(tmp_path, POLLING)
    written(tmp_path, PIPELINE, "pipeline.yaml")
    reading = read([tmp_path])
    assert [path.name for path, _ in reading.files] == ["polling.yaml", "pipeline.yaml"]
    assert set(reading.definition.polling) == {"some"}
    assert list(reading.definition.pipelines()) == ["all:archive"]
    assert reading.hash == read([tmp_path / "pipeline.yaml", tmp_path / "polling.yaml"]).hash


def test_everything_knows_its_line(tmp_path: Path) -> None:
    reading = read([file := written(tmp_path, PIPELINE, "pipeline.yaml")])
    assert str(reading.place(("sinks", "archive", "publishers", 0))) == f"{file}:7"
    assert str(reading.place(("samples", "all"))) == f"{file}:2"


def test_our_own_options_are_taken_with_units(tmp_path: Path) -> None:
    text = POLLING + "    jitter: 0\n    timeout: 1m30s\n"
    source = read([written(tmp_path, text)]).definition.polling["some"]
    assert (source.jitter, source.timeout) == (0.0, 90.0)
    text = PIPELINE + "    buffer: 7\n    batch_size: 3\n    retry: {attempts: 2, first: 10ms, longest: 1}\n"
    sink = read([written(tmp_path, text, "pipeline.yaml")]).definition.sinks["archive"]
    assert (sink.buffer, sink.batch_size) == (7, 3)
    assert (sink.retry.attempts, sink.retry.first, sink.retry.longest) == (2, 0.01, 1.0)


@pytest.mark.parametrize(
    ("meters", "says"),
    [
        ('["*", cpu]', ':4: sources[0].meters: the wildcard "*" takes cpu too'),
        (
            '[cpu, "!disk.*"]',
            ":4: sources[0].meters: names (cpu) and exclusions (!disk.*) do not go together",
        ),
        ("[]", ":4: sources[0].meters: expected at least one"),
        ('"*"', ':4: sources[0].meters: expected a list, got "*"'),
        ("cpu", ':4: sources[0].meters: expected a list, got "cpu"'),
        ('[""]', ":4: sources[0].meters: a name may not be empty"),
        ("[5]", ":4: sources[0].meters[0]: expected text, got 5"),
        ("[cpu, cpu\n", "is not YAML"),
    ],
)
def test_a_filter_that_is_none_is_told_with_its_line(tmp_path: Path, meters: str, says: str) -> None:
    assert says in refusal(written(tmp_path, POLLING.replace("[cpu]", meters)))


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        ("interval: 0", ":3: sources[0].interval: expected more than 0, got 0"),
        ("interval: -5", "expected more than 0, got -5"),
        ("interval: 60s", 'expected a whole number, got "60s"'),
        ('interval: "60"', 'expected a whole number, got "60"'),
        ("interval: 2.9", "expected a whole number, got 2.9"),
        ("interval: true", "expected a whole number, got true"),
        ("interval:", "expected a whole number, got null"),
        ("interval: .inf", "expected a finite number"),
        ("", "sources[0].interval: is required"),
        ("interval: 60\n    interval: 61", ":4: interval stands here and on line 3"),
        ("interval: 60\n    intervall: 61", ":4: sources[0].intervall: unknown key; did you mean interval?"),
        (
            "interval: 60\n    group_id_coordination_expression: 1+1",
            "is Python that Ceilometer would execute",
        ),
        ("interval: 60\n    resources: snmp://x", "expected a list"),
        ("interval: 60\n    timeout: 0", "expected more than 0"),
    ],
)
def test_what_ceilometer_takes_by_accident_is_told(tmp_path: Path, interval: str, says: str) -> None:
    assert says in refusal(written(tmp_path, POLLING.replace("interval: 60", interval)))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("sinks: [archive]", "sinks: [archiv]", ":4: sources[0].sinks[0]: there is no sink archiv"),
        ("sinks: [archive]", "sinks: []", "at least 1 of them"),
        ("    sinks: [archive]\n", "", "sources[0].sinks: is required"),
        ("sinks: [archive]", "sinks: [archive, archive]", "the pipeline all:archive stands here and at"),
        ("publishers: [file:///tmp/samples]", "publishers: []", "at least 1 of them"),
        ("publishers: [file:///tmp/samples]", 'publishers: ["://x"]', "expected a publisher as scheme://..."),
        ('    meters: ["*"]\n', "", "sources[0].meters: is required"),
        ('meters: ["*"]', 'meters: ["*"]\n    counters: [cpu]', "counters is its old name"),
        ("  - name: all\n", "  - nam: all\n", "unknown key; did you mean name?"),
        ("sources:\n", "source:\n", "unknown key; did you mean sources?"),
    ],
)
def test_a_pipeline_that_does_not_fit_together_is_told(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in PIPELINE
    assert says in refusal(written(tmp_path, PIPELINE.replace(old, new), "pipeline.yaml"))


def test_two_of_one_name_are_told_with_both_places(tmp_path: Path) -> None:
    again = POLLING + POLLING.partition("\n")[2]
    assert ":5: sources[1].name: some stands here and at" in refusal(written(tmp_path, again))
    written(tmp_path, POLLING)
    combined = written(
        tmp_path, PIPELINE.replace("name: all", "name: some\n    interval: 5"), "pipeline.yaml"
    )
    assert f"some stands here and at {tmp_path}/polling.yaml:2" in refusal(combined.parent)


def test_pipelines_that_ceilometer_would_name_alike_are_told(tmp_path: Path) -> None:
    text = """\
sources:
  - {name: "a:b", meters: ["*"], sinks: [c]}
  - {name: a, meters: ["*"], sinks: ["b:c"]}
sinks:
  - {name: c, publishers: [log]}
  - {name: "b:c", publishers: [log]}
"""
    assert "the pipeline a:b:c stands here and at" in refusal(written(tmp_path, text, "pipeline.yaml"))


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    text = POLLING.replace("interval: 60", "interval: 0").replace("[cpu]", "[]")
    written(tmp_path, PIPELINE.replace('["*"]', "[5]"), "pipeline.yaml")
    assert len(refusal(written(tmp_path, text).parent).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("# nothing\n", "sources: is required"),
        ("- sources\n", "is not a table"),
        ("sources:\n", "a list"),
    ],
)
def test_a_file_without_sources_is_told(tmp_path: Path, text: str, says: str) -> None:
    assert says in refusal(written(tmp_path, text))


def test_a_directory_without_files_and_a_file_that_is_not_there_are_told(tmp_path: Path) -> None:
    assert "has none of polling.yaml, pipeline.yaml" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "polling.yaml")


@pytest.mark.parametrize(
    ("polling", "says"),
    [
        (POLLING.replace("60", "9" * 20), "polling.yaml:3: sources[0].interval: expected at most 3162240000"),
        (POLLING + "    jitter: " + "{a: " * 300 + "1" + "}" * 300, "polling.yaml: is nested too deeply"),
    ],
)
def test_what_could_not_run_is_told_by_the_check(tmp_path: Path, polling: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        read([written(tmp_path, polling)])
