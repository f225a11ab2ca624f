"""`http://host:8080/samples?timeout=5s`, `https://…`: each batch as a POST of a JSON list, as Ceilometer's publisher sends it.

Options that are not ours stay in the query of the request, as there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from hitless.agent.event import Event
from hitless.agent.publishers.post import Post, PostOptions, path_with
from hitless.agent.publishers.url import PublisherUrl
from hitless.agent.sample import Sample
from hitless.change import JSON

SINKS_BUSINESS: Final = {"max_retries": "retry", "batch": "batch_size", "batch_mode": "batch_size"}
"""Options of Ceilometer's publisher, and where they are here."""


class WebPublisher:
    def __init__(self, url: PublisherUrl) -> None:
        """Raises ValueError: the URL or an option is wrong."""
        options, rest = url.some_options(PostOptions)
        for key, _ in rest:
            if key in SINKS_BUSINESS:
                raise ValueError(f"the option {key} is not taken; give the sink {SINKS_BUSINESS[key]}")
        self._post: Final = Post(url, options, is_tls=url.scheme == "https", path=path_with(url, rest))

    def open(self) -> None:
        self._post.open()

    def publish(self, samples: Sequence[Sample]) -> None:
        self._send([each.to_json() for each in samples])

    def publish_events(self, events: Sequence[Event]) -> None:
        self._send([each.to_json() for each in events])

    def reach(self) -> None:
        self._post.reach()

    def close(self) -> None:
        self._post.close()

    def _send(self, items: Sequence[Mapping[str, JSON]]) -> None:
        self._post.send(json.dumps(items).encode(), "application/json")
