"""What the OTLP publisher sends is what OpenTelemetry's own classes decode, and its answers are heeded."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from tests.agent.ground import DEADLINE_S
from tests.agent.receivers import JSON_TYPE, PROTOBUF_TYPE, Receiver, Request, receiving, refused
from tests.servers.ports import free_port

from hitless.agent.definition import Retry
from hitless.agent.plugins import PUBLISHER, Plugins
from hitless.agent.publishers.failures import PartlyTaken, Rejected, Unreachable
from hitless.agent.publishers.otlp import as_json, as_protobuf
from hitless.agent.publishers.outlet import Outlet
from hitless.agent.publishers.protobuf import fields
from hitless.agent.publishers.shared import SharedPublisher
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.sample import Sample

PLUGINS = Plugins()
AT = 1_700_000_000.123456
SAMPLES = [
    Sample("load", 1.5, "process", "host-a", AT, source="s"),
    Sample("load", -0.25, "process", "host-b", AT + 10, source="s"),
    Sample(
        "net.bytes", 12345.0, "B", "host-a/eth0", AT, "cumulative", "s", {"interface": "eth0", "mtu": 1500}
    ),
    Sample("requests", 3.0, "request", "vm", AT, "delta", project="p", user="u"),
    Sample(
        "odd",
        math.inf,
        "",
        "ü✓",
        AT,
        metadata={
            "list": [1, "a", True, 1.5, None],
            "map": {"a": {"b": -1}},
            "none": None,
            "big": 2**70,
            "yes": True,
        },
    ),
]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def publisher(url: str) -> Any:
    parsed = PublisherUrl.parse(url)
    made = PLUGINS.load(PUBLISHER, parsed.scheme)(parsed)
    made.open()
    return made


@pytest.mark.parametrize("options", ["", "encoding=protobuf&gzip", "encoding=json", "encoding=json&gzip"])
def test_each_kind_arrives_as_what_it_is(receiver: Receiver, options: str) -> None:
    made = publisher(f"otlp+http://127.0.0.1:{receiver.port}?{options}")
    made.publish(SAMPLES)
    made.close()
    (request,) = receiver.taken
    assert request.path == "/v1/metrics"
    (resource,) = request.metrics().resource_metrics
    assert {each.key: each.value.string_value for each in resource.resource.attributes} == {
        "service.name": "hitless-agent"
    }
    (scope,) = resource.scope_metrics
    metrics = {each.name: each for each in scope.metrics}
    assert [each.as_double for each in metrics["load"].gauge.data_points] == [1.5, -0.25]
    assert metrics["load"].gauge.data_points[0].time_unix_nano == 1_700_000_000_123_456_000
    assert metrics["load"].unit == "process"
    total, delta = metrics["net.bytes"].sum, metrics["requests"].sum
    assert (total.aggregation_temporality, total.is_monotonic) == (2, True)
    assert (delta.aggregation_temporality, delta.is_monotonic) == (1, False)
    assert total.data_points[0].as_double == 12345.0
    (odd,) = metrics["odd"].gauge.data_points
    assert math.isinf(odd.as_double)
    attributes = {each.key: each.value for each in odd.attributes}
    assert attributes["resource_id"].string_value == "ü✓"
    kinds = [each.WhichOneof("value") for each in attributes["list"].array_value.values]
    assert kinds == ["int_value", "string_value", "bool_value", "double_value", "string_value"]
    (inner,) = attributes["map"].kvlist_value.values
    assert inner.value.kvlist_value.values[0].value.int_value == -1
    assert attributes["big"].string_value == str(2**70)
    assert attributes["yes"].bool_value is True
    assert "none" not in attributes
    (attributed,) = delta.data_points
    assert {each.key: each.value.string_value for each in attributed.attributes} == {
        "resource_id": "vm",
        "project_id": "p",
        "user_id": "u",
    }


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ANY_SAMPLE = st.builds(
    Sample,
    st.text(min_size=1, max_size=8),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.text(max_size=8),
    st.floats(0, 2_000_000_000),
    st.sampled_from(["gauge", "delta", "cumulative"]),
    metadata=st.dictionaries(st.text(max_size=4), JSONS, max_size=4),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(ANY_SAMPLE, max_size=6))
def test_both_encodings_say_the_same_to_opentelemetrys_own_decoder(samples: list[Sample]) -> None:
    import json

    headers = {"content-type": JSON_TYPE}
    as_text = Request("/", headers, json.dumps(as_json(samples)).encode()).metrics()
    binary = ExportMetricsServiceRequest()
    binary.ParseFromString(as_protobuf(samples))
    assert binary == as_text
    points = Request("/", {"content-type": PROTOBUF_TYPE}, as_protobuf(samples)).points()
    assert sorted(each.as_double for each in points) == sorted(each.volume for each in samples)


@given(st.binary(max_size=40))
def test_an_answer_of_any_bytes_is_read_or_refused(data: bytes) -> None:
    try:
        for number, value in fields(data):
            assert number >= 0
            assert isinstance(value, int | bytes)
    except ValueError:
        pass


@pytest.mark.parametrize(("options", "kind"), [("", PROTOBUF_TYPE), ("?encoding=json", JSON_TYPE)])
def test_a_partial_success_is_said_and_not_sent_again(receiver: Receiver, options: str, kind: str) -> None:
    receiver.answers = [refused(2, "too old", kind)]
    made = publisher(f"otlp+http://127.0.0.1:{receiver.port}{options}")
    with pytest.raises(PartlyTaken, match="2 were refused: too old"):
        made.publish(SAMPLES)
    made.close()


@pytest.mark.parametrize(
    ("status", "error"), [(503, Unreachable), (429, Unreachable), (400, Rejected), (413, Rejected)]
)
def test_the_status_says_whether_to_try_again(
    receiver: Receiver, status: int, error: type[Exception]
) -> None:
    receiver.answers = [(status, {"Retry-After": "7"}, b"because")]
    made = publisher(f"otlp+http://127.0.0.1:{receiver.port}")
    with pytest.raises(error, match=f"{status} .*: because") as caught:
        made.publish(SAMPLES)
    if isinstance(caught.value, Unreachable):
        assert caught.value.retry_after_s == 7.0
    made.publish(SAMPLES)
    made.close()
    assert len(receiver.connections) == 1  # it was kept


def test_a_connection_that_the_server_has_closed_is_made_anew(receiver: Receiver) -> None:
    receiver.hangs_up = True
    made = publisher(f"otlp+http://127.0.0.1:{receiver.port}")
    for _ in range(3):
        made.publish(SAMPLES)
    made.close()
    assert receiver.asked == 3
    assert len(receiver.connections) == 3


def test_nobody_there_is_unreachable() -> None:
    made = publisher(f"otlp+http://127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable, match="ConnectionRefusedError"):
        made.publish(SAMPLES)


async def test_counts_say_what_was_refused_and_what_was_taken(receiver: Receiver) -> None:
    receiver.answers = [refused(2, "too old", PROTOBUF_TYPE), (503, {}, b""), (400, {}, b"")]
    made = publisher(f"otlp+http://127.0.0.1:{receiver.port}")
    counts: Counter[str] = Counter()
    outlet: Outlet[Sample] = Outlet(
        SharedPublisher(made, "otlp").publish,
        counts,
        name="otlp",
        buffer=1000,
        batch_size=5,
        retry=Retry(attempts=2, first=0.001, longest=0.002),
    )
    outlet.offer(SAMPLES * 3)
    async with asyncio.timeout(DEADLINE_S):
        await outlet.aclose()
    made.close()
    assert counts == Counter(offered=15, published=8, failed=7)  # 3 + 2, 503 and then 400, 5


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("otlp+http://", "expected a host"),
        ("otlp+http://h?encoding=xml", "the option encoding"),
        ("otlp+http://h?zip", "unknown option zip"),
        ("https://h?batch=5", "give the sink batch_size"),
        ("http:///x", "expected a host"),
        ("amqp://h?topics=x", "unknown option topics"),
        ("amqp://h?ca=/x", "for amqps"),
    ],
)
def test_urls_that_cannot_be_are_told_before_anything_runs(url: str, says: str) -> None:
    parsed = PublisherUrl.parse(url)
    with pytest.raises(ValueError, match=says):
        PLUGINS.load(PUBLISHER, parsed.scheme)(parsed)
