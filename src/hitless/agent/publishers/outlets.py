"""Makes the outlet that a sink asks for: with its buffer in memory, or on disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

from hitless.agent.publishers.encoding import decoded_event, decoded_sample, encoded_event, encoded_sample
from hitless.agent.publishers.outlet import Outlet
from hitless.agent.publishers.shared import SharedPublisher
from hitless.agent.publishers.spool import Spool
from hitless.agent.publishers.spooled import SpooledOutlet
from hitless.agent.running import OutletSpec
from hitless.agent.workers import Workers
from hitless.change import digest

FOLDER_LENGTH: Final = 16


async def outlet_of(
    spec: OutletSpec, key: str, publisher: SharedPublisher, counts: Counter[str], workers: Workers
) -> Outlet[Any]:
    """Raises OSError: its place on disk cannot be used."""
    publish: Any = publisher.publish_events if spec.events else publisher.publish
    bounds: dict[str, Any] = {
        "buffer": spec.buffer,
        "batch_size": spec.batch_size,
        "retry": spec.retry,
        "when_full": spec.when_full,
    }
    if spec.disk is None:
        return Outlet(publish, counts, name=publisher.name, **bounds)
    encode, decode = (encoded_event, decoded_event) if spec.events else (encoded_sample, decoded_sample)
    spool: Spool[Any] = Spool(
        Path(spec.disk.path) / digest(key)[:FOLDER_LENGTH],
        size=spec.disk.size,
        sync=spec.disk.sync,
        encode=encode,
        decode=decode,
    )
    return await SpooledOutlet.opened(spool, publish, counts, name=publisher.name, workers=workers, **bounds)
