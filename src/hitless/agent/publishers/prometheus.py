"""`prometheus://127.0.0.1:9464?stale=5m`: the last value of each series, for Prometheus to scrape at /metrics.

In Ceilometer this scheme pushes to a gateway; here it is scraped. What is shown is built at each scrape from the samples that
are there, so nothing is registered twice and nothing goes stale unseen.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from pydantic import BaseModel, ConfigDict, Field

from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.sample import Sample
from hitless.config import Seconds

INVALID: Final = re.compile(r"[^A-Za-z0-9_]")
Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""Meter and labels."""


class PrometheusOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    stale: Annotated[Seconds, Field(gt=0)] = 300.0
    """A series is left out when its last sample came so long ago."""


class PrometheusPublisher:
    def __init__(self, url: PublisherUrl) -> None:
        if not url.host or url.port is None or url.path not in ("", "/", "/metrics"):
            raise ValueError("expected an address to listen on, as prometheus://127.0.0.1:9464")
        self._address: Final = (url.host, url.port)
        self._stale_s: Final = url.options(PrometheusOptions).stale
        self._lock: Final = threading.Lock()
        self._last: Final[dict[Series, tuple[float, Sample]]] = {}
        """With the monotonic time at which it came."""
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        registry = CollectorRegistry()
        registry.register(self)
        host, port = self._address
        self._server, self._thread = start_http_server(port, host, registry)

    def publish(self, samples: Sequence[Sample]) -> None:
        now = time.monotonic()
        with self._lock:
            for sample in samples:
                self._last[sample.name, tuple(sorted(_labels(sample).items()))] = (now, sample)
            for series in [key for key, (came, _) in self._last.items() if now - came > self._stale_s]:
                del self._last[series]

    def close(self) -> None:
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is not None:
            server.shutdown()
            server.server_close()
        if thread is not None:
            thread.join()

    def collect(self) -> Iterable[Metric]:
        """What is shown now; called by the scrape's thread."""
        now = time.monotonic()
        meters: dict[str, list[Sample]] = {}
        with self._lock:
            for came, sample in self._last.values():
                if now - came <= self._stale_s:
                    meters.setdefault(sample.name, []).append(sample)
        return [_family(name, meters[name]) for name in sorted(meters)]


def _family(name: str, samples: Sequence[Sample]) -> Metric:
    """All of one meter have the same labels; what one has not is empty."""
    labelled = [(_labels(sample), sample) for sample in samples]
    names = sorted({label for labels, _ in labelled for label in labels})
    kind = CounterMetricFamily if samples[0].kind == "cumulative" else GaugeMetricFamily
    family = kind(INVALID.sub("_", name), f"{name} in {samples[0].unit}", labels=names)
    for labels, sample in labelled:
        family.add_metric([labels.get(label, "") for label in names], sample.volume)
    return family


def _labels(sample: Sample) -> Mapping[str, str]:
    more = {INVALID.sub("_", key): str(value) for key, value in sample.metadata.items() if _is_plain(value)}
    return {**more, "resource": sample.resource, "source": sample.source}


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)
