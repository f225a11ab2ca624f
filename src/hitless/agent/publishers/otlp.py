"""`otlp+http://127.0.0.1:4318?encoding=protobuf&gzip`, `otlp+https://…`: metrics for an OpenTelemetry collector.

https://opentelemetry.io/docs/specs/otlp/ : a gauge is a gauge; a cumulative value is a monotonic sum since an unknown beginning; a
delta is a sum of delta temporality. The resource, the source and plain metadata are attributes of the data point.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

from hitless.agent.publishers.failures import PartlyTaken
from hitless.agent.publishers.post import Answer, Post, PostOptions
from hitless.agent.publishers.protobuf import double, fields, integer, message, tag, text, varint
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.sample import Sample, SampleKind
from hitless.change import JSON

PATH: Final = "/v1/metrics"
JSON_TYPE: Final = "application/json"
PROTOBUF_TYPE: Final = "application/x-protobuf"
SERVICE: Final = "hitless-agent"
SCOPE: Final = "hitless.agent"
DELTA: Final = 1
CUMULATIVE: Final = 2
"""AggregationTemporality."""
DEEPEST: Final = 10
"""Of metadata in metadata; what is deeper is left out."""


class OtlpOptions(PostOptions):
    encoding: Literal["protobuf", "json"] = "protobuf"


class OtlpPublisher:
    def __init__(self, url: PublisherUrl) -> None:
        """Raises ValueError: the URL or an option is wrong."""
        options = url.options(OtlpOptions)
        path = url.raw_path if url.raw_path.strip("/") else PATH
        self._post: Final = Post(url, options, is_tls=url.scheme == "otlp+https", path=path)
        self._is_json: Final = options.encoding == "json"

    def open(self) -> None:
        self._post.open()

    def publish(self, samples: Sequence[Sample]) -> None:
        if self._is_json:
            answer = self._post.send(json.dumps(as_json(samples)).encode(), JSON_TYPE)
        else:
            answer = self._post.send(as_protobuf(samples), PROTOBUF_TYPE)
        rejected, why = _refusals(answer)
        if rejected:
            raise PartlyTaken(rejected, why)

    def reach(self) -> None:
        self._post.reach()

    def close(self) -> None:
        self._post.close()


Series = tuple[str, str, SampleKind]


def _by_metric(samples: Iterable[Sample]) -> dict[Series, list[Sample]]:
    found: dict[Series, list[Sample]] = {}
    for each in samples:
        found.setdefault((each.name, each.unit, each.kind), []).append(each)
    return found


def _attributes(sample: Sample) -> dict[str, JSON]:
    found: dict[str, JSON] = {"resource_id": sample.resource}
    if sample.source:
        found["source"] = sample.source
    if sample.project is not None:
        found["project_id"] = sample.project
    if sample.user is not None:
        found["user_id"] = sample.user
    return {**sample.metadata, **found} if sample.metadata else found


def _nanoseconds(at: float) -> int:
    """A float holds microseconds of today, and no more."""
    return max(0, round(at * 1_000_000)) * 1000


# JSON: https://protobuf.dev/programming-guides/json/ with OTLP's rules, 64-bit integers as text, enumerations as numbers


def as_json(samples: Sequence[Sample]) -> dict[str, JSON]:
    metrics: list[JSON] = [_metric(series, points) for series, points in _by_metric(samples).items()]
    resource: JSON = {"attributes": [{"key": "service.name", "value": {"stringValue": SERVICE}}]}
    scope: JSON = {"scope": {"name": SCOPE}, "metrics": metrics}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}


def _metric(series: Series, samples: Sequence[Sample]) -> JSON:
    name, unit, kind = series
    points: list[JSON] = [
        {
            "attributes": _pairs(_attributes(each)),
            "timeUnixNano": str(_nanoseconds(each.at)),
            "asDouble": _number(each.volume),
        }
        for each in samples
    ]
    if kind == "gauge":
        return {"name": name, "unit": unit, "gauge": {"dataPoints": points}}
    is_cumulative = kind == "cumulative"
    total: JSON = {
        "dataPoints": points,
        "aggregationTemporality": CUMULATIVE if is_cumulative else DELTA,
        "isMonotonic": is_cumulative,
    }
    return {"name": name, "unit": unit, "sum": total}


def _number(value: float) -> JSON:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _pairs(values: Mapping[str, Any], depth: int = 0) -> list[JSON]:
    return [{"key": key, "value": _value(value, depth)} for key, value in values.items() if value is not None]


def _value(value: Any, depth: int) -> JSON:
    match value:
        case bool():
            return {"boolValue": value}
        case int() if -(2**63) <= value < 2**63:
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": _number(value)}
        case Mapping() if depth < DEEPEST:
            return {"kvlistValue": {"values": _pairs(value, depth + 1)}}
        case list() | tuple() if depth < DEEPEST:
            listed: list[JSON] = [_value(each, depth + 1) for each in value]
            return {"arrayValue": {"values": listed}}
    return {"stringValue": str(value)}


# Protocol Buffers: field numbers of opentelemetry/proto/metrics/v1/metrics.proto and common/v1/common.proto


def as_protobuf(samples: Sequence[Sample]) -> bytes:
    """An ExportMetricsServiceRequest."""
    metrics = b"".join(
        message(2, _metric_bytes(series, points)) for series, points in _by_metric(samples).items()
    )
    scope = message(2, message(1, text(1, SCOPE)) + metrics)
    resource = message(1, message(1, _pair_bytes("service.name", SERVICE)))
    return message(1, resource + scope)


_TIME: Final = tag(3, 1)
_AS_DOUBLE: Final = tag(4, 1)
_NUMBERS: Final = struct.Struct("<Q")
_VOLUME: Final = struct.Struct("<d")


def _metric_bytes(series: Series, samples: Sequence[Sample]) -> bytes:
    name, unit, kind = series
    points = b"".join([_point_bytes(each) for each in samples])
    head = text(1, name) + text(3, unit)
    if kind == "gauge":
        return head + message(5, points)
    is_cumulative = kind == "cumulative"
    temporality = integer(2, CUMULATIVE if is_cumulative else DELTA)
    return head + message(7, points + temporality + (integer(3, 1) if is_cumulative else b""))


def _point_bytes(sample: Sample) -> bytes:
    """A NumberDataPoint, as field 1 of a Gauge or Sum."""
    attributes = b"".join(
        [_attribute_bytes(key, value) for key, value in _attributes(sample).items() if value is not None]
    )
    body = (
        _TIME + _NUMBERS.pack(_nanoseconds(sample.at)) + _AS_DOUBLE + _VOLUME.pack(sample.volume) + attributes
    )
    return b"\x0a" + varint(len(body)) + body


def _attribute_bytes(key: str, value: Any) -> bytes:
    return _text_attribute(key, value) if type(value) is str else message(7, _pair_bytes(key, value))


@lru_cache(4096)
def _text_attribute(key: str, value: str) -> bytes:
    """Resources and sources come again with every tick."""
    return message(7, _pair_bytes(key, value))


def _pair_bytes(key: str, value: Any, depth: int = 0) -> bytes:
    return text(1, key) + message(2, _value_bytes(value, depth))


def _value_bytes(value: Any, depth: int) -> bytes:
    match value:
        case bool():
            return integer(2, int(value))
        case int() if -(2**63) <= value < 2**63:
            return integer(3, value)
        case float():
            return double(4, value)
        case list() | tuple() if depth < DEEPEST:
            return message(5, b"".join(message(1, _value_bytes(each, depth + 1)) for each in value))
        case Mapping() if depth < DEEPEST:
            pairs = [
                message(1, _pair_bytes(key, each, depth + 1))
                for key, each in value.items()
                if each is not None
            ]
            return message(6, b"".join(pairs))
    return text(1, str(value))


# The answer: an ExportMetricsServiceResponse


def _refusals(answer: Answer) -> tuple[int, str]:
    """How many data points were refused, and why. What nobody can read refuses nothing: its status said that it was taken."""
    try:
        if answer.content_type == JSON_TYPE:
            found = json.loads(answer.body or b"{}").get("partialSuccess") or {}
            return int(found.get("rejectedDataPoints") or 0), str(found.get("errorMessage") or "")
        partial = dict(fields(bytes(dict(fields(answer.body)).get(1, b""))))
        return int(partial.get(1, 0)), bytes(partial.get(2, b"")).decode(errors="replace")
    except (ValueError, TypeError, AttributeError):
        return 0, ""
